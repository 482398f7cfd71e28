//! Whether what goes to and comes from one peer is encrypted: where it is, nothing plain passes.
//!
//! Keys come from session descriptions (RFC 4568) or from a handshake (RFC 5764); until they are there
//! a protected side is closed both ways.

use pbx::media::{Key, Protection};
use pbx::moment::Moment;

use crate::packet::{Fit, Packet};
use crate::srtp::{GROWS_BY, Receiver, Refused, Sender};

/// One side's.
#[derive(Default)]
pub(crate) enum Guard {
    /// Packets are as they are.
    #[default]
    Plain,
    /// They are to be protected, and there is no key yet, or none that can be used.
    Closed,
    /// They are protected.
    Keyed(Box<Pair>),
}

/// What is sealed with our key and opened with the peer's.
pub(crate) struct Pair {
    sender: Sender,
    receiver: Receiver,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RTP.
    Sound,
    /// RTCP.
    Report,
    /// Neither, such as fax (T.38): it passes between plain sides alone.
    Other,
}

impl Guard {
    /// Signalling says how packets are protected.
    pub(crate) fn agree(&mut self, now: Moment, protection: &Protection) {
        match (protection, &*self) {
            (Protection::Plain, _) => *self = Self::Plain,
            (Protection::Awaited, _) => *self = Self::Closed,
            (Protection::Sdes { ours, theirs }, _) => self.take_keys(now, ours, theirs),
            // What a handshake agreed on is good until the next one has ended.
            (Protection::Dtls { .. }, Self::Keyed(_)) => {}
            (Protection::Dtls { .. }, Self::Plain | Self::Closed) => *self = Self::Closed,
        }
    }

    /// These are the keys from now on.
    pub(crate) fn take_keys(&mut self, now: Moment, ours: &Key, theirs: &Key) {
        let taken = match self {
            Self::Keyed(pair) => pair.rekey(now, ours, theirs),
            Self::Plain | Self::Closed => Pair::new(ours, theirs).map(|pair| {
                *self = Self::Keyed(Box::new(pair));
            }),
        };
        if taken.is_none() {
            *self = Self::Closed;
        }
    }

    /// A handshake agreed on these. Both ends begin to count anew (RFC 5764 §4.2: its keys are those
    /// of a new context), which the peer's packets on their way do not know yet.
    pub(crate) fn take_new_keys(&mut self, now: Moment, ours: &Key, theirs: &Key) {
        self.take_keys(now, ours, theirs);
        if let (Self::Keyed(pair), Some(sender)) = (self, Sender::new(ours)) {
            pair.sender = sender;
        }
    }

    /// Whether packets are protected, or are to be.
    pub(crate) fn is_up(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// Makes plain what came from the peer.
    pub(crate) fn open(
        &mut self,
        now: Moment,
        kind: Kind,
        packet: &mut Packet<'_>,
    ) -> Result<(), Refused> {
        let receiver = match self {
            Self::Plain => return Ok(()),
            Self::Closed => return Err(Refused::Forged),
            Self::Keyed(pair) => &mut pair.receiver,
        };
        let len = match kind {
            Kind::Sound => receiver.open_sound(now, packet.bytes_mut())?,
            Kind::Report => receiver.open_report(now, packet.bytes_mut())?,
            Kind::Other => return Err(Refused::Forged),
        };
        fit(packet.set_len(len))
    }

    /// Protects what goes to the peer.
    pub(crate) fn seal(&mut self, kind: Kind, packet: &mut Packet<'_>) -> Result<(), Refused> {
        let sender = match self {
            Self::Plain => return Ok(()),
            Self::Closed => return Err(Refused::Exhausted),
            Self::Keyed(pair) => &mut pair.sender,
        };
        let len = packet.len();
        fit(packet.set_len(len + GROWS_BY))?;
        let sealed = match kind {
            Kind::Sound => sender.seal_sound(packet.bytes_mut(), len)?,
            Kind::Report => sender.seal_report(packet.bytes_mut(), len)?,
            Kind::Other => return Err(Refused::Malformed),
        };
        fit(packet.set_len(sealed))
    }
}

impl Pair {
    fn new(ours: &Key, theirs: &Key) -> Option<Self> {
        Some(Self { sender: Sender::new(ours)?, receiver: Receiver::new(theirs)? })
    }

    fn rekey(&mut self, now: Moment, ours: &Key, theirs: &Key) -> Option<()> {
        self.sender.rekey(ours)?;
        self.receiver.rekey(now, theirs)
    }
}

fn fit(fit: Fit) -> Result<(), Refused> {
    match fit {
        Fit::Fits => Ok(()),
        Fit::TooLong => Err(Refused::Malformed),
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Closed => "Closed",
            Self::Keyed(_) => "Keyed",
        })
    }
}
