//! A phone's encryption, by another implementation than ours: what it opens was really sealed.
//!
//! RFC 3711, RFC 7714.

use kit::failure::{Failure, Outcome};
use pbx::media::{Key, Suite};
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::protection_profile::ProtectionProfile;

/// All master keys are of 128 bits; the rest is salt.
const KEY: usize = 16;

/// A phone's two keys.
pub(crate) struct Sealed {
    ours: Context,
    theirs: Context,
}

impl Sealed {
    /// Seals with the first, and opens with the second.
    pub(crate) fn new(ours: &Key, theirs: &Key) -> Outcome<Self> {
        Ok(Self { ours: context(ours)?, theirs: context(theirs)? })
    }

    pub(super) fn seal(&mut self, packet: &mut Vec<u8>) {
        let sealed = self.ours.encrypt_rtp(packet).expect("what we write has a head");
        packet.clear();
        packet.extend_from_slice(&sealed);
    }

    pub(super) fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.theirs.decrypt_rtp(packet).ok().map(|plain| plain.to_vec())
    }
}

fn context(key: &Key) -> Outcome<Context> {
    let profile = match key.suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
    };
    let (master, salt) = key
        .material
        .split_at_checked(KEY)
        .ok_or_else(|| Failure::new(format!("{key:?} is too short")))?;
    Ok(Context::new(master, salt, profile, None, None, &RingCrypto)?)
}
