//! What one key does to one packet: hides what it says, and seals it.
//!
//! AES in counter mode and HMAC-SHA1: RFC 3711 §4.1.1, §4.2.1 and §3.4. AES-GCM: RFC 7714 §8, §9.
//! Ciphers and hashes are others' (`aes`, `ctr`, `hmac`, `sha1`, `ring`); what is ours is which bytes
//! they are given.

use aes::Aes128Enc;
use aes::cipher::KeyInit;
use hmac::{Hmac, Mac};
use pbx::media::{Key, Suite};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use sha1::Sha1;

use super::Refused;
use super::head::REPORT;
use super::keys::{Keys, Use, xor_keystream};

/// The word behind a report: whether it is encrypted, and its index.
const WORD: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// The tag of AES-GCM.
const GCM_TAG: usize = 16;
/// What of a report is sealed but not hidden.
const AAD: usize = REPORT + WORD;

/// One key for one use.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, which needs no box")]
pub(super) enum Transform {
    Counter(Counter),
    /// A third larger than the other, and rare.
    Gcm(Box<Gcm>),
}

/// AES in counter mode, and a tag by HMAC-SHA1.
pub(super) struct Counter {
    /// No more than encrypting takes: counter mode needs nothing else.
    aes: Aes128Enc,
    salt: [u8; 14],
    mac: Hmac<Sha1>,
    tag: usize,
}

/// AES-GCM.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

/// A packet of a stream: both together are never the same twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) ssrc: u32,
    /// 48 bits of sound, 31 of reports.
    pub(super) index: u64,
}

impl Transform {
    /// `None` if the key is not as long as its suite says.
    pub(super) fn new(master: &Key, kind: Use) -> Option<Self> {
        Self::of_session(master.suite, kind, &Keys::derive(master, kind)?)
    }

    /// Of keys that are a session's already.
    pub(super) fn of_session(suite: Suite, kind: Use, keys: &Keys) -> Option<Self> {
        let tag = match (suite, kind) {
            (Suite::AesCm128HmacSha1_80, _) | (Suite::AesCm128HmacSha1_32, Use::Reports) => 10,
            (Suite::AesCm128HmacSha1_32, Use::Sound) => 4,
            (Suite::AeadAes128Gcm, _) => {
                let key = UnboundKey::new(&AES_128_GCM, keys.encryption.as_slice()).ok()?;
                let salt = *keys.salt.first_chunk()?;
                return Some(Self::Gcm(Box::new(Gcm { key: LessSafeKey::new(key), salt })));
            }
        };
        Some(Self::Counter(Counter {
            aes: Aes128Enc::new((&*keys.encryption).into()),
            salt: *keys.salt,
            mac: Hmac::new_from_slice(keys.authentication.as_slice()).ok()?,
            tag,
        }))
    }

