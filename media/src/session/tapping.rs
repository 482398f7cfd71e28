//! What is kept of sides for recordings: what their peers say, and what they hear that we make ourselves.
//!
//! Copies are taken of plain packets, where they come in and before they go out (`recording`).

use pbx::media::{Channel, Event, Kept, Recording, Side};
use pbx::moment::Moment;

use crate::end::End;
use crate::packet::Packet;
use crate::recording::tap::{Tap, Tapped};
use crate::session::{Sessions, Slot};

/// What is kept of one side.
#[derive(Debug, Default)]
pub(crate) struct Tapping {
    pub(super) said: Option<Box<Tapped>>,
    heard: Option<Box<Tapped>>,
}

impl Tapping {
    fn each(&mut self) -> impl Iterator<Item = &mut Tapped> {
        [&mut self.said, &mut self.heard].into_iter().flatten().map(|tapped| &mut **tapped)
    }

    /// The peer is about to hear a packet of ours.
    pub(super) fn hear(&mut self, now: Moment, tap: &mut Tap, packet: &Packet<'_>) {
        if let Some(tapped) = &mut self.heard {
            tap.copy(now, tapped, packet.bytes());
        }
    }
}

impl Sessions {
    /// Something of a side is kept from now on. `Err`: it cannot be.
    pub(crate) fn record(
        &mut self,
        now: Moment,
        side: Side,
        (kept, channel): (Kept, Channel),
        recording: Box<Recording>,
    ) -> Result<(), Event> {
        let slot = self.slot_of(side).ok_or(Event::Unrecorded { side })?;
        let Self { ends, tap, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_deref_mut);
        let place = end.map(|end| match kept {
            Kept::Said => &mut end.tapping.said,
            Kept::Heard => &mut end.tapping.heard,
        });
        if let Some(place) = place.filter(|place| place.is_none()) {
            *place = Some(Box::new(tap.begin(now, side, (kept, channel), recording)?));
        }
        self.note_terms(now, slot);
        Ok(())
    }

    /// A side is left out of its recording.
    pub(crate) fn pause(&mut self, now: Moment, side: Side) {
        self.with_tap(side, |tap, tapped| tap.pause(now, tapped));
    }

    /// A side is kept again.
    pub(crate) fn resume(&mut self, now: Moment, side: Side) {
        self.with_tap(side, |tap, tapped| tap.resume(now, tapped));
    }

    /// A side is about to be closed: nothing more is kept of it.
    pub(crate) fn end_recording(&mut self, now: Moment, side: Side) {
        let Some(end) = self.slot_of(side).and_then(|slot| self.end(slot)) else { return };
        let Tapping { said, heard } = std::mem::take(&mut end.tapping);
        for tapped in [said, heard].into_iter().flatten() {
            self.tap.end(now, *tapped);
        }
    }

    fn with_tap(&mut self, side: Side, act: impl Fn(&mut Tap, &mut Tapped)) {
        let Some(slot) = self.slot_of(side) else { return };
        let Self { ends, tap, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_deref_mut);
        if let Some(end) = end {
            end.tapping.each().for_each(|tapped| act(tap, tapped));
        }
    }

    /// Whoever listens to a recording must know what a side's packets are.
    pub(super) fn note_terms(&mut self, now: Moment, slot: Slot) {
        let Self { ends, tap, .. } = self;
        let end = ends.get_mut(slot.index()).and_then(Option::as_deref_mut);
        let Some(End { tapping, terms: Some(terms), .. }) = end else { return };
        tapping.each().for_each(|tapped| tap.agree(now, tapped, terms));
    }

    /// How many packets are missing in recordings since this was asked last.
    pub(crate) fn take_unrecorded(&mut self) -> u64 {
        self.tap.take_lost()
    }
}
