//! What one phone says, as the other hears it: where packets are changed, and where we make our own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use pbx::media::{Clip, Digit, Event, Often, PlayEnd, PlayId, Side, Terms, Tones};
use pbx::moment::Moment;

use crate::digits::ear::Ear;
use crate::end::End;
use crate::guard::Kind;
use crate::packet::Packet;
use crate::play::booth::Booth;
use crate::recording::tap::Tap;
use crate::report::Exchange;
use crate::report::rtcp::Ending;
use crate::rtp::{Datagram, Header};
use crate::session::outbox::Transmit;
use crate::session::watch::Watch;
use crate::session::{Port, Sessions, Slot};

use crate::transcode::mouth::{Change, Mouth, Spoken};
use crate::transcode::route::{Fate, Route};
use crate::transcode::saying::Said;

/// How much is done before packets have their turn, counted in copies of what is packed already:
/// packing 20 ms of Opus takes 0.15 ms.
const AT_ONCE: usize = 32;
const PACKING: usize = 8;

/// What is made of what one phone says.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    /// What becomes of its packets for the other phone; `None`: nothing.
    route: Option<Box<Route>>,
    pub(super) ear: Ear,
    /// What we say to it ourselves.
    pub(super) mouth: Option<Box<Mouth>>,
    /// Reports to and from it.
    pub(super) exchange: Exchange,
    pub(super) watch: Watch,
    /// When its side stands in the timetable.
    pub(super) due_at: Option<Moment>,
}

impl Speech {
    /// Signalling says what was agreed on with it.
    pub(crate) fn agree(&mut self, terms: &Terms) {
        self.ear.agree(terms);
    }

