//! Writing three numbers as 39 letters and digits that every phone carries unchanged.
//!
//! RFC 4648 §6 over 24 bytes, in lower case and without padding; both cases are read.

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Characters that three numbers are written with.
pub(super) const WRITTEN: usize = 39;

/// The numbers as text.
pub(super) fn encode(numbers: [u64; 3]) -> [u8; WRITTEN] {
    let mut written = [0; WRITTEN];
    let (mut bits, mut held) = (0_u32, 0);
    let mut bytes = numbers.into_iter().flat_map(u64::to_be_bytes);
    for letter in &mut written {
        if held < 5 {
            // Past the end the last letter is filled up with zeros.
            bits = (bits << 8) | u32::from(bytes.next().unwrap_or(0));
            held += 8;
        }
        held -= 5;
        *letter = LETTERS[(bits >> held) as usize & 31];
    }
    written
}

/// The numbers that were written as `text`, if it is such a text.
pub(super) fn decode(text: &[u8]) -> Option<[u64; 3]> {
    if text.len() != WRITTEN {
        return None;
    }
    let mut numbers = [[0; 8]; 3];
    let (mut bits, mut held) = (0_u32, 0);
    let mut bytes = numbers.iter_mut().flatten();
    for letter in text {
        bits = (bits << 5) | value(*letter)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            *bytes.next()? = (bits >> held) as u8;
        }
    }
    let rest = bits & ((1 << held) - 1);
    (rest == 0).then_some(numbers.map(u64::from_be_bytes))
}

fn value(letter: u8) -> Option<u32> {
    match letter {
        b'a'..=b'z' => Some(u32::from(letter - b'a')),
        b'A'..=b'Z' => Some(u32::from(letter - b'A')),
        b'2'..=b'7' => Some(u32::from(letter - b'2') + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn what_was_written_is_read_again() {
        let mut chance = Chance::from_seed([1; 32]);
        for _ in 0..2_000 {
            let numbers = [chance.number(), chance.number(), chance.number()];
            let written = encode(numbers);
            assert_eq!(decode(&written), Some(numbers));
            assert_eq!(decode(&written.to_ascii_uppercase()), Some(numbers));
        }
    }

    #[test]
    fn the_letters_are_those_of_the_standard() {
        let written = encode([u64::from_be_bytes(*b"foobar\0\0"), 0, 0]);
        assert_eq!(&written[..9], b"mzxw6ytbo"); // RFC 4648 §10: "foobar" is MZXW6YTBOI
        assert_eq!(encode([u64::MAX; 3])[37..], *b"7y");
    }

    #[test]
    fn nothing_else_is_read() {
        let written = encode([7; 3]);
        assert_eq!(decode(&written[1..]), None);
        assert_eq!(decode(b""), None);
        let mut long = written.to_vec();
        long.push(b'a');
        assert_eq!(decode(&long), None);
        for wrong in [b'1', b'0', b'8', b'=', b' ', 0xff] {
            let mut text = written;
            text[5] = wrong;
            assert_eq!(decode(&text), None);
        }
        let mut unused_bits = encode([0; 3]);
        unused_bits[WRITTEN - 1] = b'b';
        assert_eq!(decode(&unused_bits), None);
    }
}
