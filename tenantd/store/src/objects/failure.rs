//! Why an object store did not do what it was asked, told apart by what helps.

use std::io;
use std::path::Path;

/// What can go wrong with objects.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, is too slow or has trouble of its own: the same may work later.
    #[error("the object store is away: {0}")]
    Away(String),
    /// It said no, and will say no until somebody changes something: a wrong key, no such bucket.
    #[error("the object store refuses: {0}")]
    Refused(String),
    /// There is nothing under this key.
    #[error("there is no object {0}")]
    Missing(String),
    /// What is there is not what was put there. It is never used.
    #[error("object {0} is not what was stored")]
    Changed(String),
    /// More than is ever read at once, or than there is.
    #[error("object {0} is larger than is read at once")]
    TooLarge(String),
    /// As much waits for the store as there may be.
    #[error("the outbox is full: {waiting} of {limit} bytes wait for the object store")]
    Full {
        /// So much waits.
        waiting: u64,
        /// So much may.
        limit: u64,
    },
    /// A file of ours cannot be used.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The address or a name in the configuration is no good.
    #[error("the object store's configuration: {0}")]
    Setup(String),
}

impl Failure {
    /// For a file at `path`.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::File(path, error)
    }

    /// Whether the same may work later without anybody's help.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Away(_) | Self::Full { .. } => true,
            Self::Refused(_)
            | Self::Missing(_)
            | Self::Changed(_)
            | Self::TooLarge(_)
            | Self::File(..)
            | Self::Setup(_) => false,
        }
    }
}
