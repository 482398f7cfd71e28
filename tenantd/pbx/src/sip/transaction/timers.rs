//! How long the protocol waits before it repeats, and before it gives up.
//!
//! RFC 3261 §17.1.1.1 and its table 4.

use std::time::Duration;

use crate::flow::Delivery;
use crate::moment::Moment;

/// The round trip that is assumed.
pub const T1: Duration = Duration::from_millis(500);
/// The longest pause between two repeats.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64 × T1: Timers B, F, H, J, L and M.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(32);

/// Timer D: how long a final refusal may be repeated to us.
pub(super) const REFUSAL_REPEATED_FOR: Duration = Duration::from_secs(32);
/// An INVITE that nobody has answered for so long is answered 100 (§17.2.1).
pub(super) const TRYING_AFTER: Duration = Duration::from_millis(200);
/// Any other request is answered 100 when its Timer E has grown to T2, never before (RFC 4320 §4.1).
pub(super) const LATE_TRYING_AFTER: Duration = Duration::from_millis(3_500);

/// The next repeat, and how long the one after it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) at: Moment,
    then_after: Duration,
}

impl Repeat {
    /// The first repeat, if the path loses messages.
    pub(super) fn first(now: Moment, delivery: Delivery) -> Option<Self> {
        match delivery {
            Delivery::Unreliable => Some(Self { at: now + T1, then_after: T1 * 2 }),
            Delivery::Reliable => None,
        }
    }

    /// Twice as slow each time: Timer A.
    pub(super) fn doubled(self, now: Moment) -> Self {
        Self { at: now + self.then_after, then_after: self.then_after * 2 }
    }

    /// Twice as slow each time, but never slower than T2: Timers E and G.
    pub(super) fn doubled_to_t2(self, now: Moment) -> Self {
        Self { at: now + self.then_after, then_after: (self.then_after * 2).min(T2) }
    }

    /// From now on every T2: Timer E once a provisional response came.
    pub(super) fn every_t2(now: Moment) -> Self {
        Self { at: now + T2, then_after: T2 }
    }
}

/// The earlier of a repeat, if there is one, and the end.
pub(super) fn earlier(repeat: Option<Repeat>, end_at: Moment) -> Moment {
    repeat.map_or(end_at, |repeat| repeat.at.min(end_at))
}
