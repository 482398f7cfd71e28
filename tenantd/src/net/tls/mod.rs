//! Encryption of what we send and receive: the one home of `rustls`.

pub mod link;
