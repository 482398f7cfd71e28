//! What a call wishes of its sound.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Channel, Clip, Digit, Kept, Often, PlayId, Recording, Side, Terms, Tones};
use crate::id::CallId;

/// What a call wishes of its sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Reserve a port pair on the local address; answered by [`Opened`](super::Event::Opened) or
    /// [`NoPorts`](super::Event::NoPorts).
    Open {
        /// For whom.
        side: Side,
        /// The address to bind; a wildcard binds all of its family.
        local: IpAddr,
        /// After a restart: the same port as before (the RTP port; RTCP is the next).
        port: Option<u16>,
    },
    /// Where the peer says it receives (its SDP). Sending there begins at once; see
    /// `media::latch` for when the source of its packets is believed instead.
    Aim {
        /// Whose peer.
        side: Side,
        /// Its RTP address; `None` while it has refused the stream or named no address.
        rtp: Option<SocketAddr>,
        /// Its RTCP address (RFC 3605, else the port above).
        rtcp: Option<SocketAddr>,
        /// Where its signalling comes from: behind NAT its sound comes from there as well, so it
        /// is believed sooner than a stranger who happens to send first.
        near: Option<IpAddr>,
    },
    /// What a side's session descriptions agreed on. Without it, and between two sides whose terms
    /// are alike and plain, packets are relayed as they are.
    Agree {
        /// Which side.
        side: Side,
        /// On what.
        terms: Box<Terms>,
    },
    /// Relay between two sides of one call, both ways.
    Join {
        /// One side.
        a: Side,
        /// The other.
        b: Side,
    },
    /// Let the side's peer hear a digit: as telephone events (RFC 4733), or as tones if it has none.
    /// At most 32 wait for their turn.
    Press {
        /// Whose peer.
        side: Side,
        /// Which.
        digit: Digit,
        /// For how long; 40 ms at least, 8 s at most.
        for_ms: u16,
    },
    /// Listen for digits that the side's peer sends as tones. Telephone events are always heard.
    Listen {
        /// Whose peer.
        side: Side,
        /// Whether.
        tones: Tones,
    },
    /// Keep what the side's peer says, or what it hears of us, until the side is closed. All of a
    /// call that is recorded at the same time is one recording. Refused by
    /// [`Unrecorded`](super::Event::Unrecorded).
    Record {
        /// Whose peer.
        side: Side,
        /// What of it.
        kept: Kept,
        /// On which of the two channels.
        channel: Channel,
        /// In which recording.
        recording: Box<Recording>,
    },
    /// Leave out what is kept of the side from now on; a recording whose sides all pause stands
    /// still.
    Pause {
        /// Whose peer.
        side: Side,
    },
    /// Keep it again.
    Resume {
        /// Whose peer.
        side: Side,
    },
    /// The side takes part in its session's conference: it hears all others, and all others hear it.
    /// It is joined to no side from then on.
    Mix {
        /// Which side.
        side: Side,
        /// How.
        part: Part,
    },
    /// Let the peer of a side that [takes part](Self::Mix) in a conference hear a short tone, alone.
    Cue {
        /// Whose peer.
        side: Side,
        /// Which.
        cue: Cue,
    },
    /// Let the side's peer hear a clip instead of whom it is joined to; answered by
    /// [`Played`](super::Event::Played) when it is over. What is played once goes before what is played
    /// for ever, which goes on behind it; of each kind there is one, and the next ends the one before.
    Play {
        /// Whose peer.
        side: Side,
        /// What this is called in [`Wish::Hush`] and [`Played`](super::Event::Played).
        play: PlayId,
        /// What.
        clip: Clip,
        /// How often.
        how: Often,
    },
    /// Stop playing.
    Hush {
        /// To whose peer.
        side: Side,
        /// What.
        play: PlayId,
    },
    /// End one side; answered by [`Closed`](super::Event::Closed) with what was measured.
    Close {
        /// Which.
        side: Side,
    },
}

impl Wish {
    /// The call whose sound is meant: a call is served by one worker.
    pub fn call(&self) -> CallId {
        match self {
            Self::Open { side, .. }
            | Self::Aim { side, .. }
            | Self::Agree { side, .. }
            | Self::Press { side, .. }
            | Self::Listen { side, .. }
            | Self::Record { side, .. }
            | Self::Pause { side }
            | Self::Resume { side }
            | Self::Mix { side, .. }
            | Self::Cue { side, .. }
            | Self::Play { side, .. }
            | Self::Hush { side, .. }
            | Self::Close { side } => side.call,
            Self::Join { a, .. } => a.call,
        }
    }
}

/// How a side takes part in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// It stands before the door: it hears silence and its own cues, and nobody hears it.
    Waits,
    /// It hears and is heard.
    Speaks,
    /// It hears and is not heard.
    Listens,
    /// It is on hold: neither.
    Away,
}

/// A short tone that tells one member something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cue {
    /// Dial the PIN.
    AskPin,
    /// That was not it.
    WrongPin,
    /// The others do not hear you any more.
    Muted,
    /// The others hear you again.
    Unmuted,
}
