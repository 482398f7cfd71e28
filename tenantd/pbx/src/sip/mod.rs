//! What the RFCs say, knowing no tenants: messages, transactions, dialogs, offers, digests.

pub mod answer;
pub mod authorization;
mod base32;
pub mod deadlines;
pub mod digest;
pub mod message;
pub mod nonce;
pub mod token;
pub mod transaction;
