//! What this node has decided and Postgres may not have yet: written down before it is acted on.
//!
//! Each lane appends to segment files of its own. A turn's records cost one write; nothing is
//! synced, because the journal shall survive the process, and Postgres the machine. A segment goes
//! when all that it holds is in Postgres; what is left is written there at the next start.
//! The journal's disk quota is its limit: close to it new work is refused, and what is under way
//! may use the rest; past it records live in memory alone, which is counted.

mod frame;
mod lane;
mod replay;
mod room;
mod segment;
mod tail;

pub use lane::{Appended, Failure, LaneJournal};
pub use replay::{Failure as ReplayFailure, Replayed, replay};
pub use room::Room;
pub use segment::{Contents, Unreadable, left_over, read};
pub use tail::{Journaled, Position, Tail};

#[cfg(test)]
pub(crate) use tail::tests;
