//! What of a lane's journal is not in Postgres yet: shared by the lane, which writes, and
//! `write_behind`, which moves it there.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pbx::record::Record;

use super::frame::{Frame, Frames};
use super::room::Room;
use super::segment;

/// Read from a file at once: more than the longest record.
const READ_AT_ONCE: u64 = 5 << 20;

/// A place in a lane's journal; later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which segment.
    pub segment: u32,
    /// How far into it.
    pub offset: u32,
}

/// A record, and the segment that keeps it until it is in Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct Journaled {
    /// What to remember.
    pub record: Record,
    /// Where it stands; `None` if the journal could not take it.
    pub segment: Option<u32>,
}

/// The part of a lane's journal that is still needed.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    lane: u16,
    room: Arc<Room>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    end: Position,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Segment {
    number: u32,
    bytes: u32,
    records: u64,
    committed: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Growing,
    Sealed,
}

impl Segment {
    fn is_committed(&self) -> bool {
        self.committed >= self.records
    }
}

impl Tail {
    pub(super) fn new(dir: PathBuf, lane: u16, room: Arc<Room>, start: Position) -> Self {
        let state = State { end: start, segments: VecDeque::new() };
        Self { dir, lane, room, state: Mutex::new(state) }
    }

    /// Where the next record will stand.
    pub fn end(&self) -> Position {
        self.state().end
    }

    /// Records that Postgres does not have yet.
    pub fn waiting(&self) -> u64 {
        let state = self.state();
        state.segments.iter().map(|s| s.records.saturating_sub(s.committed)).sum()
    }

    /// Postgres has `records` of `segment`: a file that is no longer needed goes.
    ///
    /// Files go in order. A later one may hold what undoes something of an earlier one.
    pub fn commit(&self, segment: u32, records: u64) {
        let mut state = self.state();
        if let Some(found) = state.segments.iter_mut().find(|s| s.number == segment) {
            found.committed += records;
        }
        self.forget_committed(&mut state);
    }

    /// Reads at most `limit` records between two places, for want of room to keep them in memory;
    /// says where the next one stands.
    pub fn read_again(
        &self,
        from: Position,
        to: Position,
        limit: usize,
    ) -> io::Result<(Vec<Journaled>, Position)> {
        if from.segment > to.segment || from >= to {
            return Ok((vec![], to));
        }
        let next_segment = Position { segment: from.segment.saturating_add(1), offset: 0 };
        let known =
            self.state().segments.iter().find(|s| s.number == from.segment).map(|s| s.bytes);
        let Some(length) = known else { return Ok((vec![], next_segment.min(to))) };
        let end = if from.segment == to.segment { to.offset.min(length) } else { length };
        let start = from.offset.max(u32::try_from(segment::OPENING.len()).unwrap_or(0));
        if start >= end {
            return Ok((vec![], next_segment.min(to)));
        }
        let mut file = File::open(segment::path(&self.dir, self.lane, from.segment))?;
        file.seek(SeekFrom::Start(u64::from(start)))?;
        let mut bytes = vec![];
        file.take(u64::from(end - start).min(READ_AT_ONCE)).read_to_end(&mut bytes)?;

        let (mut records, mut offset) = (vec![], start);
        for frame in Frames::new(&bytes).take(limit) {
            let size = match frame {
                Frame::Whole(record, size) => {
                    records.push(Journaled { record: *record, segment: Some(from.segment) });
                    size
                }
                Frame::Strange(size) => size,
            };
            offset = offset.saturating_add(u32::try_from(size).unwrap_or(u32::MAX));
        }
        // Nothing readable is left: go on, rather than read the same place for ever.
        let done = offset >= end || records.is_empty();
        let here = Position { segment: from.segment, offset };
        Ok((records, if done { next_segment.min(to) } else { here }))
    }

    pub(super) fn open(&self, number: u32, bytes: u32) {
        let mut state = self.state();
        for segment in &mut state.segments {
            segment.stage = Stage::Sealed;
        }
        let stage = Stage::Growing;
        state.segments.push_back(Segment { number, bytes, records: 0, committed: 0, stage });
        state.end = Position { segment: number, offset: bytes };
        self.forget_committed(&mut state);
    }

    /// The current segment grew.
    pub(super) fn grow(&self, records: u64, bytes: u32) -> Position {
        let mut state = self.state();
        if let Some(segment) = state.segments.back_mut() {
            segment.records += records;
            segment.bytes += bytes;
        }
        state.end.offset += bytes;
        state.end
    }

    /// Whether all that the current segment holds is in Postgres.
    pub(super) fn is_current_committed(&self) -> bool {
        self.state().segments.back().is_none_or(Segment::is_committed)
    }

    /// The lane writes no more: what is committed need not be replayed.
    pub(super) fn close(&self) {
        let mut state = self.state();
        for segment in &mut state.segments {
            segment.stage = Stage::Sealed;
        }
        self.forget_committed(&mut state);
    }

    fn forget_committed(&self, state: &mut State) {
        while let Some(first) = state.segments.front() {
            if first.stage == Stage::Growing || !first.is_committed() {
                return;
            }
            // A file that stays is replayed at the next start, which changes nothing.
            let _ = fs::remove_file(segment::path(&self.dir, self.lane, first.number));
            self.room.give_back(u64::from(first.bytes));
            state.segments.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use pbx::id::{BindingId, RecordId, TenantId};
    use pbx::moment::Moment;
    use pbx::record::{Memory, Record, Wait};
    use uuid::Uuid;

    pub(crate) fn unbound(number: u128) -> Record {
        let id = Uuid::from_u128(number);
        Record {
            id: RecordId(id),
            tenant: TenantId(Uuid::from_u128(7)),
            at: Moment::from_secs(1_000),
            what: Memory::Unbound(BindingId(id)),
            wait: Wait::No,
        }
    }
}
