//! One side of a call: what its peer and we agreed on, and each packet's way in and out.
//!
//! What comes on one port is told apart by its first byte (RFC 7983 §7). On a protected side a packet
//! is opened first and believed then, so that nobody without the key moves a stream.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pbx::media::{Event, Heard, Ice, Protection, Reception, Reports, Side, Terms};
use pbx::moment::Moment;

use crate::counters::Secrecy;
use crate::dtls::{Association, Identity, Room, Step};
use crate::guard::{Guard, Kind};
use crate::ice::{Agent, Change};
use crate::latch::{Sending, Verdict};
use crate::packet::Packet;
use crate::rtp::Datagram;
use crate::session::speech::Speech;
use crate::session::tapping::Tapping;
use crate::session::{Family, Port, Reply, Slot};
use crate::srtp::Refused;
use crate::stream::{Aim, Stream};

/// What sides have to say themselves waits for the end of a worker's turn; beyond this it is lost, as
/// anything can be on its way, and said again.
const REPLIES: usize = 1_024;

/// One side.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) family: Family,
    pub(crate) joined: Option<Slot>,
    /// Its place in its session's conference.
    pub(crate) place: Option<usize>,
    pub(crate) terms: Option<Box<Terms>>,
    pub(crate) stream: Stream,
    /// What is made of what the peer says, and what we say to it ourselves.
    pub(crate) speech: Speech,
    /// What is kept of it.
    pub(crate) tapping: Tapping,
    /// What signalling said last of where the peer is.
    aimed: Option<Aim>,
    guard: Guard,
    dtls: Option<Box<Association>>,
    ice: Option<Box<Agent>>,
    forged: u64,
}

/// What a worker lends a side.
pub(crate) struct Surroundings<'a> {
    pub(crate) slot: Slot,
    /// The certificate for handshakes.
    pub(crate) identity: Option<&'a Identity>,
    /// Whether another handshake may begin.
    pub(crate) room: Room,
    pub(crate) replies: &'a mut VecDeque<Reply>,
    pub(crate) secrecy: &'a mut Secrecy,
}

/// Whether the peer is elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Yes,
    No,
}

