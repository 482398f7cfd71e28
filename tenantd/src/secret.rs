//! Passwords that we make: nobody has to think of one, and nobody can guess it.

/// Letters and digits that nobody takes for another.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const LENGTH: usize = 16;

/// A password of 80 bits.
pub fn password() -> String {
    let random: [u8; LENGTH] = rand::random();
    let letters = random.iter().map(|byte| ALPHABET[usize::from(byte % 32)]);
    letters.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(password(), password());
        assert_eq!(password().len(), LENGTH);
    }
}
