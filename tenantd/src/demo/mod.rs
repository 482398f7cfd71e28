//! `tenantd demo`: two companies with the same numbers, which can be called, in one folder.

mod cards;
mod companies;
mod stop;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use companies::Demo;
pub use stop::stop;

use crate::config::Span;
use crate::lock;

/// What the demo changes of the built-in defaults.
pub const CONFIG: &str = "
data_dir = \"demo\"
drain_for = \"1s\"
";

/// How long calls may take to end when the demo is stopped, whatever is configured.
pub const LONGEST_DRAIN: Span = Span(Duration::from_secs(1));

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file that remembers it cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file that remembers it was changed, and cannot be applied any more.
    #[error(transparent)]
    Provision(#[from] store::provision::NotApplied),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] store::Failure),
    /// The data directory or its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] lock::Failure),
    /// Nothing runs there.
    #[error("no demo runs in {0}")]
    NotRunning(String),
    /// It does not end.
    #[error("the demo, process {0}, does not end")]
    DoesNotEnd(i32),
}
