//! What one phone says, as the other hears it: where packets are changed, and where we make our own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use pbx::moment::Moment;

use crate::end::End;
use crate::guard::Kind;
use crate::packet::Packet;
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
    /// For nobody: a report about a stream that the other side does not get.
    Private,
}

impl End {
    /// What a packet of the peer's is to be for the other side.
    pub(crate) fn word(&self, kind: Kind, packet: &Packet<'_>) -> Word {
        let Some(route) = &self.route else { return Word::AsItIs };
        match (kind, Datagram::read(packet.bytes())) {
            (Kind::Sound, Datagram::Rtp(header)) => {
                Word::Sound(route.fate(header.payload_type), header)
            }
            (Kind::Report, _) if route.converts() => Word::Private,
            (Kind::Report | Kind::Sound | Kind::Other, _) => Word::AsItIs,
        }
    }

    fn speak(&mut self, now: Moment, word: Word, packet: &mut Packet<'_>) -> Spoken {
        match (word, &mut self.mouth) {
            (Word::Sound(fate, header), Some(mouth)) => mouth.speak(now, fate, &header, packet),
            (Word::Sound(..), None) => Spoken::Never,
            (Word::Private, _) => Spoken::Later,
            (Word::AsItIs, Some(mouth)) if mouth.converts() => Spoken::Later,
            (Word::AsItIs, _) => Spoken::Now,
        }
    }

    /// When this side has something to do.
    fn deadline(&self) -> Option<Moment> {
        self.mouth.as_ref().and_then(|mouth| mouth.deadline())
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
                && (route.is_some() || listener.mouth.is_some())
            {
                let mouth = listener.mouth.get_or_insert_with(|| Box::new(Mouth::new(random())));
                mouth.agree(change, route.as_deref(), &theirs, ours);
            }
            if let Some(speaker) = self.end(from) {
                speaker.route = route;
            }
        }
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