    /// Seals the sound packet of `len` bytes that begins `room`, its first `head` bytes readable;
    /// how long it is now.
    pub(super) fn seal_sound(
        &self,
        place: Place,
        head: usize,
        room: &mut [u8],
        len: usize,
    ) -> Result<usize, Refused> {
        let (packet, tail) = room.split_at_mut_checked(len).ok_or(Refused::Malformed)?;
        match self {
            Self::Counter(counter) => {
                let secret = packet.get_mut(head..).ok_or(Refused::Malformed)?;
                counter.xor(place, secret);
                let mac = counter.mac(&[packet, &turn(place)]);
                let tag = tail.get_mut(..counter.tag).ok_or(Refused::Malformed)?;
                tag.copy_from_slice(mac.get(..counter.tag).ok_or(Refused::Malformed)?);
                Ok(len + counter.tag)
            }
            Self::Gcm(gcm) => {
                let Gcm { key, salt } = &**gcm;
                let (head, secret) = packet.split_at_mut_checked(head).ok_or(Refused::Malformed)?;
                let nonce = nonce(salt, place, Use::Sound);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*head), secret)
                    .map_err(|_| Refused::Malformed)?;
                tail.get_mut(..GCM_TAG).ok_or(Refused::Malformed)?.copy_from_slice(tag.as_ref());
                Ok(len + GCM_TAG)
            }
        }
    }

    /// Opens a sound packet; how long it is now. A forged one may be destroyed.
    pub(super) fn open_sound(
        &self,
        place: Place,
        head: usize,
        packet: &mut [u8],
    ) -> Result<usize, Refused> {
        let len = packet.len().checked_sub(self.sound_tag()).ok_or(Refused::Malformed)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(Refused::Malformed)?;
        match self {
            Self::Counter(counter) => {
                counter.verify(&[packet, &turn(place)], tag)?;
                counter.xor(place, packet.get_mut(head..).ok_or(Refused::Malformed)?);
            }
            Self::Gcm(gcm) => {
                let Gcm { key, salt } = &**gcm;
                let (head, secret) = packet.split_at_mut_checked(head).ok_or(Refused::Malformed)?;
                let tag = Tag::try_from(&*tag).map_err(|_| Refused::Malformed)?;
                key.open_in_place_separate_tag(
                    nonce(salt, place, Use::Sound),
                    Aad::from(&*head),
                    tag,
                    secret,
                    0..,
                )
                .map_err(|_| Refused::Forged)?;
            }
        }
        Ok(len)
    }

    /// Seals the report of `len` bytes that begins `room`; how long it is now.
    pub(super) fn seal_report(
        &self,
        place: Place,
        room: &mut [u8],
        len: usize,
    ) -> Result<usize, Refused> {
        let word = (ENCRYPTED | place.index as u32).to_be_bytes();
        let (report, tail) = room.split_at_mut_checked(len).ok_or(Refused::Malformed)?;
        let (head, secret) = report.split_at_mut_checked(REPORT).ok_or(Refused::Malformed)?;
        match self {
            Self::Counter(counter) => {
                let tail = tail.get_mut(..WORD + counter.tag).ok_or(Refused::Malformed)?;
                counter.xor(place, secret);
                let mac = counter.mac(&[report, &word]);
                let (after, tag) = tail.split_at_mut(WORD);
                after.copy_from_slice(&word);
                tag.copy_from_slice(mac.get(..counter.tag).ok_or(Refused::Malformed)?);
                Ok(len + WORD + counter.tag)
            }
            Self::Gcm(gcm) => {
                let Gcm { key, salt } = &**gcm;
                let tail = tail.get_mut(..GCM_TAG + WORD).ok_or(Refused::Malformed)?;
                let aad = report_aad(head, word);
                let nonce = nonce(salt, place, Use::Reports);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), secret)
                    .map_err(|_| Refused::Malformed)?;
                let (before, after) = tail.split_at_mut(GCM_TAG);
                before.copy_from_slice(tag.as_ref());
                after.copy_from_slice(&word);
                Ok(len + GCM_TAG + WORD)
            }
        }
    }

    /// The index that a sealed report shows.
    pub(super) fn report_index(&self, report: &[u8]) -> Result<u64, Refused> {
        Ok(u64::from(self.report_word(report)? & !ENCRYPTED))
    }

    fn report_word(&self, report: &[u8]) -> Result<u32, Refused> {
        let behind = match self {
            Self::Counter(counter) => counter.tag,
            Self::Gcm(_) => 0,
        };
        let end = report.len().checked_sub(behind).ok_or(Refused::Malformed)?;
        let word = report.get(..end).and_then(<[u8]>::last_chunk).ok_or(Refused::Malformed)?;
        Ok(u32::from_be_bytes(*word))
    }

    /// Opens a report; how long it is now. A forged one may be destroyed.
    pub(super) fn open_report(&self, ssrc: u32, report: &mut [u8]) -> Result<usize, Refused> {
        let word = self.report_word(report)?;
        let place = Place { ssrc, index: u64::from(word & !ENCRYPTED) };
        let is_secret = word & ENCRYPTED != 0;
        let grown = match self {
            Self::Counter(counter) => counter.tag + WORD,
            Self::Gcm(_) => GCM_TAG + WORD,
        };
        let len = report.len().checked_sub(grown).ok_or(Refused::Malformed)?;
        let (report, tail) = report.split_at_mut_checked(len).ok_or(Refused::Malformed)?;
        if len < REPORT {
            return Err(Refused::Malformed);
        }
        match self {
            Self::Counter(counter) => {
                let tag = tail.get(WORD..).ok_or(Refused::Malformed)?;
                counter.verify(&[report, &word.to_be_bytes()], tag)?;
                if is_secret {
                    counter.xor(place, report.get_mut(REPORT..).ok_or(Refused::Malformed)?);
                }
            }
            // RFC 7714 §9.3 has it both ways; who agreed on AES-GCM has no reason not to encrypt.
            Self::Gcm(_) if !is_secret => return Err(Refused::Forged),
            Self::Gcm(gcm) => {
                let Gcm { key, salt } = &**gcm;
                let (head, secret) =
                    report.split_at_mut_checked(REPORT).ok_or(Refused::Malformed)?;
                let tag = tail.get(..GCM_TAG).ok_or(Refused::Malformed)?;
                let tag = Tag::try_from(tag).map_err(|_| Refused::Malformed)?;
                key.open_in_place_separate_tag(
                    nonce(salt, place, Use::Reports),
                    Aad::from(report_aad(head, word.to_be_bytes())),
                    tag,
                    secret,
                    0..,
                )
                .map_err(|_| Refused::Forged)?;
            }
        }
        Ok(len)
    }

    fn sound_tag(&self) -> usize {
        match self {
            Self::Counter(counter) => counter.tag,
            Self::Gcm(_) => GCM_TAG,
        }
    }
}

