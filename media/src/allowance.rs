//! How much one peer may send: two sides that were aimed at each other must not relay in a circle for ever.
//!
//! Sides may be aimed at our own ports (a call between two of our tenants is), so a circle cannot be
//! told by its addresses; but no phone sends as fast as a circle turns.

use std::time::Duration;

use pbx::moment::Moment;

/// Opus in frames of 2.5 ms is the busiest sound there is: 400 packets a second, and reports.
const ONE_EVERY: Duration = Duration::from_millis(1);
/// What a network that stalled may deliver at once.
const AHEAD_BY: Duration = Duration::from_millis(500);

/// A leaky bucket.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    used_up_to: Moment,
}

/// Whether a packet may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Yes,
    No,
}

impl Allowance {
    /// Takes one packet's share.
    pub(crate) fn take(&mut self, now: Moment) -> Pass {
        if self.used_up_to > now + AHEAD_BY {
            return Pass::No;
        }
        self.used_up_to = self.used_up_to.max(now) + ONE_EVERY;
        Pass::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(from_ms: u64, count: u64, apart_us: u64) -> usize {
        let mut allowance = Allowance::default();
        let at = |n| Moment::from_millis(from_ms) + Duration::from_micros(n * apart_us);
        (0..count).filter(|n| allowance.take(at(*n)) == Pass::Yes).count()
    }

    #[test]
    fn no_sound_is_held_back_and_a_circle_is() {
        assert_eq!(passed(5_000, 10_000, 2_500), 10_000);
        assert_eq!(passed(5_000, 400, 0), 400, "a stall of a second ends");
        assert_eq!(passed(5_000, 1_000_000, 10), 10_000 + 500);
    }
}
