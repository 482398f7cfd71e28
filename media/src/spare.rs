//! Pairs of ports that are kept open for the next call: opening and closing sockets is most of what a
//! short call costs here.
//!
//! A spare pair is still read, and what comes is dropped: so a pair is known to be at rest when
//! nothing has come for a while, and nothing old is left in it for the next call. Some that are at
//! rest are [offered](crate::stock) to whoever opens a side.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use pbx::moment::Moment;

use crate::session::Slot;

/// How long nothing must have come before a stranger may have the pair.
const SILENT_FOR: Duration = Duration::from_secs(2);
/// How long a pair is kept for nobody.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Pairs that are looked at for one with the right address; the rest will have their turn.
const LOOKED_AT: usize = 4;

/// Of all pairs, the workers together keep one in so many at most: each must still find enough when
/// another has many.
const ONE_IN: usize = 4;
/// A worker keeps so many at most: 500 short calls a second need no more.
const MOST: usize = 2_048;

/// How long a pair that is not at rest yet is not looked at again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A worker offers so many at most: a burst of calls in one turn of a lane.
const OFFERED: usize = 32;

/// How many of all pairs one of so many workers may keep.
pub(crate) fn most(pairs: usize, workers: usize) -> usize {
    (pairs / workers.max(1) / ONE_IN).min(MOST)
}

/// A worker's spare pairs, the one that was closed first in front.
#[derive(Debug)]
pub(crate) struct Spares {
    queue: VecDeque<Spare>,
    /// Those that are offered, the oldest first.
    offered: VecDeque<Spare>,
    /// When one may be at rest that was not.
    look_again_at: Moment,
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Spare {
    slot: Slot,
    local: IpAddr,
    closed_at: Moment,
}

impl Spares {
    /// None yet, and never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        let (queue, offered) = (VecDeque::new(), VecDeque::new());
        Self { queue, offered, look_again_at: Moment::EPOCH, most }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.len() + self.offered.len()
    }

    /// Keeps a pair that was just closed; false if there are enough.
    #[must_use]
    pub(crate) fn keep(&mut self, now: Moment, slot: Slot, local: IpAddr) -> bool {
        let room = self.len() < self.most;
        if room {
            self.queue.push_back(Spare { slot, local, closed_at: now });
        }
        room
    }

    /// A pair on this address that is at rest. `heard_at` says when something last came to one.
    pub(crate) fn take(
        &mut self,
        now: Moment,
        local: IpAddr,
        heard_at: impl Fn(Slot) -> Moment,
    ) -> Option<Slot> {
        let fits = |spare: &Spare| spare.local == local && is_at_rest(spare, now, &heard_at);
        let found = self.queue.iter().take(LOOKED_AT).position(fits)?;
        self.queue.remove(found).map(|spare| spare.slot)
    }

    /// A pair at rest that is to be offered from now on, with its address; none if enough are.
    pub(crate) fn offer(
        &mut self,
        now: Moment,
        heard_at: impl Fn(Slot) -> Moment,
    ) -> Option<(Slot, IpAddr)> {
        if self.offered.len() >= self.most_offered() {
            return None;
        }
        let rests = |spare: &Spare| is_at_rest(spare, now, &heard_at);
        let Some(found) = self.queue.iter().take(LOOKED_AT).position(rests) else {
            let due = self.queue.front().is_some_and(|spare| spare.closed_at + SILENT_FOR <= now);
            // Something comes to it still.
            self.look_again_at = if due { now + LOOK_AGAIN_AFTER } else { self.look_again_at };
            return None;
        };
        let spare = self.queue.remove(found)?;
        self.offered.push_back(Spare { closed_at: now, ..spare });
        Some((spare.slot, spare.local))
    }

    fn most_offered(&self) -> usize {
        OFFERED.min(self.most / 2)
    }

    /// Whether a pair is offered.
    pub(crate) fn is_offered(&self, slot: Slot) -> bool {
        self.offered.iter().any(|spare| spare.slot == slot)
    }

    /// The pair is not spare any more.
    pub(crate) fn end_offer(&mut self, slot: Slot) {
        self.offered.retain(|spare| spare.slot != slot);
    }

    /// Those that are offered.
    pub(crate) fn offered(&self) -> impl Iterator<Item = Slot> {
        self.offered.iter().map(|spare| spare.slot)
    }

    /// The pair that nobody has claimed for longest, if that is long.
    pub(crate) fn stale_offer(&self, now: Moment) -> Option<Slot> {
        let oldest = self.offered.front().filter(|spare| spare.closed_at + KEPT_FOR <= now);
        oldest.map(|spare| spare.slot)
    }

