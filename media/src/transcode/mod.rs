//! Sound between two phones that share no codec, and the numbers of packets between those that do.
//!
//! `route` says what becomes of which packet; most pass with another number at most. For the others
//! there is a `conversion`: `hearing` is a `jitter` buffer and the speaker's codecs, `saying` the
//! listener's, and `outgoing` a stream of our own. `mouth` is all that is said to one phone.

pub(crate) mod conversion;
pub(crate) mod hearing;
pub(crate) mod jitter;
pub(crate) mod key;
pub(crate) mod mouth;
pub(crate) mod outgoing;
pub(crate) mod route;
pub(crate) mod saying;

#[cfg(test)]
pub(crate) mod tests;
