//! What the RFCs say, knowing no tenants: messages, transactions, dialogs, offers, digests.

pub mod message;
