//! What a phone can be played: a company's own sounds, its music, and the tones of its country.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::TenantId;

/// One playing of a clip, as its call numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlayId(pub u32);

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clip {
    /// A sound, from its beginning.
    Sound(Stored),
    /// A sound that many hear at the same time: whoever comes later hears it from where it is.
    Music(Stored),
    /// A tone.
    Tone(CallTone),
}

/// A sound in the object store: which it is, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// Whose.
    pub tenant: TenantId,
    /// Which object; another one when the sound changes.
    pub object: Uuid,
    /// SHA-256 of the object.
    pub sha256: [u8; 32],
    /// How long the object is.
    pub bytes: u64,
}

/// How often a clip is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Often {
    /// Once.
    Once,
    /// Until it is hushed.
    Forever,
}

/// Why a clip is not played any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlayEnd {
    /// It was played to its end.
    Ended,
    /// It was hushed, or another took its place.
    Stopped,
    /// It could not be had in time, or the phone has no codec that we can pack it in.
    Missing,
}

/// A tone that tells how a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTone {
    /// What it tells.
    pub signal: Signal,
    /// In whose way.
    pub country: Country,
}

/// What a tone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// It rings there.
    Ringback,
    /// Who was called is busy.
    Busy,
    /// It cannot be done now.
    Congestion,
}

/// Whose tones a company's phones hear (ITU-T E.180).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Country {
    /// Austria.
    #[default]
    Austria,
    /// Germany.
    Germany,
    /// Switzerland.
    Switzerland,
    /// The United States.
    UnitedStates,
    /// The United Kingdom.
    UnitedKingdom,
}

impl Country {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Austria, Self::Germany, Self::Switzerland, Self::UnitedStates, Self::UnitedKingdom];

    /// ISO 3166's two letters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Austria => "AT",
            Self::Germany => "DE",
            Self::Switzerland => "CH",
            Self::UnitedStates => "US",
            Self::UnitedKingdom => "GB",
        }
    }

    /// The country of these letters.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|country| country.code() == code)
    }
}
