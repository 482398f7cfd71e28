//! When which side, or conference, has something to do, although nothing comes: the next is found at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pbx::moment::Moment;

/// Each may stand in it more than once; its own word counts (`due_at`), and what
/// is out of date falls out when its time comes.
#[derive(Debug)]
pub(crate) struct Timetable<K> {
    due: BinaryHeap<Reverse<(Moment, K)>>,
}

impl<K: Ord> Default for Timetable<K> {
    fn default() -> Self {
        Self { due: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> Timetable<K> {
    /// A side, or a conference, has something to do then.
    pub(crate) fn add(&mut self, at: Moment, who: K) {
        self.due.push(Reverse((at, who)));
    }

    /// When the first has.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the first that has something to do by now.
    pub(crate) fn take(&mut self, now: Moment) -> Option<(Moment, K)> {
        self.deadline().filter(|at| *at <= now)?;
        self.due.pop().map(|Reverse(due)| due)
    }
}
