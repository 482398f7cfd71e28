//! Moves records from the journal to Postgres, in groups, without any call waiting for it.
//!
//! A lane hands over what it has journaled. Registrations and calls travel apart, so that a phone
//! that waits for its 200 never waits for a call's long story; each keeps its order. While
//! Postgres is away both stand still: memory holds a few thousand records a lane, the journal the
//! rest, from which they are read again.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pbx::id::RecordId;
use pbx::input::Storage;
use pbx::record::{Memory, Record, Wait};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::journal::{Appended, Journaled, Position, Tail};

/// Records in one transaction at most. A group is whatever came while the one before was written:
/// alone, a record waits for nobody; in a storm, groups are full.
const GROUP: usize = 512;

/// Records of one kind that a lane keeps in memory.
const IN_MEMORY: usize = 4_096;

/// Turns that may be handed over and not yet taken; more are read again from the journal.
const TURNS: usize = 256;

/// How long a quiet lane's journal is not looked at: something may have been left in it.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// A transaction that takes longer is as good as none.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// How long to wait before Postgres is tried again; doubled up to the last.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AT_LAST_AFTER: Duration = Duration::from_secs(2);

/// Why a group was not written.
#[derive(Debug)]
pub enum Setback {
    /// Postgres cannot be reached, or cannot work: the same again later.
    Away(String),
    /// It will not have this group, now or later.
    Refused(String),
}

/// What one turn of a lane remembered.
#[derive(Debug)]
struct Turn {
    /// Where it stands in the journal; `None` if the journal could not take it.
    at: Option<Appended>,
    records: Vec<Record>,
}

/// What became of a turn that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It will be written.
    Taken,
    /// There is no room in memory: it will be read from the journal.
    LeftInJournal,
    /// There is no room, and the journal does not have it either.
    Lost,
}

/// The lane's end.
#[derive(Debug)]
pub struct Outbound {
    turns: mpsc::Sender<Turn>,
}

/// The other end.
#[derive(Debug)]
pub struct Inbound {
    turns: mpsc::Receiver<Turn>,
    tail: Arc<Tail>,
    next: Position,
}

/// What is told of commits, and to whom.
pub trait Told: Send + Sync + 'static {
    /// A record that a lane waits for is durable.
    fn kept(&self, lane: u16, record: RecordId);
    /// Postgres came or went.
    fn storage(&self, now: Storage);
    /// So many records are committed, or will never be.
    fn done(&self, committed: u64, skipped: u64);
}

/// Connects a lane's journal with its writer.
pub fn between(tail: Arc<Tail>) -> (Outbound, Inbound) {
    let (sender, receiver) = mpsc::channel(TURNS);
    let next = tail.end();
    (Outbound { turns: sender }, Inbound { turns: receiver, tail, next })
}

impl Outbound {
    /// Hands a turn's records over. Never waits.
    pub fn hand_over(&self, at: Option<Appended>, records: Vec<Record>) -> Handed {
        match (self.turns.try_send(Turn { at, records }), at) {
            (Ok(()), _) => Handed::Taken,
            (Err(_), Some(_)) => Handed::LeftInJournal,
            (Err(_), None) => Handed::Lost,
        }
    }

    /// Turns that wait to be taken, and how many may.
    pub fn load(&self) -> (usize, usize) {
        (TURNS - self.turns.capacity(), TURNS)
    }
}