    /// When a pair can be offered, or will have been wanted by nobody for long.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let (front, offered) = (self.queue.front(), self.offered.front());
        // Where some are offered, more are at the next turn for whatever reason.
        let none = offered.is_none() && self.most_offered() > 0;
        let rests = front.filter(|_| none).map(|spare| spare.closed_at + SILENT_FOR);
        let rests_at = rests.map(|rests_at| rests_at.max(self.look_again_at));
        let stale = front.into_iter().chain(offered).map(|spare| spare.closed_at + KEPT_FOR);
        stale.chain(rests_at).min()
    }

    /// A pair that nobody wanted for long, or, where `pressed`, the one that was closed first.
    pub(crate) fn give_up(&mut self, now: Moment, pressed: Pressed) -> Option<Slot> {
        let keep_for = match pressed {
            Pressed::No => KEPT_FOR,
            Pressed::ForPorts => SILENT_FOR,
        };
        let spare = self.queue.pop_front_if(|spare| spare.closed_at + keep_for <= now)?;
        Some(spare.slot)
    }
}

/// Whether nothing has come to a pair for a while.
fn is_at_rest(spare: &Spare, now: Moment, heard_at: impl Fn(Slot) -> Moment) -> bool {
    spare.closed_at.max(heard_at(spare.slot)) + SILENT_FOR <= now
}

/// Whether ports are wanted that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pressed {
    /// There are enough.
    No,
    /// They are all taken.
    ForPorts,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    const TICK: Duration = Duration::from_micros(1);

    fn slot(index: usize) -> Slot {
        Slot::from_index(index).unwrap()
    }

    #[test]
    fn a_pair_is_used_again_once_nothing_has_come_for_two_seconds() {
        let mut spares = Spares::new(8);
        assert!(spares.keep(NOW, slot(3), V4));
        let never = |_| Moment::EPOCH;
        assert_eq!(spares.take(NOW + (SILENT_FOR - TICK), V4, never), None);
        let late = |_| NOW + Duration::from_secs(1);
        assert_eq!(spares.take(NOW + SILENT_FOR, V4, late), None, "its old peer still sends");
        assert_eq!(spares.take(NOW + SILENT_FOR, V6, never), None, "on another address");
        assert_eq!(spares.take(NOW + SILENT_FOR, V4, never), Some(slot(3)));
        assert_eq!(spares.take(NOW + SILENT_FOR, V4, never), None);
    }

    #[test]
    fn one_that_cannot_be_used_holds_up_no_other() {
        let mut spares = Spares::new(8);
        for (index, local) in [(0, V6), (1, V4), (2, V4)] {
            assert!(spares.keep(NOW, slot(index), local));
        }
        let first_is_heard = |at: Slot| if at == slot(1) { NOW + SILENT_FOR } else { NOW };
        assert_eq!(spares.take(NOW + SILENT_FOR, V4, first_is_heard), Some(slot(2)));
        assert_eq!(spares.len(), 2);
    }

    #[test]
    fn half_of_them_at_most_are_offered_once_they_are_at_rest() {
        let mut spares = Spares::new(4);
        for index in 0..3 {
            assert!(spares.keep(NOW, slot(index), V4));
        }
        let first_is_heard = |at: Slot| if at == slot(0) { NOW + SILENT_FOR } else { NOW };
        assert_eq!(spares.offer(NOW, first_is_heard), None);
        let rested = NOW + SILENT_FOR;
        assert_eq!(spares.offer(rested, first_is_heard), Some((slot(1), V4)));
        assert_eq!(spares.offer(rested, first_is_heard), Some((slot(2), V4)));
        assert_eq!(spares.offer(rested + SILENT_FOR, first_is_heard), None, "half of four");
        assert_eq!(spares.len(), 3, "they are still spare");
        assert!(spares.is_offered(slot(1)));
        spares.end_offer(slot(1));
        assert!(!spares.is_offered(slot(1)));
        assert_eq!(spares.stale_offer(rested + (KEPT_FOR - TICK)), None);
        assert_eq!(spares.stale_offer(rested + KEPT_FOR), Some(slot(2)));
        assert_eq!(spares.offered().collect::<Vec<_>>(), [slot(2)]);
    }

    #[test]
    fn there_are_never_too_many_and_none_for_ever() {
        let mut spares = Spares::new(2);
        assert!(spares.keep(NOW, slot(0), V4) && spares.keep(NOW, slot(1), V4));
        assert!(!spares.keep(NOW, slot(2), V4));
        assert_eq!(spares.give_up(NOW + (SILENT_FOR - TICK), Pressed::ForPorts), None);
        assert_eq!(spares.give_up(NOW + SILENT_FOR, Pressed::ForPorts), Some(slot(0)));
        assert_eq!(spares.deadline(), Some(NOW + SILENT_FOR));
        assert!(spares.offer(NOW + SILENT_FOR, |_| Moment::EPOCH).is_some());
        assert_eq!(spares.deadline(), Some(NOW + SILENT_FOR + KEPT_FOR));
        spares.end_offer(slot(1));
        assert!(spares.keep(NOW, slot(1), V4));
        assert_eq!(spares.give_up(NOW + (KEPT_FOR - TICK), Pressed::No), None);
        assert_eq!(spares.give_up(NOW + KEPT_FOR, Pressed::No), Some(slot(1)));
        assert_eq!((spares.len(), spares.deadline()), (0, None));
    }
}
