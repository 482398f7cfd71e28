//! How much of the disk all lanes' journals may take together.

use std::sync::atomic::{AtomicU64, Ordering};

/// The share of the quota that only calls under way may use: one part in so many.
const RESERVED: u64 = 16;

/// The quota, and what is used of it.
#[derive(Debug)]
pub struct Room {
    quota: u64,
    used: AtomicU64,
    failures: AtomicU64,
}

impl Room {
    /// Room for `quota` bytes.
    pub fn new(quota: u64) -> Self {
        Self { quota, used: AtomicU64::new(0), failures: AtomicU64::new(0) }
    }

    /// Bytes on disk.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Writes that the disk or the quota refused.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether new calls and registrations must be refused, so that the others can end well.
    pub fn is_tight(&self) -> bool {
        self.used() >= self.quota - self.quota / RESERVED
    }

    pub(super) fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.quota);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_new_work_before_it_is_full_and_everything_at_its_quota() {
        let room = Room::new(1_600);
        assert!(room.take(1_499) && !room.is_tight());
        assert!(room.take(1) && room.is_tight());
        assert!(room.take(100) && !room.take(1));
        room.give_back(200);
        assert!(!room.is_tight());
        room.give_back(5_000);
        assert_eq!(room.used(), 0);
    }
}
