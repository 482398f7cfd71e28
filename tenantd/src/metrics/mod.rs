//! What is counted, and how it is told to whoever watches the server.
//!
//! A thread counts in a [`Tally`] of its own, so that counting costs no packet a wait; the tallies
//! are summed when somebody asks. No label ever holds a tenant's, user's or peer's name: the
//! number of series is known beforehand.

mod exposition;
mod tally;

pub use exposition::Metrics;
pub use tally::{Count, Gauge, Tally};
