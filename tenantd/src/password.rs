//! Passwords that people read from a screen and type into a phone.

/// No letter that looks like another, so that none is mistyped.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXYZ234679";
/// 51 letters to choose from: 90 bits.
const LENGTH: usize = 16;

/// A new one.
pub fn generate() -> String {
    let letters = (0..LENGTH).map(|_| LETTERS.get(rand::random_range(0..LETTERS.len())));
    letters.flatten().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_differ_and_none_is_short() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_eq!((one.len(), two.len()), (LENGTH, LENGTH));
    }
}
