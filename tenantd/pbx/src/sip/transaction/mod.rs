//! One request and its answers: what was lost is sent again, what comes twice is seen once.
//!
//! RFC 3261 §17, with RFC 6026 (a 2xx to an INVITE) and RFC 4320 (everything else). The machines
//! know only bytes and time; `servers` and `clients` find the machine that a message is for.

mod agenda;
mod attempt;
mod client;
mod clients;
mod hop;
mod invite_client;
mod invite_server;
mod key;
#[cfg(test)]
mod lossy;
mod server;
mod servers;
mod table;
pub mod timers;

pub use agenda::Output;
pub use clients::{Answer, Full};
pub use key::Realm;
pub use servers::{Arrival, Cancelled, ServerId};
pub use table::Transactions;
