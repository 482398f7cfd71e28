//! One lane's hand on the journal: a turn's records go down in one write.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pbx::record::Record;

use super::frame;
use super::room::Room;
use super::segment;
use super::tail::{Position, Tail};

/// A file is full at this size.
const FULL: u32 = 16 << 20;

/// A file of this size whose records are all in Postgres is replaced, so that a start after a
/// crash has little to replay.
const WORTH_REPLACING: u32 = 1 << 20;

/// Why records are not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The quota is used up: Postgres has been away for too long.
    #[error("the journal's quota is used up")]
    Full,
    /// The disk refused.
    #[error("the journal cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// A record is too large to be one.
    #[error("a record cannot be written: {0}")]
    Record(#[from] postcard::Error),
}

/// Where a turn's records stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where the first stands.
    pub from: Position,
    /// Where the next turn's first will stand.
    pub to: Position,
}

/// A lane's journal.
#[derive(Debug)]
pub struct LaneJournal {
    dir: PathBuf,
    lane: u16,
    room: Arc<Room>,
    tail: Arc<Tail>,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl LaneJournal {
    /// Opens a new journal in `dir`, from which the earlier process's files are already gone.
    pub fn open(dir: &Path, lane: u16, room: Arc<Room>) -> Result<Self, Failure> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let start = Position { segment: 0, offset: 0 };
        let tail = Arc::new(Tail::new(dir.to_path_buf(), lane, room.clone(), start));
        let dir = dir.to_path_buf();
        let mut journal = Self { dir, lane, room, tail, file: None, buffer: vec![] };
        journal.next_segment()?;
        Ok(journal)
    }

    /// The part that `write_behind` shares.
    pub fn tail(&self) -> Arc<Tail> {
        self.tail.clone()
    }

