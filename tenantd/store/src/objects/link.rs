//! Links to what lies in the folder: signed, for a while, and for one object each.
//!
//! The same as a presigned request of S3 is to a bucket: who has the link may read, and nobody can
//! make one without the cluster key.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use pbx::moment::Moment;
use sha2::Sha256;

use super::ObjectKey;
use super::content::{hex, unhex};

/// What a link carries beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Until when it may be followed, in seconds since 1970.
    pub until: u64,
    /// What only we can make, in hexadecimal digits.
    pub proof: String,
}

/// Makes links and knows its own again.
pub(super) struct Signer {
    key: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A path of our own pages.
    pub(super) fn sign(&self, key: &ObjectKey, now: Moment, valid_for: Duration) -> String {
        let until = (now + valid_for).as_secs();
        let proof = hex(&self.mac(key, until).finalize().into_bytes());
        format!("/objects/{key}?until={until}&proof={proof}")
    }

    /// Whether it is a link of ours whose time is not over.
    pub(super) fn is_ours(&self, key: &ObjectKey, proof: &Proof, now: Moment) -> bool {
        let Some(bytes) = unhex(&proof.proof) else { return false };
        let right = self.mac(key, proof.until).verify_slice(&bytes).is_ok();
        right && now.as_secs() < proof.until
    }

    fn mac(&self, key: &ObjectKey, until: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes every key");
        mac.update(format!("{key}\n{until}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::objects::Kind;

    #[test]
    fn a_link_leads_to_one_object_and_only_for_a_while() {
        let signer = Signer::new([1; 32]);
        let key = |n| ObjectKey::new(TenantId(Uuid::from_u128(n)), Kind::Sound, Uuid::from_u128(9));
        let now = Moment::from_micros(1_795_000_000_000_000);
        let link = signer.sign(&key(1), now, Duration::from_secs(60));
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, format!("/objects/{}", key(1)));
        let (until, proof) = query.split_once('&').unwrap();
        let proof = Proof {
            until: until.strip_prefix("until=").unwrap().parse().unwrap(),
            proof: proof.strip_prefix("proof=").unwrap().to_owned(),
        };
        assert!(signer.is_ours(&key(1), &proof, now));
        assert!(!signer.is_ours(&key(2), &proof, now), "another company's");
        assert!(!signer.is_ours(&key(1), &proof, now + Duration::from_secs(60)), "too late");
        let longer = Proof { until: proof.until + 1, ..proof.clone() };
        assert!(!signer.is_ours(&key(1), &longer, now), "made to last longer");
        assert!(!Signer::new([2; 32]).is_ours(&key(1), &proof, now), "of another cluster");
        for text in ["", "00", &"0".repeat(64)] {
            let forged = Proof { proof: text.to_owned(), ..proof.clone() };
            assert!(!signer.is_ours(&key(1), &forged, now), "{text}");
        }
    }
}
