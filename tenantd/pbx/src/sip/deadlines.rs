//! What is due next: a queue of alarms, cheap enough for hundreds of thousands of them.
//!
//! Alarms are kept by the millisecond. Whoever set one looks at its own deadline when it rings: if
//! that has moved on it sets the next. So setting costs little, and a thing has one alarm at a time.
//! A thing with short deadlines may simply go, and its alarm rings for nobody; one with long ones (a
//! call may last for hours) takes its alarm along.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::moment::Moment;

/// Alarms by the millisecond in which they ring.
#[derive(Debug)]
pub struct Deadlines<K> {
    by_millisecond: BTreeMap<u64, Vec<K>>,
    len: usize,
}

/// What a thing remembers of the alarm it has set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alarm(Option<Moment>);

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_millisecond: BTreeMap::new(), len: 0 }
    }
}

impl<K: PartialEq> Deadlines<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings for `key` at `at`, or less than a millisecond later.
    pub fn insert(&mut self, at: Moment, key: K) {
        self.by_millisecond.entry(at.as_micros().div_ceil(1_000)).or_default().push(key);
        self.len += 1;
    }

    /// Sets `alarm` for the deadline of a thing, unless it rings early enough already.
    pub fn set(&mut self, alarm: &mut Alarm, deadline: Option<Moment>, key: K) {
        let Some(at) = deadline else { return self.unset(alarm, &key) };
        if alarm.0.is_none_or(|rings_at| at < rings_at) {
            self.unset(alarm, &key);
            alarm.0 = Some(at);
            self.insert(at, key);
        }
    }

    /// Takes the alarm of a thing out before its time.
    pub fn unset(&mut self, alarm: &mut Alarm, key: &K) {
        let Some(at) = alarm.0.take() else { return };
        let millisecond = at.as_micros().div_ceil(1_000);
        let Entry::Occupied(mut all) = self.by_millisecond.entry(millisecond) else { return };
        if let Some(place) = all.get().iter().position(|other| other == key) {
            all.get_mut().swap_remove(place);
            self.len -= 1;
        }
        if all.get().is_empty() {
            all.remove();
        }
    }

    /// When the next alarm rings.
    pub fn next(&self) -> Option<Moment> {
        let (millisecond, _) = self.by_millisecond.first_key_value()?;
        Some(Moment::from_micros(millisecond.saturating_mul(1_000)))
    }

    /// Takes out one alarm that rings at `now` or has rung before.
    pub fn pop_due(&mut self, now: Moment) -> Option<K> {
        loop {
            if self.next()? > now {
                return None;
            }
            let mut earliest = self.by_millisecond.first_entry()?;
            let key = earliest.get_mut().pop();
            if earliest.get().is_empty() {
                earliest.remove();
            }
            if let Some(key) = key {
                self.len -= 1;
                return Some(key);
            }
        }
    }

    /// Alarms that are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Alarm {
    /// Whether this alarm is the one that rings at `now`, and not an earlier setting of it. It must
    /// be set anew.
    pub fn rings(&mut self, now: Moment) -> bool {
        match self.0 {
            Some(rings_at) if now < rings_at => false,
            Some(_) | None => {
                self.0 = None;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn rings_in_order_and_never_early() {
        let (mut queue, mut chance) = (Deadlines::new(), Chance::from_seed([5; 32]));
        for _ in 0..5_000 {
            let at = Moment::from_micros(chance.below(40_000_000));
            queue.insert(at, at);
        }
        let (mut last, mut rung) = (Moment::EPOCH, 0);
        while let Some(now) = queue.next() {
            assert!(now >= last);
            last = now;
            assert_eq!(queue.pop_due(Moment::from_micros(now.as_micros() - 1)), None);
            while let Some(at) = queue.pop_due(now) {
                assert!(at <= now && now - at < std::time::Duration::from_millis(1));
                rung += 1;
            }
        }
        assert_eq!((rung, queue.len(), queue.is_empty()), (5_000, 0, true));
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut queue = Deadlines::new();
        queue.insert(Moment::from_micros(u64::MAX), ());
        assert_eq!(queue.next(), Some(Moment::from_micros(u64::MAX)));
        assert_eq!(queue.pop_due(Moment::from_secs(1)), None);
        assert_eq!(queue.pop_due(Moment::from_micros(u64::MAX)), Some(()));
    }

    #[test]
    fn a_thing_that_goes_takes_its_alarm_with_it_and_nobody_elses() {
        let (mut queue, at) = (Deadlines::new(), Moment::from_secs(5));
        let (mut one, mut other) = (Alarm::default(), Alarm::default());
        queue.set(&mut one, Some(at), 'a');
        queue.set(&mut other, Some(at), 'b');
        queue.unset(&mut one, &'a');
        queue.unset(&mut one, &'a');
        assert_eq!((queue.len(), queue.pop_due(at), queue.pop_due(at)), (1, Some('b'), None));
        // Who has no deadline any more has no alarm; a sooner one takes the place of a later one.
        queue.set(&mut one, Some(at), 'a');
        queue.set(&mut one, None, 'a');
        assert!(queue.is_empty());
        queue.set(&mut one, Some(at), 'a');
        queue.set(&mut one, Some(Moment::from_secs(1)), 'a');
        assert_eq!((queue.len(), queue.next()), (1, Some(Moment::from_secs(1))));
    }

    #[test]
    fn a_deadline_that_moves_on_needs_no_second_alarm() {
        let (mut queue, mut alarm) = (Deadlines::new(), Alarm::default());
        queue.set(&mut alarm, Some(Moment::from_secs(5)), 'a');
        queue.set(&mut alarm, Some(Moment::from_secs(9)), 'a');
        assert_eq!(queue.len(), 1);
        queue.set(&mut alarm, Some(Moment::from_secs(3)), 'a');
        assert_eq!((queue.len(), queue.next()), (1, Some(Moment::from_secs(3))));

        assert!(!alarm.rings(Moment::from_secs(2)), "the one for 3 s still stands");
        assert_eq!(queue.pop_due(Moment::from_secs(3)), Some('a'));
        assert!(alarm.rings(Moment::from_secs(3)));
        queue.set(&mut alarm, Some(Moment::from_secs(9)), 'a');
        assert_eq!((queue.len(), queue.next()), (1, Some(Moment::from_secs(9))));
    }
}
