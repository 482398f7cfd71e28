//! What a REGISTER, or the passing of time, changed: what to store, what to show, what to tell.

use crate::id::BindingId;
use crate::record::{Binding, Memory, Wait};
use crate::story::Unregistered;

/// One binding's change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A phone came.
    Added(Box<Binding>),
    /// A phone is somewhere else, or wants to be called in another way.
    Moved(Box<Binding>),
    /// A phone stays so long that what is stored of it would be given up too early.
    Prolonged(Box<Binding>),
    /// A phone stays; what is stored of it still serves.
    Refreshed(BindingId),
    /// A phone left.
    Removed(Box<Binding>, Unregistered),
}

/// What a REGISTER did. All of it happened, or none.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Outcome {
    /// In the order in which it happened; empty for a question or a repeat.
    pub changes: Vec<Change>,
}

impl Change {
    /// Which binding.
    pub fn binding(&self) -> BindingId {
        match self {
            Self::Added(binding) | Self::Moved(binding) | Self::Prolonged(binding) => binding.id,
            Self::Removed(binding, _) => binding.id,
            Self::Refreshed(id) => *id,
        }
    }

    /// What must be remembered.
    pub fn memory(&self) -> Option<Memory> {
        match self {
            Self::Added(binding) | Self::Moved(binding) | Self::Prolonged(binding) => {
                Some(Memory::Bound(binding.clone()))
            }
            Self::Removed(binding, _) => Some(Memory::Unbound(binding.id)),
            Self::Refreshed(_) => None,
        }
    }

    /// Whether the phone may hear of it only when it is durable.
    pub fn wait(&self) -> Wait {
        match self {
            Self::Added(_) | Self::Moved(_) | Self::Removed(..) => Wait::ForCommit,
            // Were it lost with the machine, the phone would be probed before its next call.
            Self::Prolonged(_) | Self::Refreshed(_) => Wait::No,
        }
    }
}

impl Outcome {
    /// Whether the answer waits until the changes are durable.
    pub fn wait(&self) -> Wait {
        match self.changes.iter().any(|change| change.wait() == Wait::ForCommit) {
            true => Wait::ForCommit,
            false => Wait::No,
        }
    }

    /// Phones that had to make room.
    pub fn replaced(&self) -> impl Iterator<Item = &Binding> {
        self.changes.iter().filter_map(|change| match change {
            Change::Removed(binding, Unregistered::Replaced) => Some(&**binding),
            Change::Removed(..)
            | Change::Added(_)
            | Change::Moved(_)
            | Change::Prolonged(_)
            | Change::Refreshed(_) => None,
        })
    }
}
