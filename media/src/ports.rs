//! Which ports are free: a pair a side, sound on the even one and its reports on the next.
//!
//! RFC 3550 §11. A pair that was closed rests, so that a late packet of an old call never reaches
//! the stranger who has the port now.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::RangeInclusive;
use std::time::Duration;

use pbx::moment::Moment;

/// How long a closed pair is left alone.
pub(crate) const REST_FOR: Duration = Duration::from_secs(5);

/// All pairs of a range. One queue, so that taking and giving back cost the same however many
/// calls there are, and the pair that has been free for longest goes first.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    pairs: Vec<Pair>,
    /// Indexes of pairs; one that was taken by its number is skipped when its turn comes.
    queue: VecDeque<u16>,
    taken: usize,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    state: State,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Free { rested_at: Moment },
    Taken,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Queued,
    Away,
}

impl Ports {
    /// All pairs that lie wholly within `range`, in an order nobody can guess.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        // Port 0 would mean any port.
        let first = (*range.start()).max(2).checked_next_multiple_of(2).unwrap_or(u16::MAX);
        let last = u32::from(*range.end());
        let count = (last + 1).saturating_sub(u32::from(first)) / 2;
        let count = u16::try_from(count).unwrap_or(0);
        let free = Pair { state: State::Free { rested_at: Moment::EPOCH }, place: Place::Queued };
        let mut order: Vec<u16> = (0..count).collect();
        let chance = RandomState::new();
        order.sort_by_cached_key(|index| chance.hash_one(index));
        Self { first, pairs: vec![free; usize::from(count)], queue: order.into(), taken: 0 }
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// How many are in use.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// The pair that has rested longest; `None` if every one is taken or still rests.
    pub(crate) fn take(&mut self, now: Moment) -> Option<u16> {
        for _ in 0..self.queue.len() {
            let index = self.queue.pop_front()?;
            let pair = self.pairs.get_mut(usize::from(index))?;
            match pair.state {
                State::Taken => pair.place = Place::Away,
                State::Free { rested_at } if rested_at <= now => {
                    *pair = Pair { state: State::Taken, place: Place::Away };
                    self.taken += 1;
                    return Some(self.first + index * 2);
                }
                // Behind it are only pairs that rest longer, or were taken by number since.
                State::Free { .. } => {
                    self.queue.push_front(index);
                    return None;
                }
            }
        }
        None
    }

    /// This very pair, rested or not: a call that outlived a restart comes back to it.
    pub(crate) fn take_this(&mut self, port: u16) -> bool {
        let Some(pair) = self.pair(port) else { return false };
        match pair.state {
            State::Taken => false,
            State::Free { .. } => {
                pair.state = State::Taken;
                self.taken += 1;
                true
            }
        }
    }

    /// Gives a pair back; it rests first.
    pub(crate) fn give_back(&mut self, now: Moment, port: u16) {
        let Some(pair) = self.pair(port) else { return };
        let State::Taken = pair.state else { return };
        let was = pair.place;
        *pair = Pair { state: State::Free { rested_at: now + REST_FOR }, place: Place::Queued };
        self.taken -= 1;
        match was {
            Place::Away => self.queue.push_back((port - self.first) / 2),
            // Taken by number and back before its turn: it must not be queued twice, nor let the
            // head of the queue hide rested pairs behind it.
            Place::Queued => {
                let index = (port - self.first) / 2;
                self.queue.retain(|queued| *queued != index);
                self.queue.push_back(index);
            }
        }
    }

    fn pair(&mut self, port: u16) -> Option<&mut Pair> {
        let offset = port.checked_sub(self.first)?;
        match offset % 2 {
            0 => self.pairs.get_mut(usize::from(offset / 2)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_every_whole_pair_of_the_range_once() {
        let mut ports = Ports::new(&(26_001..=26_008));
        let mut taken: Vec<u16> = std::iter::from_fn(|| ports.take(Moment::EPOCH)).collect();
        taken.sort_unstable();
        assert_eq!(taken, [26_002, 26_004, 26_006]);
        assert_eq!(Ports::new(&(65_534..=65_535)).len(), 1);
        assert_eq!(Ports::new(&(65_535..=65_535)).len(), 0);
        assert_eq!(Ports::new(&(0..=u16::MAX)).len(), 32_767);
        #[expect(clippy::reversed_empty_ranges, reason = "a configuration may say so")]
        let reversed = 9..=1;
        assert_eq!(Ports::new(&reversed).len(), 0);
    }

    #[test]
    fn lets_a_closed_pair_rest_before_a_stranger_gets_it() {
        let mut ports = Ports::new(&(26_000..=26_001));
        let closed_at = Moment::from_secs(100);
        let port = ports.take(closed_at).unwrap();
        ports.give_back(closed_at, port);

        assert_eq!(ports.take(closed_at + (REST_FOR - Duration::from_micros(1))), None);
        assert_eq!(ports.take(closed_at + REST_FOR), Some(port));
    }

    #[test]
    fn gives_a_revived_call_its_own_pair_and_nobody_else_the_same() {
        let mut ports = Ports::new(&(26_000..=26_005));
        assert!(ports.take_this(26_002));
        assert!(!ports.take_this(26_002));
        assert!(!ports.take_this(26_003), "an odd port is nobody's");
        assert!(!ports.take_this(30_000), "outside of the range");

        let mut rest: Vec<u16> = std::iter::from_fn(|| ports.take(Moment::EPOCH)).collect();
        rest.sort_unstable();
        assert_eq!(rest, [26_000, 26_004]);
        assert_eq!(ports.taken(), 3);
    }

    #[test]
    fn a_revived_pair_that_rests_hides_no_rested_one() {
        let mut ports = Ports::new(&(26_000..=26_005));
        let now = Moment::from_secs(100);
        for port in [26_000, 26_002, 26_004] {
            assert!(ports.take_this(port));
        }
        ports.give_back(now, 26_002);
        assert_eq!(ports.take(now), None);
        ports.give_back(now, 26_002);
        assert_eq!(ports.taken(), 2, "given back once only");
        assert_eq!(ports.take(now + REST_FOR), Some(26_002));
        assert_eq!(ports.take(now + REST_FOR), None);
    }
}
