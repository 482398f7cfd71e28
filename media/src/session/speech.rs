//! What one phone says, as the other hears it: where packets are changed, and where we make our own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use pbx::media::Side;
use pbx::moment::Moment;

use crate::end::End;
use crate::guard::Kind;
use crate::packet::Packet;
use crate::report::rtcp::Ending;
use crate::rtp::{Datagram, Header};
use crate::session::outbox::Transmit;
use crate::session::{Port, Sessions, Slot};
use crate::transcode::conversion::Said;
use crate::transcode::mouth::{Change, Mouth, Spoken};
use crate::transcode::route::{Fate, Route};

/// How many sides are served before packets have their turn: packing 20 ms of Opus takes 0.15 ms.
const AT_ONCE: usize = 4;

/// What a believed packet is to be for whoever hears it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word {
    /// What it is.
    AsItIs,
    /// Sound, with a fate of its own.
    Sound(Fate, Header),
    /// A report.
    Report,
    /// For nobody: a report about a stream that the other side does not get.
    Private,
}

impl End {
    /// What a packet of the peer's is to be for the other side.
    pub(crate) fn word(&mut self, now: Moment, kind: Kind, packet: &Packet<'_>) -> Word {
        if kind == Kind::Report {
            self.handle_report(now, packet);
        }
        match (kind, &self.route) {
            (Kind::Report, Some(route)) if route.converts() => Word::Private,
            (Kind::Report, _) => Word::Report,
            (Kind::Sound, Some(route)) => match Datagram::read(packet.bytes()) {
                Datagram::Rtp(header) => Word::Sound(route.fate(header.payload_type), header),
                Datagram::Rtcp | Datagram::Other => Word::AsItIs,
            },
            (Kind::Sound, None) | (Kind::Other, _) => Word::AsItIs,
        }
    }

    fn speak(&mut self, now: Moment, word: Word, packet: &mut Packet<'_>) -> Spoken {
        match (word, &mut self.mouth) {
            (Word::Sound(fate, header), Some(mouth)) => mouth.speak(now, fate, &header, packet),
            (Word::Sound(..), None) => Spoken::Never,
            (Word::Private, _) => Spoken::Later,
            (Word::Report, Some(mouth)) if mouth.converts() => Spoken::Later,
            (Word::Report, _) => {
                self.exchange.handle_passed(now, packet.bytes());
                Spoken::Now
            }
            (Word::AsItIs, _) => Spoken::Now,
        }
    }

    /// When this side has something to do.
    fn deadline(&self) -> Option<Moment> {
        let speaks_at = self.mouth.as_ref().and_then(|mouth| mouth.deadline());
        speaks_at.into_iter().chain(self.exchange.deadline()).min()
    }
}

impl Sessions {
    /// A packet is for a side's peer.
    pub(super) fn speak(
        &mut self,
        now: Moment,
        slot: Slot,
        word: Word,
        packet: &mut Packet<'_>,
    ) -> Spoken {
        if let Word::AsItIs = word {
            return Spoken::Now;
        }
        let Some(end) = self.end(slot) else { return Spoken::Never };
        let spoken = end.speak(now, word, packet);
        self.schedule(slot);
        spoken
    }

    /// What becomes of packets between a side and the one it is joined to is worked out anew.
    pub(super) fn reroute(&mut self, slot: Slot, change: Change) {
        let Some(other) = self.end(slot).and_then(|end| end.joined) else { return };
        for (from, to) in [(slot, other), (other, slot)] {
            let (Some(Some(speaker)), Some(Some(listener))) =
                (self.ends.get(from.index()), self.ends.get(to.index()))
            else {
                continue;
            };
            let (Some(theirs), Some(ours)) = (&speaker.terms, &listener.terms) else { continue };
            let route = Route::between(theirs, ours);
            let theirs = theirs.clone();
            if let Some(listener) = self.end(to)
                && let Some(ours) = &listener.terms
                && let Some(mouth) = &mut listener.mouth
            {
                mouth.agree(change, route.as_deref(), &theirs, ours);
            }
            if let Some(speaker) = self.end(from) {
                speaker.route = route;
            }
        }
    }

    /// A side whose terms are known can be spoken to, and is reported to.
    pub(super) fn open_mouth(&mut self, now: Moment, slot: Slot) {
        if let Some(end) = self.end(slot)
            && end.mouth.is_none()
        {
            let numbers = [random(), random(), random()];
            end.mouth = Some(Box::new(Mouth::new(numbers)));
            end.exchange.schedule(now, random());
        }
        self.schedule(slot);
    }

    /// A side is joined to none any more.
    pub(super) fn unroute(&mut self, slot: Slot) {
        if let Some(end) = self.end(slot) {
            end.route = None;
            if let Some(mouth) = &mut end.mouth {
                mouth.fall_silent();
            }
        }
    }

    pub(super) fn schedule(&mut self, slot: Slot) {
        let Some(end) = self.end(slot) else { return };
        let Some(at) = end.deadline() else { return };
        if end.due_at.is_none_or(|due_at| at < due_at) {
            end.due_at = Some(at);
            self.timetable.add(at, slot);
        }
    }

    /// Makes the packets that are due, a few at a time.
    pub(super) fn handle_due(&mut self, now: Moment) {
        let mut served = 0;
        while served < AT_ONCE && !self.outbox.is_full() {
            let Some((at, slot)) = self.timetable.take(now) else { return };
            let Self { ends, outbox, .. } = self;
            let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
            let Some(end) = end.filter(|end| end.due_at == Some(at)) else { continue };
            end.due_at = None;
            outbox.add(slot, |packet| end.handle_deadline(now, packet));
            served += 1;
            self.schedule(slot);
        }
    }

    /// A side is about to be closed.
    pub(crate) fn say_goodbye(&mut self, now: Moment, side: Side) {
        let Some(slot) = self.slot_of(side) else { return };
        let Self { ends, outbox, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
        if let Some(end) = end.filter(|end| end.exchange.says_goodbye()) {
            outbox.add(slot, |packet| end.report(now, Ending::Ends, packet));
        }
    }

    /// The next packet that was made here.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.outbox.take()
    }
}

impl End {
    fn handle_deadline(
        &mut self,
        now: Moment,
        packet: &mut Packet<'_>,
    ) -> Option<(Port, std::net::SocketAddr)> {
        if self.exchange.deadline().is_some_and(|at| at <= now) {
            self.exchange.schedule(now, random());
            return self.report(now, Ending::GoesOn, packet);
        }
        let mouth = self.mouth.as_mut()?;
        match mouth.handle_deadline(now, packet) {
            Said::Something => self.send(now, (Kind::Sound, Port::Sound), packet),
            Said::Nothing => None,
        }
    }
}

/// Where a stream's numbers begin (RFC 3550 §5.1): nobody shall guess, and nobody shall meet his own.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
