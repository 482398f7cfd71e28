//! The keys of a telephone, as they are heard and sent.
//!
//! RFC 4733 §3.2.

use serde::{Deserialize, Serialize};

/// A key of a telephone, as RFC 4733 §3.2 numbers them: 0 to 9, `*`, `#`, A to D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digit(u8);

impl Digit {
    const KEYS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

    /// The key with this sign.
    pub fn from_key(key: char) -> Option<Self> {
        let key = key.to_ascii_uppercase();
        let number = Self::KEYS.iter().position(|known| *known == key)?;
        u8::try_from(number).ok().map(Self)
    }

    /// The key of this event.
    pub fn from_event(event: u8) -> Option<Self> {
        (usize::from(event) < Self::KEYS.len()).then_some(Self(event))
    }

    /// Its event.
    pub fn event(self) -> u8 {
        self.0
    }

    /// Its sign.
    pub fn key(self) -> char {
        Self::KEYS.get(usize::from(self.0)).copied().unwrap_or('?')
    }
}

/// Whether tones are listened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tones {
    /// No.
    Ignored,
    /// Yes.
    Heard,
}
