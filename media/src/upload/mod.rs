//! Makes of a file that somebody uploaded the one form in which sound is kept: 16 kHz, 16 bits, mono.
//!
//! Whatever the file is called, its content decides what it is. It comes from strangers and is read
//! by other people's decoders, so this runs in a process of its own with little memory and little
//! time; it may fail in any way, and must not be believed in more than its samples. What is kept is
//! wide band, as telephones know it at best (RFC 3551 §4.5.2 for G.722, RFC 7587 for Opus), needs no
//! decoding when it is played, and is equally loud whoever made it (EBU R 128).

mod decode;
mod level;
mod resample;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::codec::Rate;

/// Samples a second of what is kept.
pub const RATE: u32 = Rate::Wide.hertz();

/// How much is taken at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may last.
    pub longest: Duration,
}

/// Why a file is not taken. Each is one sentence for whoever uploaded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// There is nothing in it.
    Empty,
    /// It has more bytes than are taken.
    TooLarge,
    /// It is no sound, or of a kind that we do not know.
    NotSound,
    /// It is sound, in a form that cannot be read here.
    Unsupported,
    /// It claims a number of samples a second or of channels that no recording has.
    Strange,
    /// It begins as sound and cannot be read.
    Broken,
    /// It ends before it should.
    BreaksOff,
    /// It lasts longer than is taken.
    TooLong,
    /// Reading it takes more time or memory than any sound of this length should.
    TooCostly,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Empty,
        Self::TooLarge,
        Self::NotSound,
        Self::Unsupported,
        Self::Strange,
        Self::Broken,
        Self::BreaksOff,
        Self::TooLong,
        Self::TooCostly,
    ];

    /// A word for it, by which programs know it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::NotSound => "not_sound",
            Self::Unsupported => "unsupported",
            Self::Strange => "strange",
            Self::Broken => "broken",
            Self::BreaksOff => "breaks_off",
            Self::TooLong => "too_long",
            Self::TooCostly => "too_costly",
        }
    }

    /// The refusal of that word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.word() == word)
    }
}

/// Reads a file, whatever it is, into samples of [`RATE`].
///
/// # Errors
/// If it is no sound that we take.
pub fn read(file: Vec<u8>, limits: Limits) -> Result<Vec<i16>, Refusal> {
    if file.is_empty() {
        return Err(Refusal::Empty);
    }
    // The decoders are others' and assert what files can contradict.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode::decode(file, limits)));
    let samples = decoded.unwrap_or(Err(Refusal::Broken))?;
    if samples.is_empty() {
        return Err(Refusal::Empty);
    }
    Ok(level::level(samples))
}

#[cfg(test)]
mod tests;
