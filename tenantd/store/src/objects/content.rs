//! What an object must be: its length and its SHA-256, by which a changed one is found out.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The length and the checksum of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Content {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

impl Content {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.take(bytes);
        hasher.content()
    }

    /// The checksum as people write it.
    pub fn hex(&self) -> String {
        hex(&self.sha256)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.bytes, self.hex())
    }
}

/// Finds out the [`Content`] of what comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher {
    bytes: u64,
    sum: Sha256,
}

impl Hasher {
    /// The next piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.sum.update(piece);
    }

    /// What came so far.
    pub fn content(self) -> Content {
        Content { bytes: self.bytes, sha256: self.sum.finalize().into() }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`hex`] for a checksum.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut sum = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_pieces_is_what_comes_at_once() {
        let mut hasher = Hasher::default();
        hasher.take(b"some");
        hasher.take(b" sound");
        assert_eq!(hasher.content(), Content::of(b"some sound"));
        let content = Content::of(b"abc");
        assert!(content.hex().starts_with("ba7816bf8f01cfea"), "FIPS 180-4's example");
        assert_eq!(unhex(&content.hex()), Some(content.sha256));
        for text in ["", "ab", &"x".repeat(64), &"ä".repeat(32)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
