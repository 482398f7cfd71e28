//! Encrypted connections of phones, browsers and peer nodes, and certificates for every name that is
//! served, kept up to date by themselves. The one home of `rustls`.
//!
//! RFC 3261 §26.3.1, RFC 8446 and RFC 5246 (TLS 1.3 and 1.2; nothing older), RFC 6066 §3 (SNI).

mod certificate;
mod choice;
mod handshake;
pub mod link;
mod pages;
mod pairs;
mod self_signed;
mod shelf;

pub use handshake::{Encrypted, Refused, Terminator};
pub use pages::{Held, MOST_PAGES, listen};
pub use shelf::{Certificates, Failure, Setup, check};
