//! Writing 24 bytes as 39 letters and digits that every phone carries unchanged.
//!
//! RFC 4648 §6, in lower case and without padding; both cases are read.

const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Bytes in a block.
pub(super) const RAW: usize = 24;
/// Characters that a block is written with.
pub(super) const WRITTEN: usize = 39;

/// The block as text.
pub(super) fn encode(block: [u8; RAW]) -> [u8; WRITTEN] {
    let mut written = [0; WRITTEN];
    let (mut bits, mut held) = (0_u32, 0);
    let mut bytes = block.into_iter();
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

/// The block that was written as `text`, if it is one.
pub(super) fn decode(text: &[u8]) -> Option<[u8; RAW]> {
    if text.len() != WRITTEN {
        return None;
    }
    let mut block = [0; RAW];
    let (mut bits, mut held) = (0_u32, 0);
    let mut bytes = block.iter_mut();
    for letter in text {
        bits = (bits << 5) | value(*letter)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            *bytes.next()? = (bits >> held) as u8;
        }
    }
    let rest = bits & ((1 << held) - 1);
    (rest == 0).then_some(block)
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
            let mut block = [0; RAW];
            chance.fill(&mut block);
            let written = encode(block);
            assert_eq!(decode(&written), Some(block));
            assert_eq!(decode(&written.to_ascii_uppercase()), Some(block));
        }
    }

    #[test]
    fn the_letters_are_those_of_the_standard() {
        let mut block = [0; RAW];
        block[..6].copy_from_slice(b"foobar");
        let written = encode(block);
        assert_eq!(&written[..9], b"mzxw6ytbo"); // RFC 4648 §10: "foobar" is MZXW6YTBOI
        assert_eq!(written.len(), WRITTEN);
    }

    #[test]
    fn nothing_else_is_read() {
        let written = encode([7; RAW]);
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
        let mut unused_bits = encode([0; RAW]);
        unused_bits[WRITTEN - 1] = b'b';
        assert_eq!(decode(&unused_bits), None);
    }
}
