//! What transactions wish and wait for, in one place for all of them.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash};

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::servers::ServerId;
use crate::flow::Flow;
use crate::sip::deadlines::Deadlines;

/// A map whose keys nobody outside can choose.
pub(super) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<SipHasher13>>;

/// Tables that are smaller than this stay as they are, however empty.
pub(super) const SMALL: usize = 1_024;

/// What a storm made a table grow by is given back, in a few steps as it empties.
pub(super) fn give_back<K: Eq + Hash, V>(table: &mut Map<K, V>) {
    if table.capacity() > SMALL.max(8 * table.len()) {
        table.shrink_to(2 * table.len());
    }
}

/// Something that a transaction wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<O> {
    /// Put these bytes on this path.
    Send {
        /// The path.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// Nobody answered this owner's request, or nobody obeyed its CANCEL.
    TimedOut {
        /// Who asked.
        owner: O,
    },
    /// The caller never acknowledged this owner's refusal.
    NeverAcknowledged {
        /// Who refused.
        owner: O,
    },
}

/// Whose alarm it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Server(ServerId),
    Client(u64),
}

/// Wishes in their order, and alarms by their time. Each input adds two wishes at most, and the
/// driver takes them after each batch; each transaction has one alarm that counts.
#[derive(Debug)]
pub(super) struct Agenda<O> {
    pub(super) outputs: VecDeque<Output<O>>,
    pub(super) alarms: Deadlines<Due>,
}

impl<O> Agenda<O> {
    pub(super) fn new() -> Self {
        Self { outputs: VecDeque::new(), alarms: Deadlines::new() }
    }

    pub(super) fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Send { flow, bytes });
    }
}
