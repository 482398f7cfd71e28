//! Who holds the cluster key: both ends of a link prove it, each for its own side of that very
//! connection.
//!
//! HMAC-SHA-256 (RFC 2104) over the side and the connection's exported secret (RFC 5705), so a proof
//! that was overheard, sent back or passed on proves nothing (RFC 9266 calls this channel binding).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::net::tls::link::Channel;

/// Proves and checks.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It opened the connection.
    Caller,
    /// It was called.
    Called,
}

impl End {
    /// The end that faces this one.
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Caller => 1,
            Self::Called => 2,
        }
    }
}

impl LinkKey {
    /// From a key that all nodes of a cluster share, for this alone.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// What an end says to prove itself.
    pub fn prove(&self, end: End, channel: &Channel) -> [u8; 32] {
        self.mac(end, channel).finalize().into_bytes().into()
    }

    /// Whether what an end said proves it.
    pub fn is_proved(&self, end: End, channel: &Channel, said: &[u8; 32]) -> bool {
        self.mac(end, channel).verify_slice(said).is_ok()
    }

    fn mac(&self, end: End, channel: &Channel) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(&[end.letter()]);
        mac.update(channel);
        mac
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_key_its_end_and_its_connection_only() {
        let (ours, theirs) = (LinkKey::new([1; 32]), LinkKey::new([2; 32]));
        let proof = ours.prove(End::Caller, &[3; 32]);
        assert!(ours.is_proved(End::Caller, &[3; 32], &proof));
        assert!(!theirs.is_proved(End::Caller, &[3; 32], &proof));
        assert!(!ours.is_proved(End::Called, &[3; 32], &proof), "sent back");
        assert!(!ours.is_proved(End::Caller, &[4; 32], &proof), "passed on");
    }
}
