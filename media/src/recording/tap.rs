//! Where a worker's packets are copied from for recordings, without ever waiting for a disk.
//!
//! Copies are gathered in a room of fixed size, and the room is handed to the writer's thread a few
//! times a second. When all rooms are on their way because the disk is too slow, copies are lost and
//! counted; the calls' packets never are.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use pbx::id::RecordingId;
use pbx::media::{Channel, Event, Kept, Recording, Side, Terms};
use pbx::moment::Moment;

use super::log::{self, Entry, Kind, Place};

/// How many rooms a worker has: with 1,000 recorded calls they hold a quarter of a second.
pub(super) const ROOMS: usize = 64;
/// How large one is. Untouched, it costs nothing.
const ROOM: usize = 64 * 1024;
/// How many recordings can begin while the writer looks elsewhere.
const OPENINGS: usize = 256;
/// What both together need of a line's places.
pub(super) const PLACES: usize = ROOMS + OPENINGS;
/// The longest that a copy waits here.
const HANDED_OVER_AFTER: Duration = Duration::from_millis(200);

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A recording begins.
    Open {
        /// How entries name it.
        book: u32,
        side: Side,
        at: Moment,
        recording: Box<Recording>,
    },
    /// Entries, each behind its book.
    Entries {
        /// Who wants the room back.
        worker: usize,
        room: Vec<u8>,
    },
}

/// A worker's way to the writer.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) worker: usize,
    pub(super) full: SyncSender<Message>,
    pub(super) empty: Receiver<Vec<u8>>,
    /// Gives the first rooms.
    pub(super) back: SyncSender<Vec<u8>>,
}

/// A worker's end.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// `None`: nothing is recorded here.
    line: Option<Line>,
    filling: Vec<u8>,
    hand_over_at: Option<Moment>,
    open: BTreeMap<RecordingId, Open>,
    next: u32,
    /// Copies that found no room.
    lost: u64,
    /// Ends that found no room are told later: sides that are closed, and whether it was the last.
    owed: Vec<(Tapped, u8)>,
}

#[derive(Debug)]
struct Open {
    book: u32,
    sides: u16,
}

/// What is recorded of a side.
#[derive(Debug)]
pub(crate) struct Tapped {
    recording: RecordingId,
    book: u32,
    leg: u16,
    kept: Kept,
    channel: Channel,
    keeping: Keeping,
    /// Copies of it that were lost since the last that was kept.
    lost: u32,
}

/// Whether what comes is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Yes,
    Paused,
}

impl Tap {
    pub(super) fn new(line: Line) -> Self {
        // Workers' books must not be confused.
        let next = (line.worker as u32) << 24;
        let mut tap = Self::default();
        (tap.line, tap.next) = (Some(line), next);
        tap
    }

    /// Begins to record a side. `Err`: it cannot be.
    pub(crate) fn begin(
        &mut self,
        now: Moment,
        side: Side,
        (kept, channel): (Kept, Channel),
        recording: Box<Recording>,
    ) -> Result<Tapped, Event> {
        let id = recording.id;
        let book = match self.open.get_mut(&id) {
            Some(open) => {
                open.sides += 1;
                open.book
            }
            None => {
                let book = self.open(now, side, recording).ok_or(Event::Unrecorded { side })?;
                self.open.insert(id, Open { book, sides: 1 });
                book
            }
        };
        let keeping = Keeping::Yes;
        let leg = side.leg;
        Ok(Tapped { recording: id, book, leg, kept, channel, keeping, lost: 0 })
    }

    fn open(&mut self, now: Moment, side: Side, recording: Box<Recording>) -> Option<u32> {
        let book = self.next;
        let line = self.line.as_ref()?;
        if self.filling.capacity() == 0 {
            for _ in 1..ROOMS {
                line.back.try_send(Vec::with_capacity(ROOM)).ok()?;
            }
            self.filling = Vec::with_capacity(ROOM);
        }
        let message = Message::Open { book, side, at: now, recording };
        line.full.try_send(message).ok()?;
        self.next = (book & 0xff00_0000) | (book.wrapping_add(1) & 0x00ff_ffff);
        Some(book)
    }

