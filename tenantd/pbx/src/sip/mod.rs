//! What the RFCs say, knowing no tenants: messages, transactions, dialogs, offers, digests.

pub mod answer;
mod base32;
pub mod deadlines;
pub mod message;
pub mod token;
pub mod transaction;
