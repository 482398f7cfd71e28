//! One side of a call: what its peer and we agreed on, and each packet's way in and out.
//!
//! What comes on one port is told apart by its first byte (RFC 7983 §7). On a protected side a packet
//! is opened first and believed then, so that nobody without the key moves a stream.

use std::net::SocketAddr;

use pbx::media::{Heard, Reports, Side, Terms};
use pbx::moment::Moment;

use crate::guard::{Guard, Kind};
use crate::latch::Verdict;
use crate::packet::Packet;
use crate::report::Exchange;
use crate::rtp::Datagram;
use crate::session::speech::Speech;
use crate::session::watch::Watch;
use crate::session::{Family, Port, Slot};
use crate::srtp::Refused;
use crate::stream::{Aim, Stream};
use crate::transcode::mouth::Mouth;

/// One side.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) family: Family,
    pub(crate) joined: Option<Slot>,
    pub(crate) terms: Option<Box<Terms>>,
    pub(crate) stream: Stream,
    /// What is made of what the peer says.
    pub(crate) speech: Speech,
    /// What we say to the peer ourselves.
    pub(crate) mouth: Option<Box<Mouth>>,
    /// Reports to and from the peer.
    pub(crate) exchange: Exchange,
    pub(crate) watch: Watch,
    /// When this side stands in the timetable.
    pub(crate) due_at: Option<Moment>,
    guard: Guard,
    forged: u64,
}

/// What to make of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The peer's, and plain now.
    Believed(Kind),
    /// The same, and from now on its source is where the peer is.
    Latched(Kind),
    /// Not our peer's.
    Stranger,
    /// It has no right tag, or none at all where one was agreed on.
    Forged,
    /// The peer's, and it came before.
    Repeated,
}

impl End {
    /// A side that nothing was agreed on yet.
    pub(crate) fn new(side: Side, family: Family) -> Self {
        Self {
            side,
            family,
            joined: None,
            terms: None,
            stream: Stream::default(),
            speech: Speech::default(),
            mouth: None,
            exchange: Exchange::default(),
            watch: Watch::default(),
            due_at: None,
            guard: Guard::default(),
            forged: 0,
        }
    }

    /// Signalling says where the peer is.
    pub(crate) fn aim(&mut self, now: Moment, aim: Aim) {
        let reachable = |address: &SocketAddr| Family::of(address) == self.family;
        let rtp = aim.rtp.filter(reachable);
        let rtcp = aim.rtcp.filter(reachable);
        self.stream.aim(now, Aim { rtp, rtcp, ..aim });
    }

    /// Signalling says what was agreed on.
    pub(crate) fn agree(&mut self, now: Moment, terms: Box<Terms>) {
        self.guard.agree(now, &terms.protection);
        self.speech.ear.agree(&terms);
        self.terms = Some(terms);
    }

    /// A datagram came to one of the ports.
    pub(crate) fn receive(
        &mut self,
        now: Moment,
        port: Port,
        source: SocketAddr,
        packet: &mut Packet<'_>,
    ) -> Received {
        let kind = Kind::of(packet.bytes(), port);
        if self.guard.is_up()
            && let Err(refused) = self.guard.open(now, kind, packet)
        {
            return self.refuse(refused);
        }
        let verdict = match port {
            Port::Sound => self.stream.handle_sound(now, source, packet.bytes()),
            Port::Reports => self.stream.handle_report(now, source, packet.bytes()),
        };
        match verdict {
            Verdict::Believed => Received::Believed(kind),
            Verdict::Latched => Received::Latched(kind),
            Verdict::Stranger => Received::Stranger,
        }
    }

    fn refuse(&mut self, refused: Refused) -> Received {
        match refused {
            Refused::Replayed => Received::Repeated,
            Refused::Malformed | Refused::Forged | Refused::Exhausted => {
                self.forged += 1;
                Received::Forged
            }
        }
    }

    /// A packet is for the peer: makes it what the peer takes, and says from which port it goes
    /// where. `None`: nowhere.
    pub(crate) fn send(
        &mut self,
        now: Moment,
        (kind, came_by): (Kind, Port),
        packet: &mut Packet<'_>,
    ) -> Option<(Port, SocketAddr)> {
        let way = match (kind, self.terms.as_ref().map(|terms| terms.reports)) {
            (Kind::Sound, _) => (Port::Sound, self.stream.sound_goes_to(now)?),
            (Kind::Report, Some(Reports::Within)) => (Port::Sound, self.stream.sound_goes_to(now)?),
            (Kind::Report, Some(Reports::Beside)) => (Port::Reports, self.stream.reports_go_to()?),
            // Nobody said where: as it came.
            (Kind::Report, None) | (Kind::Other, _) => match came_by {
                Port::Sound => (Port::Sound, self.stream.sound_goes_to(now)?),
                Port::Reports => (Port::Reports, self.stream.reports_go_to()?),
            },
        };
        self.guard.seal(kind, packet).ok().map(|()| way)
    }

    /// Whether packets are protected, or are to be.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_up()
    }

    /// What was heard from the peer.
    pub(crate) fn heard(&self) -> Heard {
        let mut heard = self.stream.heard();
        heard.strangers += self.forged;
        heard.forged = self.forged;
        self.add_quality(&mut heard);
        heard
    }
}

impl Kind {
    /// What a datagram carries. That of a protected one can be told as well: its head is readable.
    fn of(bytes: &[u8], port: Port) -> Self {
        match (Datagram::kind(bytes), port) {
            (Kind::Sound, Port::Reports) => Kind::Other,
            (kind, _) => kind,
        }
    }
}

#[cfg(test)]
mod tests;
