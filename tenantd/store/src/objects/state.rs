//! How questions to the object store went, for `/readyz` and the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Failure;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct State {
    away: AtomicBool,
    questions: AtomicU64,
    failures: AtomicU64,
    refusals: AtomicU64,
    changed: AtomicU64,
}

/// How it went so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Whether its last answer was one.
    pub reachable: Reachable,
    /// Questions asked.
    pub questions: u64,
    /// Those that it did not answer.
    pub failures: u64,
    /// Those that it refused.
    pub refusals: u64,
    /// Objects that were not what had been stored.
    pub changed: u64,
}

/// Whether the store can be worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachable {
    /// It answers.
    Here,
    /// It does not, or does not let us in.
    Away,
}

impl State {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A question went so.
    pub(super) fn went<T>(&self, outcome: &Result<T, Failure>) {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let away = match outcome {
            Ok(_) | Err(Failure::Missing(_) | Failure::TooLarge(_)) => false,
            // It answered.
            Err(Failure::Changed(_)) => {
                self.changed();
                false
            }
            Err(Failure::Refused(_) | Failure::Setup(_)) => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(Failure::Away(_) | Failure::Full { .. } | Failure::File(..)) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                true
            }
        };
        self.away.store(away, Ordering::Relaxed);
    }

    /// An object was not what had been stored.
    pub(super) fn changed(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            reachable: match self.away.load(Ordering::Relaxed) {
                true => Reachable::Away,
                false => Reachable::Here,
            },
            questions: read(&self.questions),
            failures: read(&self.failures),
            refusals: read(&self.refusals),
            changed: read(&self.changed),
        }
    }
}