    /// Writes records down, all or none, in one write.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Appended, Failure> {
        self.buffer.clear();
        let mut count = 0;
        for record in records {
            frame::encode(record, &mut self.buffer)?;
            count += 1;
        }
        self.write(count).inspect_err(|_| self.room.count_failure())
    }

    /// Ends the journal; files go as soon as all that they hold is in Postgres.
    pub fn close(self) {
        self.tail.close();
    }

    fn write(&mut self, records: u64) -> Result<Appended, Failure> {
        let mut end = self.tail.end();
        let finished =
            end.offset >= FULL || end.offset >= WORTH_REPLACING && self.tail.is_current_committed();
        if finished || self.file.is_none() {
            end = self.next_segment()?;
        }
        let length = u32::try_from(self.buffer.len()).map_err(|_| Failure::Full)?;
        if end.offset.checked_add(length).is_none() || !self.room.take(u64::from(length)) {
            return Err(Failure::Full);
        }
        let Some(file) = &mut self.file else { return Err(Failure::Full) };
        if let Err(error) = file.write_all(&self.buffer) {
            self.room.give_back(u64::from(length));
            // Half a record may stand there now. If it cannot be cut off, another file follows.
            if file.set_len(u64::from(end.offset)).is_err() {
                self.file = None;
            }
            return Err(error.into());
        }
        Ok(Appended { from: end, to: self.tail.grow(records, length) })
    }

    fn next_segment(&mut self) -> Result<Position, Failure> {
        let number = self.tail.end().segment.saturating_add(1);
        let bytes = u32::try_from(segment::OPENING.len()).unwrap_or(0);
        if !self.room.take(u64::from(bytes)) {
            return Err(Failure::Full);
        }
        match segment::create(&segment::path(&self.dir, self.lane, number)) {
            Ok(file) => {
                self.file = Some(file);
                self.tail.open(number, bytes);
                Ok(self.tail.end())
            }
            Err(error) => {
                self.room.give_back(u64::from(bytes));
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::unbound;
    use crate::journal::{left_over, read};
    use crate::scratch::Scratch;

    const QUOTA: u64 = 64 << 20;

    #[test]
    fn what_is_not_committed_is_found_again_in_order() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        journal.append(&[unbound(1), unbound(2)]).unwrap();
        journal.append(&[unbound(3)]).unwrap();
        drop(journal); // as kill -9 would

        let files = left_over(scratch.path()).unwrap();
        let contents = read(&files[0]).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(contents.records, [unbound(1), unbound(2), unbound(3)]);
        assert_eq!((contents.torn, contents.strange), (0, 0));
    }

    #[test]
    fn a_clean_end_leaves_no_file_and_gives_all_room_back() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        let (tail, room) = (journal.tail(), journal.room.clone());
        journal.append(&[unbound(1), unbound(2)]).unwrap();
        journal.close();
        tail.commit(1, 1);
        assert_eq!((left_over(scratch.path()).unwrap().len(), tail.waiting()), (1, 1));
        tail.commit(1, 1);
        assert_eq!(left_over(scratch.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn files_go_in_order_even_if_a_later_one_is_committed_first() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        let tail = journal.tail();
        journal.append(&[unbound(1)]).unwrap();
        journal.next_segment().unwrap();
        journal.append(&[unbound(2)]).unwrap();
        journal.next_segment().unwrap();
        tail.commit(2, 1);
        assert_eq!(left_over(scratch.path()).unwrap().len(), 3);
        tail.commit(1, 1);
        assert_eq!(left_over(scratch.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_committed_file_is_replaced_early_and_a_needed_one_when_it_is_full() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        let tail = journal.tail();
        let many: Vec<_> = (0..5_000).map(unbound).collect();
        while tail.end().offset < WORTH_REPLACING {
            journal.append(&many).unwrap();
            tail.commit(1, 5_000);
        }
        journal.append(&many).unwrap();
        assert_eq!(tail.end().segment, 2);
        while tail.end().segment == 2 {
            assert!(tail.end().offset < FULL + (1 << 20));
            journal.append(&many).unwrap();
        }
        assert_eq!(left_over(scratch.path()).unwrap().len(), 2);
    }

    #[test]
    fn memory_can_be_short_because_records_are_read_again() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        let tail = journal.tail();
        let start = journal.append(&[unbound(0)]).unwrap().to;
        for number in 1..100 {
            if number % 40 == 0 {
                journal.next_segment().unwrap();
            }
            journal.append(&[unbound(number)]).unwrap();
        }
        let (mut read, mut from) = (vec![], start);
        while from < tail.end() {
            let (some, next) = tail.read_again(from, tail.end(), 7).unwrap();
            assert!(some.len() <= 7 && next > from);
            read.extend(some);
            from = next;
        }
        let records: Vec<_> = read.iter().map(|journaled| journaled.record.clone()).collect();
        assert_eq!(records, (1..100).map(unbound).collect::<Vec<_>>());
        let of = |segment| read.iter().filter(|j| j.segment == Some(segment)).count();
        assert_eq!((of(1), of(2), of(3)), (39, 40, 20));
    }

    #[test]
    fn a_full_quota_refuses_a_turn_whole_and_takes_the_next_that_fits() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, 200);
        let many: Vec<_> = (0..10).map(unbound).collect();
        let before = journal.tail().end();
        assert!(matches!(journal.append(&many), Err(Failure::Full)));
        assert_eq!((journal.tail().end(), journal.room.failures()), (before, 1));
        assert_eq!(journal.append(&[unbound(1)]).unwrap().from, before);
    }

    #[test]
    fn a_write_that_was_cut_short_hides_nothing_that_follows_a_restart() {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, QUOTA);
        journal.append(&[unbound(1), unbound(2)]).unwrap();
        let file = left_over(scratch.path()).unwrap().remove(0);
        let whole = fs::metadata(&file).unwrap().len();
        File::options().write(true).open(&file).unwrap().set_len(whole - 3).unwrap();
        let contents = read(&file).unwrap();
        assert_eq!(contents.records, [unbound(1)]);
        assert!(contents.torn > 0);
    }

    #[test]
    fn a_file_of_another_version_is_named_and_not_touched() {
        let scratch = Scratch::new();
        let path = scratch.path().join("00000-0000000001.journal");
        fs::write(&path, b"tndjrnl9whatever").unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.to_string().contains("written by another version"), "{failure}");
        fs::write(&path, b"tndj").unwrap();
        assert_eq!(read(&path).unwrap().torn, 4);
    }

    fn open(scratch: &Scratch, quota: u64) -> LaneJournal {
        LaneJournal::open(scratch.path(), 0, Arc::new(Room::new(quota))).unwrap()
    }
}
