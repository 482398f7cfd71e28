//! When sides are looked at for peers that stay where they are: a few at a time, so that no packet waits.
//!
//! A peer that stays gets a socket of its own (`io::Wire::settle`), which costs as much as relaying
//! some packets. So short calls get none.

use std::ops::Range;
use std::time::Duration;

use pbx::moment::Moment;

/// How long a side must have been open.
const STAYS_FOR: Duration = Duration::from_secs(2);
/// How often some are looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How many are looked at, and how many of them may get a socket: about a quarter of a millisecond.
const LOOKED_AT: usize = 256;
const SETTLED_AT_ONCE: usize = 16;

/// A round over all sides that never ends.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    next: usize,
    due_at: Moment,
    left: usize,
}

impl Settling {
    /// When some are to be looked at.
    pub(crate) fn deadline(&self) -> Moment {
        self.due_at
    }

    /// Which of so many places are to be looked at now.
    pub(crate) fn handle_deadline(&mut self, now: Moment, places: usize) -> Range<usize> {
        if now < self.due_at {
            return 0..0;
        }
        self.due_at = now + EVERY;
        self.left = SETTLED_AT_ONCE;
        let start = if self.next < places { self.next } else { 0 };
        self.next = places.min(start + LOOKED_AT);
        start..self.next
    }

    /// Whether a side that has been open since then may get a socket.
    #[must_use]
    pub(crate) fn may_settle(&mut self, now: Moment, opened_at: Moment) -> bool {
        let may = self.left > 0 && now.since(opened_at) >= STAYS_FOR;
        self.left -= usize::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    #[test]
    fn all_are_looked_at_in_turn_and_few_settle_at_once() {
        let mut settling = Settling::default();
        assert_eq!(settling.handle_deadline(NOW, 300), 0..256);
        assert_eq!(settling.handle_deadline(NOW, 300), 0..0, "not yet");
        let settled = (0..256).filter(|_| settling.may_settle(NOW, Moment::EPOCH)).count();
        assert_eq!(settled, SETTLED_AT_ONCE);
        let next = settling.deadline();
        assert_eq!(settling.handle_deadline(next, 300), 256..300);
        assert!(!settling.may_settle(next, next), "it has just begun");
        assert!(settling.may_settle(next, Moment::EPOCH));
        assert_eq!(settling.handle_deadline(next + EVERY, 300), 0..256);
        assert_eq!(settling.handle_deadline(next + EVERY * 2, 10), 0..10, "fewer than before");
        assert_eq!(settling.handle_deadline(next + EVERY * 3, 0), 0..0);
    }
}
