//! Sound that nobody on the way can listen to or change: each packet is encrypted and sealed by a key.
//!
//! SRTP and SRTCP, RFC 3711, with the transforms of RFC 3711 §4 and §5 (AES in counter mode, a tag
//! by HMAC-SHA1) and RFC 7714 (AES-GCM). Pure, in place, and without an allocation a packet. There is
//! no master key identifier (nobody offers one), and no key derivation rate but 0.
//!
//! A key has two states of its own: a [`Sender`] knows what was sealed with it, a [`Receiver`] what
//! was opened. Both count each stream's packets beyond the 16 bits that a packet shows.

mod context;
mod head;
mod keys;
mod receiver;
mod sender;
mod transform;
mod window;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub(crate) use keys::material_len;
pub(crate) use receiver::Receiver;
pub(crate) use sender::Sender;

/// By how much a packet grows at most: the tag of AES-GCM, and the index of a report.
pub(crate) const GROWS_BY: usize = 16 + 4;

/// Why a packet is not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is too short for what it says it is, or there is no room for its tag.
    Malformed,
    /// Its tag is wrong: somebody else wrote it, or it was changed on its way.
    Forged,
    /// It came before, or is so old that nobody can say.
    Replayed,
    /// There are more streams than any phone has, or more packets than a key is good for.
    Exhausted,
}
