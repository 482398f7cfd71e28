//! What concerns every lane and must never be lost: whether Postgres is there, and how far the
//! server has come. Each lane reads it once a turn.

use std::sync::atomic::{AtomicU8, Ordering};

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

/// The signals.
#[derive(Debug)]
pub struct Signals {
    stage: AtomicU8,
    storage: AtomicU8,
}

impl Default for Signals {
    fn default() -> Self {
        let (stage, storage) = (AtomicU8::new(Stage::Opening as u8), AtomicU8::new(0));
        Self { stage, storage }
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

    /// Whether Postgres is there.
    pub fn storage(&self) -> Storage {
        match self.storage.load(Ordering::SeqCst) {
            0 => Storage::Here,
            _ => Storage::Away,
        }
    }

    /// Says whether Postgres is there; tells whether that is news.
    pub fn set_storage(&self, now: Storage) -> bool {
        let number = match now {
            Storage::Here => 0,
            Storage::Away => 1,
        };
        self.storage.swap(number, Ordering::SeqCst) != number
    }
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
    fn only_a_change_of_the_storage_is_news() {
        let signals = Signals::default();
        assert_eq!(signals.storage(), Storage::Here);
        assert!(!signals.set_storage(Storage::Here));
        assert!(signals.set_storage(Storage::Away));
        assert!(!signals.set_storage(Storage::Away));
        assert_eq!(signals.storage(), Storage::Away);
    }
}
