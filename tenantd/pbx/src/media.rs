//! What a call asks of sound, and what it hears back: plain data between a switch and media.
//!
//! A *session* is a call's sound. It has *sides*, one a leg, each an RTP port with the RTCP port
//! above it. A side relays to the side it is joined to.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::CallId;

/// One leg's end of a call's sound. A call has at most 64 sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Side {
    /// Whose sound.
    pub call: CallId,
    /// Which leg.
    pub leg: u16,
}

/// What a call wishes of its sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Reserve a port pair on the local address; answered by [`Event::Opened`] or [`Event::NoPorts`].
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
    /// Relay between two sides of one call, both ways.
    Join {
        /// One side.
        a: Side,
        /// The other.
        b: Side,
    },
    /// End one side; answered by [`Event::Closed`] with what was measured.
    Close {
        /// Which.
        side: Side,
    },
}

impl Wish {
    /// The call whose sound is meant: a call is served by one worker.
    pub fn call(&self) -> CallId {
        match self {
            Self::Open { side, .. } | Self::Aim { side, .. } | Self::Close { side } => side.call,
            Self::Join { a, .. } => a.call,
        }
    }
}

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
            | Self::Closed { side, .. } => *side,
        }
    }
}

/// What was heard from one side's peer. Unknown is `None`, never a flattering number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// RTP packets received from it and believed.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that were expected by their sequence numbers and did not come; `None` if no packet came.
    pub lost: Option<u64>,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1); `None` with fewer than two packets.
    pub jitter_ms: Option<f32>,
    /// Packets from other addresses, not relayed.
    pub strangers: u64,
}
