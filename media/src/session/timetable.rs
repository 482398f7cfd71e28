//! When which side has something to do, although nothing comes: the next is found at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pbx::moment::Moment;

use crate::session::Slot;

/// A side may stand in it more than once; its own word counts (`due_at`), and what
/// is out of date falls out when its time comes.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    due: BinaryHeap<Reverse<(Moment, Slot)>>,
}

impl Timetable {
    /// A side has something to do then.
    pub(crate) fn add(&mut self, at: Moment, slot: Slot) {
        self.due.push(Reverse((at, slot)));
    }

    /// When the first has.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the first that has something to do by now.
    pub(crate) fn take(&mut self, now: Moment) -> Option<(Moment, Slot)> {
        self.deadline().filter(|at| *at <= now)?;
        self.due.pop().map(|Reverse(due)| due)
    }
}
