//! One request and its answers: what was lost is sent again, what comes twice is seen once.
//!
//! RFC 3261 §17, with RFC 6026 (a 2xx to an INVITE) and RFC 4320 (everything else).

mod client;
mod invite_client;
mod invite_server;
mod server;
pub mod timers;
