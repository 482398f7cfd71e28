//! What a call asks of sound, and what it hears back: plain data between a switch and media.
//!
//! A *session* is a call's sound. It has *sides*, one a leg, each an RTP port with the RTCP port
//! above it. A side relays to the side it is joined to.

mod digit;
mod event;
mod recording;
mod terms;
mod wish;

use serde::{Deserialize, Serialize};

use crate::id::CallId;

pub use self::digit::{Digit, Tones};
pub use self::event::{Event, Heard};
pub use self::recording::{Channel, Kept, Recording};
pub use self::terms::{
    Codec, CodecKind, DtlsRole, Ice, Key, Protection, Reception, Reports, Suite, Terms,
};
pub use self::wish::{Cue, Part, Wish};
pub use crate::play::{CallTone, Clip, Country, Often, PlayEnd, PlayId, Signal, Stored};

/// One leg's end of a call's sound. A call has at most 128 sides; a conference's members are sides of
/// one session, whose id is the conference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Side {
    /// Whose sound.
    pub call: CallId,
    /// Which leg.
    pub leg: u16,
}
