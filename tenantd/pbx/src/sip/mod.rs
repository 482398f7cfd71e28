//! What the RFCs say, knowing no tenants: messages, transactions, dialogs, offers, digests.

pub mod address;
pub mod answer;
pub mod authorization;
mod base32;
pub mod check;
pub mod cseq;
pub mod deadlines;
pub mod dialog;
pub mod digest;
pub mod draft;
pub mod escape;
pub mod flaw;
pub mod host;
mod letters;
pub mod list;
pub mod message;
pub mod method;
pub mod name;
pub mod nonce;
#[cfg(test)]
mod oracle;
pub mod params;
mod parse;
pub mod sdp;
pub mod status;
pub mod token;
pub mod transaction;
pub mod uri;
pub mod via;

pub use address::{Address, Contacts, Quoted};
pub use check::{Refusal, check};
pub use cseq::CSeq;
pub use draft::{Draft, Written};
pub use escape::EscapedUser;
pub use flaw::Flaw;
pub use message::{Malformed, Message};
pub use method::Method;
pub use name::Name;
pub use params::Params;
pub use status::reason_phrase;
pub use uri::{Scheme, Uri};
pub use via::{Rport, Via};
