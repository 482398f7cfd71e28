//! What happened to a call's sound, and what was measured of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Digit, PlayEnd, PlayId, Side};

/// What happened to a call's sound.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The side's ports are open.
    Opened {
        /// Which side.
        side: Side,
        /// Its RTP port; RTCP is the next.
        port: u16,
    },
    /// No port is free (or the one asked for is taken).
    NoPorts {
        /// Which side.
        side: Side,
    },
    /// The peer's packets come from here, and it is believed (a change of `peer` is told again).
    Latched {
        /// Which side.
        side: Side,
        /// Where its RTP comes from.
        peer: SocketAddr,
    },
    /// Nothing has come from the peer for 30 s, though it was heard before and its phone names an
    /// address; told once, until it is heard again.
    Quiet {
        /// Which side.
        side: Side,
    },
    /// The peer of the side that it is joined to is heard, and this one's has sent nothing for 5 s,
    /// though both name an address. Told once, until signalling speaks of either again.
    OneWay {
        /// From which side nothing comes.
        side: Side,
    },
    /// The peer pressed a key and let it go.
    Digit {
        /// Whose peer.
        side: Side,
        /// Which key.
        digit: Digit,
        /// For how long.
        long_ms: u32,
    },
    /// What was wished of the side is not kept: nothing can be written.
    Unrecorded {
        /// Which side.
        side: Side,
    },
    /// The peer is the one who speaks in its conference now. Told twice a second at most.
    Speaking {
        /// Whose peer.
        side: Side,
    },
    /// The peer was the one who spoke in its conference, and nobody does now. Told with the former as
    /// often at most.
    Silent {
        /// Whose peer.
        side: Side,
    },
    /// A clip is not played any more.
    Played {
        /// To whose peer.
        side: Side,
        /// Which.
        play: PlayId,
        /// Why not.
        end: PlayEnd,
    },
    /// The side is gone.
    Closed {
        /// Which side.
        side: Side,
        /// What was measured while it lived.
        heard: Heard,
    },
}

impl Event {
    /// The side it is about.
    pub fn side(&self) -> Side {
        match self {
            Self::Opened { side, .. }
            | Self::NoPorts { side }
            | Self::Latched { side, .. }
            | Self::Quiet { side }
            | Self::OneWay { side }
            | Self::Digit { side, .. }
            | Self::Unrecorded { side }
            | Self::Speaking { side }
            | Self::Silent { side }
            | Self::Played { side, .. }
            | Self::Closed { side, .. } => *side,
        }
    }
}

/// What was heard from one side's peer, and what it heard. Unknown is `None`, never a flattering
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Heard {
    /// RTP packets received from it and believed.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that were expected by their sequence numbers and did not come; `None` if no packet came.
    pub lost: Option<u64>,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1); `None` with fewer than two packets.
    pub jitter_ms: Option<f32>,
    /// From us to the peer and back, by its reports (RFC 3550 §6.4.1).
    pub round_trip_ms: Option<f32>,
    /// Packets that were sent to it and that it says did not come; `None` if it never said.
    pub reported_lost: Option<u64>,
    /// How content somebody would be who hears what came from it (ITU-T G.107), from 1 to 4.5.
    pub opinion: Option<f32>,
    /// Packets from other addresses, and forged ones, not relayed.
    pub strangers: u64,
    /// Those of them whose tag was wrong, or that had none where one was agreed on.
    pub forged: u64,
}
