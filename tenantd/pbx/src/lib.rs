//! What the PBX decides: bytes, facts and time go in; messages and wishes come out.
//!
//! Architecture invariants: no I/O, no clock, no lock, no log, no thread, and nothing of ours
//! below it. Whoever drives a [`switch::Switch`] owns the sockets, the sound and the database.

pub mod board;
pub mod call;
pub mod chance;
pub mod dialplan;
pub mod edge;
pub mod flow;
pub mod id;
pub mod input;
pub mod media;
pub mod moment;
pub mod output;
pub mod play;
pub mod record;
pub mod registrar;
pub mod sip;
pub mod story;
pub mod switch;
pub mod tenant;