impl Counter {
    /// RFC 3711 §4.1.1: the first counter is made of salt, stream and index.
    fn xor(&self, place: Place, secret: &mut [u8]) {
        let mut block = [0; 16];
        block[..14].copy_from_slice(&self.salt);
        let [.., i2, i3, i4, i5, i6, i7] = place.index.to_be_bytes();
        let [s0, s1, s2, s3] = place.ssrc.to_be_bytes();
        let unique = [s0, s1, s2, s3, i2, i3, i4, i5, i6, i7];
        for (byte, unique) in block.iter_mut().skip(4).zip(unique) {
            *byte ^= unique;
        }
        xor_keystream(&self.aes, &block, secret);
    }

    fn mac(&self, parts: &[&[u8]; 2]) -> [u8; 20] {
        self.fed(parts).finalize().into_bytes().into()
    }

    /// In constant time.
    fn verify(&self, parts: &[&[u8]; 2], tag: &[u8]) -> Result<(), Refused> {
        self.fed(parts).verify_truncated_left(tag).map_err(|_| Refused::Forged)
    }

    fn fed(&self, parts: &[&[u8]; 2]) -> Hmac<Sha1> {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

/// The part of an index that its packet does not show, which is sealed with it.
fn turn(place: Place) -> [u8; 4] {
    ((place.index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 §8.1 and §9.1.
fn nonce(salt: &[u8; NONCE_LEN], place: Place, kind: Use) -> Nonce {
    let [_, _, i2, i3, i4, i5, i6, i7] = place.index.to_be_bytes();
    let [s0, s1, s2, s3] = place.ssrc.to_be_bytes();
    let mut bytes = match kind {
        Use::Sound => [0, 0, s0, s1, s2, s3, i2, i3, i4, i5, i6, i7],
        Use::Reports => [0, 0, s0, s1, s2, s3, 0, 0, i4, i5, i6, i7],
    };
    bytes.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    Nonce::assume_unique_for_key(bytes)
}

fn report_aad(head: &[u8], word: [u8; WORD]) -> [u8; AAD] {
    let mut aad = [0; AAD];
    let (first, last) = aad.split_at_mut(REPORT);
    first.iter_mut().zip(head).for_each(|(byte, head)| *byte = *head);
    last.copy_from_slice(&word);
    aad
}
