//! From one master key the keys for sound and for reports are made, so that none is used for two things.
//!
//! RFC 3711 §4.3, with AES in counter mode as the generator (§4.3.3) and no derivation rate; RFC
//! 7714 §11 does the same with a shorter salt.

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use pbx::media::{Key, Suite};
use zeroize::Zeroizing;

/// Bytes of a master key.
const KEY: usize = 16;
/// Bytes of the longest salt.
const SALT: usize = 14;

/// For which of two the keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// RTP: labels 0, 1 and 2.
    Sound,
    /// RTCP: labels 3, 4 and 5.
    Reports,
}

/// A session's keys for one use.
pub(super) struct Keys {
    pub(super) encryption: Zeroizing<[u8; KEY]>,
    pub(super) authentication: Zeroizing<[u8; 20]>,
    pub(super) salt: Zeroizing<[u8; SALT]>,
}

/// How long a suite's key and salt are together.
pub(crate) fn material_len(suite: Suite) -> usize {
    match suite {
        Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => KEY + 14,
        Suite::AeadAes128Gcm => KEY + 12,
    }
}

impl Keys {
    /// Derives them; `None` if the master key is not as long as its suite says.
    pub(super) fn derive(master: &Key, kind: Use) -> Option<Self> {
        if master.material.len() != material_len(master.suite) {
            return None;
        }
        let (key, rest) = master.material.split_first_chunk::<KEY>()?;
        // A shorter salt is filled up with zeros on its right (RFC 7714 §11).
        let mut salt = Zeroizing::new([0; SALT]);
        salt.get_mut(..rest.len())?.copy_from_slice(rest);
        let generator = Aes128Enc::new(key.into());
        let first = match kind {
            Use::Sound => 0,
            Use::Reports => 3,
        };
        let mut keys = Self {
            encryption: Zeroizing::default(),
            authentication: Zeroizing::default(),
            salt: Zeroizing::default(),
        };
        generate(&generator, &salt, first, keys.encryption.as_mut_slice());
        generate(&generator, &salt, first + 1, keys.authentication.as_mut_slice());
        generate(&generator, &salt, first + 2, keys.salt.as_mut_slice());
        Some(keys)
    }
}

fn generate(generator: &Aes128Enc, salt: &[u8; SALT], label: u8, into: &mut [u8]) {
    let mut block = [0; 16];
    block[..SALT].copy_from_slice(salt);
    block[7] ^= label;
    xor_keystream(generator, &block, into);
}

/// Applies AES in counter mode that begins with `block`.
pub(super) fn xor_keystream(aes: &Aes128Enc, block: &[u8; 16], bytes: &mut [u8]) {
    // By reference: a key schedule is not copied for each packet.
    let core: CtrCore<&Aes128Enc, ctr::flavors::Ctr128BE> =
        CtrCore::inner_iv_init(aes, &(*block).into());
    core.apply_keystream_partial(bytes.into());
}
