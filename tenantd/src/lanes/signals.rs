//! What concerns every lane and must never be lost: whether Postgres is there, how far the server
//! has come, and whether there are other nodes. Each lane reads it once a turn.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use pbx::input::Storage;

/// How far the server has come; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Tenants are being brought in; nothing is read from the network yet.
    Opening,
    /// All is served.
    Serving,
    /// What is new is refused.
    Draining,
    /// Calls that are left are hung up.
    HangingUp,
    /// Lanes end.
    Ended,
}

/// Who found that Postgres is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// Whoever writes records.
    Writer,
    /// Whoever reads what was changed.
    Reader,
}

/// Whether other nodes would follow this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// This node's own next process takes up what it leaves.
    None,
    /// They know what Postgres knows, and not what is in the journal here.
    Some,
}

/// The signals.
#[derive(Debug)]
pub struct Signals {
    stage: AtomicU8,
    /// A bit for each witness to whom Postgres is away.
    away: AtomicU8,
    neighbours: AtomicBool,
}

impl Default for Signals {
    fn default() -> Self {
        let stage = AtomicU8::new(Stage::Opening as u8);
        Self { stage, away: AtomicU8::new(0), neighbours: AtomicBool::new(false) }
    }
}

impl Signals {
    /// How far the server has come.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Opening,
            1 => Stage::Serving,
            2 => Stage::Draining,
            3 => Stage::HangingUp,
            _ => Stage::Ended,
        }
    }

    /// Goes on.
    pub fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::SeqCst);
    }

    /// Whether other nodes would follow this one.
    pub fn neighbours(&self) -> Neighbours {
        match self.neighbours.load(Ordering::Relaxed) {
            true => Neighbours::Some,
            false => Neighbours::None,
        }
    }

    /// There are other nodes, or none.
    pub fn set_neighbours(&self, neighbours: Neighbours) {
        self.neighbours.store(neighbours == Neighbours::Some, Ordering::Relaxed);
    }

    /// Whether Postgres is there, for everybody.
    pub fn storage(&self) -> Storage {
        storage(self.away.load(Ordering::SeqCst))
    }

    /// A witness says whether Postgres is there; tells whether that is news.
    pub fn set_storage(&self, witness: Witness, now: Storage) -> bool {
        let bit = match witness {
            Witness::Writer => 1,
            Witness::Reader => 2,
        };
        let before = match now {
            Storage::Here => self.away.fetch_and(!bit, Ordering::SeqCst),
            Storage::Away => self.away.fetch_or(bit, Ordering::SeqCst),
        };
        let after = match now {
            Storage::Here => before & !bit,
            Storage::Away => before | bit,
        };
        storage(before) != storage(after)
    }
}

fn storage(away: u8) -> Storage {
    if away == 0 { Storage::Here } else { Storage::Away }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_never_goes_back() {
        let signals = Signals::default();
        assert_eq!(signals.stage(), Stage::Opening);
        for stage in [Stage::Serving, Stage::Draining, Stage::HangingUp, Stage::Ended] {
            signals.advance(stage);
            signals.advance(Stage::Serving);
            assert_eq!(signals.stage(), stage);
        }
    }

    #[test]
    fn postgres_is_there_when_nobody_misses_it_and_only_a_change_is_news() {
        let signals = Signals::default();
        let say = |witness, now| signals.set_storage(witness, now);
        assert!(!say(Witness::Writer, Storage::Here));
        assert!(say(Witness::Writer, Storage::Away));
        assert!(!say(Witness::Reader, Storage::Away));
        assert!(!say(Witness::Writer, Storage::Here));
        assert_eq!(signals.storage(), Storage::Away);
        assert!(say(Witness::Reader, Storage::Here));
        assert_eq!(signals.storage(), Storage::Here);
    }
}
