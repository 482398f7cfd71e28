//! Conferences of one worker: which side sits in which, and where their packets go.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pbx::id::CallId;
use pbx::media::{Cue, Part, Side};
use pbx::moment::Moment;

use crate::end::End;
use crate::guard::Kind;
use crate::mixer::{Packed, Room};
use crate::packet::{Fit, Packet};
use crate::recording::tap::Tap;
use crate::session::speech::Word;
use crate::session::timetable::Timetable;
use crate::session::{Port, Sessions, Slot, Way};
use crate::transcode::outgoing::HEAD;

/// For so many microseconds, more or less, conferences work before packets have their turn.
const AT_ONCE_US: u32 = 300;

/// All conferences, by the id of their session.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: BTreeMap<CallId, Held>,
    timetable: Timetable<CallId>,
}

#[derive(Debug)]
struct Held {
    room: Room,
    /// When it stands in the timetable.
    due_at: Option<Moment>,
}

impl Rooms {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.timetable.deadline()
    }

    fn schedule(&mut self, call: CallId) {
        let Some(held) = self.rooms.get_mut(&call) else { return };
        let Some(at) = held.room.deadline() else { return };
        if held.due_at.is_none_or(|due_at| at < due_at) {
            held.due_at = Some(at);
            self.timetable.add(at, call);
        }
    }
}

impl Sessions {
    /// A side takes part in its session's conference.
    pub(crate) fn mix(&mut self, now: Moment, side: Side, part: Part) {
        let Some(slot) = self.slot_of(side) else { return };
        self.part(slot);
        let Self { ends, rooms, .. } = self;
        let Some(Some(end)) = ends.get_mut(slot.index()) else { return };
        let held = rooms.rooms.entry(side.call);
        let held = held.or_insert_with(|| Held { room: Room::new(), due_at: None });
        let place = match end.place {
            Some(place) => place,
            None => {
                let place = held.room.come(now, side, slot);
                if let Some(terms) = &end.terms {
                    held.room.agree(place, terms);
                }
                *end.place.insert(place)
            }
        };
        held.room.take_part(place, part);
        rooms.schedule(side.call);
    }

    /// A side's peer is to hear a tone.
    pub(crate) fn cue(&mut self, side: Side, cue: Cue) {
        let Some(place) = self.slot_of(side).and_then(|slot| self.end(slot)?.place) else { return };
        if let Some(held) = self.rooms.rooms.get_mut(&side.call) {
            held.room.cue(place, cue);
        }
    }

    /// What was agreed on with a side has changed.
    pub(super) fn agree_in_room(&mut self, slot: Slot) {
        let Self { ends, rooms, .. } = self;
        let end = ends.get(slot.index()).and_then(Option::as_deref);
        let Some(End { side, place: Some(place), terms: Some(terms), .. }) = end else { return };
        if let Some(held) = rooms.rooms.get_mut(&side.call) {
            held.room.agree(*place, terms);
        }
    }

    /// A side is gone.
    pub(super) fn leave_room(&mut self, side: Side, place: usize) {
        let Some(held) = self.rooms.rooms.get_mut(&side.call) else { return };
        held.room.leave(place);
        if held.room.is_empty() {
            self.rooms.rooms.remove(&side.call);
        }
    }

    /// A packet of a member's came.
    pub(super) fn hear_in_room(
        &mut self,
        now: Moment,
        (slot, side, place): (Slot, Side, usize),
        word: Word,
        packet: &Packet<'_>,
    ) -> Way {
        let Word::Sound(_, header) = word else { return Way::Ended };
        let Self { ends, rooms, tap, .. } = self;
        if let Some(held) = rooms.rooms.get_mut(&side.call) {
            let end = ends.get_mut(slot.index()).and_then(Option::as_deref_mut);
            if let Some(tapped) = end.and_then(|end| end.tapping.said.as_deref_mut())
                && held.room.may_speak(place)
            {
                tap.copy(now, tapped, packet.bytes());
            }
            held.room.handle_packet(now, place, &header, header.payload(packet.bytes()));
        }
        Way::Ended
    }

    /// Lets conferences do what is due, as far as they may at once.
    pub(super) fn handle_rooms(&mut self, now: Moment) {
        let Self { ends, outbox, rooms, events, tap, .. } = self;
        let mut left_us = AT_ONCE_US;
        while left_us > 0 && !outbox.is_full() {
            let Some((at, call)) = rooms.timetable.take(now) else { return };
            let held = rooms.rooms.get_mut(&call);
            let Some(held) = held.filter(|held| held.due_at == Some(at)) else { continue };
            held.due_at = None;
            let packets = outbox.left();
            left_us = held.room.handle_deadline(now, left_us, packets, |packed| {
                if let Some(Some(end)) = ends.get_mut(packed.slot.index()) {
                    outbox.add(packed.slot, |packet| end.tell(now, packed, tap, packet));
                }
            });
            events.extend(held.room.poll_speaker());
            rooms.schedule(call);
        }
    }
}

impl End {
    /// Writes a packet of the conference as the next of our stream to the peer, unless it hears
    /// something else just now.
    fn tell(
        &mut self,
        now: Moment,
        packed: &Packed<'_>,
        tap: &mut Tap,
        packet: &mut Packet<'_>,
    ) -> Option<(Port, SocketAddr)> {
        if self.speech.plays() {
            return None;
        }
        let Packed { payload_type, payload, marker, at, clock, long, .. } = *packed;
        let outgoing = &mut self.speech.mouth.as_mut()?.outgoing;
        if packet.set_len(HEAD + payload.len()) == Fit::TooLong {
            return None;
        }
        packet.bytes_mut().get_mut(HEAD..)?.copy_from_slice(payload);
        outgoing.resume(at, clock);
        let fit = outgoing.write(packet, (payload_type, marker), None, payload.len());
        outgoing.advance(long);
        match fit {
            Fit::Fits => {
                self.tapping.hear(now, tap, packet);
                self.send(now, (Kind::Sound, Port::Sound), packet)
            }
            Fit::TooLong => None,
        }
    }
}