    /// A packet came, or goes.
    pub(crate) fn copy(&mut self, now: Moment, tapped: &mut Tapped, packet: &[u8]) {
        if tapped.keeping == Keeping::Yes {
            self.add(now, tapped, Kind::Packet, packet);
        }
    }

    /// What a side's phone says, or hears, is packed so from now on.
    pub(crate) fn agree(&mut self, now: Moment, tapped: &mut Tapped, terms: &Terms) {
        self.add(now, tapped, Kind::Terms, &log::codecs(terms, tapped.kept));
    }

    /// It is left out from now on.
    pub(crate) fn pause(&mut self, now: Moment, tapped: &mut Tapped) {
        if tapped.keeping == Keeping::Yes {
            tapped.keeping = Keeping::Paused;
            self.add(now, tapped, Kind::Pause, &[]);
        }
    }

    /// It is kept again.
    pub(crate) fn resume(&mut self, now: Moment, tapped: &mut Tapped) {
        if tapped.keeping == Keeping::Paused {
            tapped.keeping = Keeping::Yes;
            self.add(now, tapped, Kind::Resume, &[]);
        }
    }

    /// A side is closed; with the last of its sides a recording is over.
    pub(crate) fn end(&mut self, now: Moment, mut tapped: Tapped) {
        let left = self.open.get_mut(&tapped.recording).map_or(0, |open| {
            open.sides -= 1;
            open.sides
        });
        if left == 0 {
            self.open.remove(&tapped.recording);
        }
        let last = u8::from(left == 0);
        if !self.add(now, &mut tapped, Kind::Closed, &[last]) {
            self.owed.push((tapped, last));
        }
    }

    fn add(&mut self, now: Moment, tapped: &mut Tapped, kind: Kind, body: &[u8]) -> bool {
        let place = Place { at: now, leg: tapped.leg, channel: tapped.channel };
        if tapped.lost > 0 {
            let lost = tapped.lost.to_be_bytes();
            if self.write(now, tapped.book, &Entry { kind: Kind::Lost, place, body: &lost }) {
                tapped.lost = 0;
            }
        }
        let kept = self.write(now, tapped.book, &Entry { kind, place, body });
        if !kept {
            tapped.lost = tapped.lost.saturating_add(1);
            self.lost += 1;
        }
        kept
    }

    fn write(&mut self, now: Moment, book: u32, entry: &Entry<'_>) -> bool {
        let len = entry.len() + size_of_val(&book);
        if self.filling.len() + len > ROOM {
            self.hand_over();
        }
        let fits = self.line.is_some() && self.filling.len() + len <= ROOM;
        if fits {
            self.filling.extend_from_slice(&book.to_be_bytes());
            entry.write(&mut self.filling);
            self.hand_over_at.get_or_insert(now + HANDED_OVER_AFTER);
        }
        fits
    }

    /// When what was gathered is to be handed over.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.hand_over_at
    }

    /// Hands over what has waited long enough.
    pub(crate) fn handle_deadline(&mut self, now: Moment) {
        if self.hand_over_at.is_some_and(|at| at <= now) {
            // The next try is later, not at once.
            self.hand_over_at = Some(now + HANDED_OVER_AFTER);
            self.hand_over();
            for (mut tapped, last) in std::mem::take(&mut self.owed) {
                if !self.add(now, &mut tapped, Kind::Closed, &[last]) {
                    self.owed.push((tapped, last));
                }
            }
        }
    }

    fn hand_over(&mut self) {
        let Some(line) = &self.line else { return };
        if self.filling.is_empty() {
            self.hand_over_at = None;
            return;
        }
        let Ok(room) = line.empty.try_recv() else { return };
        let room = std::mem::replace(&mut self.filling, room);
        self.hand_over_at = None;
        // There is a place for each room; without a writer it is lost with everything else.
        let _ = line.full.try_send(Message::Entries { worker: line.worker, room });
    }

    /// How many copies were lost since this was asked last.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

impl Drop for Tap {
    /// The process goes on without this worker, or ends: what was heard is kept.
    fn drop(&mut self) {
        self.hand_over();
    }
}