/// What to make of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The peer's, and plain now.
    Believed(Kind),
    /// The same, and from now on its source is where the peer is.
    Latched(Kind),
    /// For us: it asks whether we are there.
    Check,
    /// For us: it agrees on keys.
    Handshake,
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
            place: None,
            terms: None,
            stream: Stream::default(),
            speech: Speech::default(),
            tapping: Tapping::default(),
            aimed: None,
            guard: Guard::default(),
            dtls: None,
            ice: None,
            forged: 0,
        }
    }

    /// Signalling says where the peer is.
    pub(crate) fn aim(&mut self, now: Moment, aim: Aim, around: &mut Surroundings<'_>) {
        self.aimed = Some(aim);
        self.follow(now, aim);
        self.say_hello(now, around);
    }

    /// Where checks say where the peer is, signalling says only whether there is to be sound: a
    /// browser names no address before it has found one.
    fn follow(&mut self, now: Moment, aim: Aim) {
        if self.ice.is_some() {
            let sending = match aim.rtp {
                Some(named) if named.port() != 0 => Sending::Wanted,
                Some(_) | None => Sending::Refused,
            };
            self.stream.latch().aim_by_checks(sending);
        } else {
            let reachable = |address: &SocketAddr| Family::of(address) == self.family;
            let rtp = aim.rtp.filter(reachable);
            let rtcp = aim.rtcp.filter(reachable);
            self.stream.aim(now, Aim { rtp, rtcp, ..aim });
        }
    }

    /// Signalling says what was agreed on.
    pub(crate) fn agree(&mut self, now: Moment, terms: Box<Terms>, around: &mut Surroundings<'_>) {
        self.guard.agree(now, &terms.protection);
        self.speech.agree(&terms);
        let checked = self.ice.is_some();
        match &terms.protection {
            Protection::Plain | Protection::Awaited | Protection::Sdes { .. } => {
                self.dtls = None;
                self.check_by(None);
            }
            Protection::Dtls { role, fingerprint, ice } => {
                let is_it = |held: &Association| held.is(*role, fingerprint);
                if !self.dtls.as_deref().is_some_and(is_it) {
                    self.dtls = Some(Box::new(Association::new(*role, *fingerprint)));
                }
                self.check_by(ice.as_ref());
            }
        }
        self.terms = Some(terms);
        // A caller is aimed at as soon as it has ports, and what it is answered comes later.
        if let (Some(aim), true) = (self.aimed, self.ice.is_some() != checked) {
            self.follow(now, aim);
        }
        self.say_hello(now, around);
    }

    fn check_by(&mut self, told: Option<&Ice>) {
        match (&mut self.ice, told) {
            (Some(agent), Some(told)) => agent.agree(told),
            (None, Some(told)) => self.ice = Some(Box::new(Agent::new(told))),
            (_, None) => {
                self.ice = None;
                self.stream.latch().end_checks();
            }
        }
    }

    /// Begins a handshake if that is our part, and it is known with whom.
    fn say_hello(&mut self, now: Moment, around: &mut Surroundings<'_>) {
        let way = match &self.ice {
            Some(agent) => agent.way(),
            None => self.stream.sound_goes_to(now),
        };
        if let (Some(dtls), Some(identity), Some(way)) = (&mut self.dtls, around.identity, way) {
            dtls.handle_way(now, identity, way, around.room);
        }
        self.flush(around);
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
        if self.guard.is_up() {
            if let Some(received) = self.tell_apart(now, port, source, packet.bytes()) {
                return received;
            }
            if let Err(refused) = self.guard.open(now, kind, packet) {
                return self.refuse(refused);
            }
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

    /// What is neither sound nor a report, and who is nobody's peer.
    fn tell_apart(
        &mut self,
        now: Moment,
        port: Port,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Option<Received> {
        let believed = self.ice.as_ref().map(|agent| agent.believes(now, source));
        match (bytes.first(), &self.dtls, port) {
            (Some(0..=3), _, Port::Sound) if believed.is_some() => Some(Received::Check),
            (Some(20..=63), Some(_), Port::Sound) => {
                let expected = believed.unwrap_or_else(|| self.stream.latch().expects(source.ip()));
                Some(if expected { Received::Handshake } else { Received::Stranger })
            }
            (Some(128..=191), _, _) if believed != Some(false) => None,
            _ => Some(Received::Stranger),
        }
    }

    /// What is meant for us came: a check or a handshake's.
    pub(crate) fn converse(
        &mut self,
        now: Moment,
        source: SocketAddr,
        message: &[u8],
        around: &mut Surroundings<'_>,
    ) -> Moved {
        let mut moved = Moved::No;
        match (message.first(), &mut self.ice, &mut self.dtls) {
            (Some(0..=3), Some(agent), _) => {
                let Some((answer, change)) = agent.handle_check(now, source, message) else {
                    return Moved::No;
                };
                around.reply(source, answer);
                if let Change::Moved(way) = change {
                    self.stream.latch().follow_check(way);
                    moved = Moved::Yes;
                    self.say_hello(now, around);
                }
            }
            (_, _, Some(dtls)) => {
                if let Some(identity) = around.identity {
                    let came = (source, message);
                    let step = dtls.handle_datagram(now, identity, came, around.room);
                    self.take(now, step, around);
                }
            }
            (_, _, None) => {}
        }
        moved
    }

    fn take(&mut self, now: Moment, step: Step, around: &mut Surroundings<'_>) {
        match step {
            Step::Nothing => {}
            Step::Agreed { ours, theirs, peer } => {
                around.secrecy.handshakes += 1;
                self.guard.take_new_keys(now, &ours, &theirs);
                if self.ice.is_none() {
                    self.stream.latch().prove(peer);
                }
            }
            Step::Failed => around.secrecy.handshakes_failed += 1,
        }
        self.flush(around);
    }

    fn flush(&mut self, around: &mut Surroundings<'_>) {
        while let Some((to, bytes)) = self.dtls.as_mut().and_then(|dtls| dtls.poll_output()) {
            around.reply(to, bytes);
        }
    }

    /// Whether a handshake goes on.
    pub(crate) fn is_shaking(&self) -> bool {
        self.dtls.as_ref().is_some_and(|dtls| dtls.is_shaking())
    }

    /// Does what is due in a handshake.
    pub(crate) fn handle_deadline(&mut self, now: Moment, around: &mut Surroundings<'_>) {
        let Some(dtls) = &mut self.dtls else { return };
        if dtls.deadline().is_some_and(|due_at| due_at <= now) {
            let step = dtls.handle_deadline(now);
            self.take(now, step, around);
        }
        // There was no room, or nobody to say it to.
        self.say_hello(now, around);
    }

    /// What a call is told of where its peer is.
    pub(crate) fn latched(&self) -> Option<Event> {
        let side = self.side;
        self.stream.peer().map(|peer| Event::Latched { side, peer })
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
    /// where. `None`: nowhere, or the peer wants none.
    pub(crate) fn send(
        &mut self,
        now: Moment,
        (kind, came_by): (Kind, Port),
        packet: &mut Packet<'_>,
    ) -> Option<(Port, SocketAddr)> {
        let unwanted =
            self.terms.as_ref().is_some_and(|terms| terms.reception == Reception::Unwanted);
        if kind == Kind::Sound && unwanted {
            return None;
        }
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

impl Surroundings<'_> {
    fn reply(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.replies.len() < REPLIES {
            let slot = self.slot;
            self.replies.push_back(Reply { slot, port: Port::Sound, to, bytes });
        }
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