    /// Whether its phone hears what we play.
    pub(super) fn plays(&self) -> bool {
        self.mouth.as_ref().is_some_and(|mouth| mouth.plays())
    }
}

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
        match (kind, &self.speech.route) {
            (Kind::Report, Some(route)) if route.converts() => Word::Private,
            (Kind::Report, _) => Word::Report,
            (Kind::Sound, route) if self.terms.is_some() => {
                let Datagram::Rtp(header) = Datagram::read(packet.bytes()) else {
                    return Word::AsItIs;
                };
                let number = header.payload_type;
                let fate = route.as_ref().map_or(Fate::Pass(number), |route| route.fate(number));
                Word::Sound(fate, header)
            }
            (Kind::Sound | Kind::Other, _) => Word::AsItIs,
        }
    }

    fn speak(&mut self, now: Moment, word: Word, packet: &mut Packet<'_>) -> Spoken {
        match (word, &mut self.speech.mouth) {
            (Word::Sound(fate, header), Some(mouth)) => mouth.speak(now, fate, &header, packet),
            (Word::Sound(Fate::Pass(_), _), None) => Spoken::Now,
            (Word::Sound(..), None) => Spoken::Never,
            (Word::Private, _) => Spoken::Later,
            (Word::Report, Some(mouth)) if mouth.converts() => Spoken::Later,
            (Word::Report, _) => {
                self.speech.exchange.handle_passed(now, packet.bytes());
                Spoken::Now
            }
            (Word::AsItIs, _) => Spoken::Now,
        }
    }

    /// When this side has something to do.
    fn speaks_at(&self) -> Option<Moment> {
        let speaks_at = self.speech.mouth.as_ref().and_then(|mouth| mouth.deadline());
        speaks_at.into_iter().chain(self.speech.exchange.deadline()).min()
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
        if spoken == Spoken::Later {
            self.schedule(slot);
        }
        spoken
    }

    /// Listens for keys in a packet of a side's peer, and lets the other phone hear those that it
    /// has no events for.
    pub(super) fn hear_keys(&mut self, now: Moment, slot: Slot, word: Word, packet: &Packet<'_>) {
        let Word::Sound(fate, header) = word else { return };
        let Self { ends, events, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
        let Some(end) = end.filter(|end| end.speech.ear.cares(header.payload_type)) else { return };
        let (side, payload) = (end.side, header.payload(packet.bytes()));
        let mut last = None;
        end.speech.ear.handle_packet(now, &header, payload, |digit, long_ms| {
            events.push_back(Event::Digit { side, digit, long_ms });
            last = Some((digit, long_ms));
        });
        if let (Some((digit, long_ms)), Fate::Tone, Some(joined)) = (last, fate, end.joined) {
            self.press_for(now, joined, digit, long_ms);
        }
    }

    /// Finds the keys whose end was lost.
    pub(super) fn look_for_keys(&mut self, now: Moment) {
        for index in 0..self.ends.len() {
            let Some(Some(end)) = self.ends.get_mut(index) else { continue };
            let Some((digit, long_ms)) = end.speech.ear.look(now) else { continue };
            self.events.push_back(Event::Digit { side: end.side, digit, long_ms });
            let tones = end.speech.route.as_ref().is_some_and(|route| route.makes_tones());
            if let Some(joined) = end.joined.filter(|_| tones) {
                self.press_for(now, joined, digit, long_ms);
            }
        }
    }

    /// A call wishes that a side's peer hears a key.
    pub(crate) fn press(&mut self, now: Moment, side: Side, digit: Digit, for_ms: u16) {
        if let Some(slot) = self.slot_of(side) {
            self.press_for(now, slot, digit, u32::from(for_ms));
        }
    }

    fn press_for(&mut self, now: Moment, slot: Slot, digit: Digit, long_ms: u32) {
        let Some(end) = self.end(slot) else { return };
        if let (Some(mouth), Some(terms)) = (&mut end.speech.mouth, &end.terms) {
            mouth.press(now, terms, digit, Duration::from_millis(u64::from(long_ms)));
        }
        self.schedule(slot);
    }

    /// A call wishes that tones of a side's peer are listened for, or not any more.
    pub(crate) fn listen(&mut self, side: Side, tones: Tones) {
        if let Some(end) = self.slot_of(side).and_then(|slot| self.end(slot)) {
            end.speech.ear.listen(tones, end.terms.as_deref());
        }
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
                && let Some(mouth) = &mut listener.speech.mouth
            {
                mouth.agree(change, route.as_deref(), &theirs, ours);
            }
            if let Some(speaker) = self.end(from) {
                speaker.speech.route = route;
            }
        }
    }

    /// A side whose terms are known can be spoken to, and is reported to.
    pub(super) fn open_mouth(&mut self, now: Moment, slot: Slot) {
        if let Some(end) = self.end(slot)
            && end.speech.mouth.is_none()
        {
            let numbers = [random(), random(), random()];
            end.speech.mouth = Some(Box::new(Mouth::new(numbers)));
            end.speech.exchange.schedule(now, random());
        }
        self.schedule(slot);
    }

    /// A side is joined to none any more.
    pub(super) fn unroute(&mut self, slot: Slot) {
        if let Some(end) = self.end(slot) {
            end.speech.route = None;
            if let Some(mouth) = &mut end.speech.mouth {
                mouth.fall_silent();
            }
        }
    }

    pub(super) fn schedule(&mut self, slot: Slot) {
        let Some(end) = self.end(slot) else { return };
        let Some(at) = end.speaks_at() else { return };
        if end.speech.due_at.is_none_or(|due_at| at < due_at) {
            end.speech.due_at = Some(at);
            self.timetable.add(at, slot);
        }
    }

    /// Makes the packets that are due, a few at a time.
    pub(super) fn handle_due(&mut self, now: Moment) {
        let mut done = 0;
        while done < AT_ONCE && !self.outbox.is_full() {
            let Some((at, slot)) = self.timetable.take(now) else { return };
            let Self { ends, outbox, booth, tap, .. } = self;
            let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
            let Some(end) = end.filter(|end| end.speech.due_at == Some(at)) else { continue };
            end.speech.due_at = None;
            let packed = booth.packed();
            let plays = end.speech.plays();
            outbox.add(slot, |packet| end.make(now, (booth, tap), packet));
            done += match plays && booth.packed() == packed {
                true => 1,
                false => PACKING,
            };
            self.tell_played(slot);
            self.schedule(slot);
        }
    }

    /// A call wishes that a side's peer hears a clip.
    pub(crate) fn play(&mut self, now: Moment, side: Side, wished: (PlayId, Clip, Often)) {
        let slot = self.slot_of(side);
        let Self { ends, booth, .. } = self;
        let end = slot.and_then(|slot| ends.get_mut(slot.index())).and_then(Option::as_mut);
        let played = match (slot, end) {
            (Some(slot), Some(end)) => match (&mut end.speech.mouth, &end.terms) {
                (Some(mouth), Some(terms)) => {
                    mouth.play(now, booth, (slot.index(), terms), wished);
                    Some(slot)
                }
                _ => None,
            },
            _ => None,
        };
        match played {
            Some(slot) => {
                self.tell_played(slot);
                self.schedule(slot);
            }
            // Nobody can hear it: nothing was agreed on that we know.
            None => {
                let end = PlayEnd::Missing;
                self.events.push_back(Event::Played { side, play: wished.0, end });
            }
        }
    }

    /// A call wishes that a clip is not played any more.
    pub(crate) fn hush(&mut self, now: Moment, side: Side, play: PlayId) {
        let Some(slot) = self.slot_of(side) else { return };
        self.with_mouth(slot, |mouth, booth, _| mouth.hush(now, booth, play));
        self.tell_played(slot);
        self.schedule(slot);
    }

    /// Nothing is played to a side any more: it is about to be closed.
    pub(super) fn stop_playing(&mut self, now: Moment, slot: Slot) {
        self.with_mouth(slot, |mouth, booth, _| mouth.stop(now, booth));
        self.tell_played(slot);
    }

    /// A side's terms are new.
    pub(super) fn retarget(&mut self, now: Moment, slot: Slot) {
        self.with_mouth(slot, |mouth, booth, terms| {
            if let Some(terms) = terms {
                mouth.retarget(now, booth, terms);
            }
        });
    }

    fn with_mouth(&mut self, slot: Slot, act: impl FnOnce(&mut Mouth, &mut Booth, Option<&Terms>)) {
        let Self { ends, booth, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
        if let Some(end) = end
            && let Some(mouth) = &mut end.speech.mouth
        {
            act(mouth, booth, end.terms.as_deref());
        }
    }

    fn tell_played(&mut self, slot: Slot) {
        let Self { ends, events, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
        let Some(end) = end else { return };
        let side = end.side;
        let Some(mouth) = &mut end.speech.mouth else { return };
        while let Some((play, end)) = mouth.poll_ended() {
            events.push_back(Event::Played { side, play, end });
        }
    }

    /// A side is about to be closed.
    pub(crate) fn say_goodbye(&mut self, now: Moment, side: Side) {
        let Some(slot) = self.slot_of(side) else { return };
        let Self { ends, outbox, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_mut);
        if let Some(end) = end.filter(|end| end.speech.exchange.says_goodbye()) {
            outbox.add(slot, |packet| end.report(now, Ending::Ends, packet));
        }
    }

    /// The next packet that was made here.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.outbox.take()
    }
}

impl End {
    fn make(
        &mut self,
        now: Moment,
        (booth, tap): (&mut Booth, &mut Tap),
        packet: &mut Packet<'_>,
    ) -> Option<(Port, std::net::SocketAddr)> {
        if self.speech.exchange.deadline().is_some_and(|at| at <= now) {
            self.speech.exchange.schedule(now, random());
            return self.report(now, Ending::GoesOn, packet);
        }
        let mouth = self.speech.mouth.as_mut()?;
        match mouth.handle_deadline(now, booth, packet) {
            Said::Something => {
                self.tapping.hear(now, tap, packet);
                self.send(now, (Kind::Sound, Port::Sound), packet)
            }
            Said::Nothing => None,
        }
    }
}

/// Where a stream's numbers begin (RFC 3550 §5.1): nobody shall guess, and nobody shall meet his own.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
