//! Keys that stand in a description: read from `a=crypto` lines, and written.
//!
//! RFC 4568 §9.1, RFC 7714 §14. A line that asks for more than we do (several keys, an identifier of
//! the key in each packet, packets left unencrypted) is passed over as §5.1.2 allows; the next one
//! is as good. Nothing here shows a key by `Debug`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::media::{Key, Suite};

/// What we can do, the best first.
pub(super) const SUITES: [Suite; 3] =
    [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];

/// The most lines of a description that are looked at.
const MOST: usize = 16;
/// The longest tag, in digits (§9.1).
const LONGEST_TAG: usize = 9;
/// A key may be good for 2^48 packets at most (RFC 3711 §9.2), as the exponent.
const LONGEST_LIFE: u32 = 48;

/// A line that we can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypto {
    /// What an answer names it by.
    pub(super) tag: u32,
    /// What its sender encrypts with.
    pub(super) key: Key,
}

impl Crypto {
    /// The lines that we can do, in their order.
    pub(super) fn all_of<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Self> {
        values.take(MOST).filter_map(Self::read).collect()
    }

    /// Reads what follows `a=crypto:`.
    fn read(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?;
        let digits = tag.len() <= LONGEST_TAG && tag.bytes().all(|byte| byte.is_ascii_digit());
        let tag = tag.parse().ok().filter(|_| digits)?;
        let suite = suite_of(words.next()?)?;
        let material = material_of(words.next()?, suite)?;
        words.all(is_harmless).then_some(Self { tag, key: Key { suite, material } })
    }

    /// What follows `a=crypto:`.
    pub(super) fn write(&self) -> String {
        let Key { suite, material } = &self.key;
        format!("{} {} inline:{}", self.tag, name_of(*suite), BASE64.encode(material))
    }
}

/// A suite's name.
pub fn name_of(suite: Suite) -> &'static str {
    match suite {
        Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
    }
}

/// Bytes of key and salt.
pub(super) fn length_of(suite: Suite) -> usize {
    match suite {
        Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => 30,
        Suite::AeadAes128Gcm => 28,
    }
}

fn suite_of(name: &str) -> Option<Suite> {
    SUITES.into_iter().find(|suite| name_of(*suite).eq_ignore_ascii_case(name))
}

/// `inline:<key>` or `inline:<key>|2^31`; with an identifier (`|1:4`) or a second key it is none of
/// ours.
fn material_of(word: &str, suite: Suite) -> Option<Vec<u8>> {
    let (method, rest) = word.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let mut parts = rest.split('|');
    let material = BASE64.decode(parts.next()?).ok()?;
    let lives = parts.all(|life| {
        let exponent = life.strip_prefix("2^").and_then(|exponent| exponent.parse::<u32>().ok());
        exponent.is_some_and(|exponent| exponent <= LONGEST_LIFE)
    });
    (lives && material.len() == length_of(suite)).then_some(material)
}

/// Session parameters that ask for nothing: a hint for the replay window, or keys that are derived
/// once, which is how it is done anyway (RFC 4568 §6.3).
fn is_harmless(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    match name.to_ascii_uppercase().as_str() {
        "WSH" => value.parse::<u32>().is_ok_and(|window| window >= 64),
        "KDR" => value == "0",
        _ => false,
    }
}

/// RFC 4648 §4; what fills up the end may be missing, and what it hides is not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4568 §6.1's example key, 30 bytes.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn read(value: &str) -> Option<Crypto> {
        Crypto::read(value)
    }

    #[test]
    fn reads_what_phones_write_and_writes_it_as_it_was() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let crypto = read(&line).unwrap();
        assert_eq!((crypto.tag, crypto.key.suite), (1, Suite::AesCm128HmacSha1_80));
        assert_eq!(crypto.key.material, b"wDfvg&T+)xG7@fb5jU,RaA}\\|p0%*#");
        assert_eq!(crypto.write(), line);
        for like in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31"),
            format!("1 aes_cm_128_hmac_sha1_80 INLINE:{KEY}|2^48 WSH=64 KDR=0"),
            format!("1  AES_CM_128_HMAC_SHA1_80  inline:{KEY}"),
        ] {
            assert_eq!(read(&like).as_ref(), Some(&crypto), "{like}");
        }
        let gcm = Crypto {
            tag: 999_999_999,
            key: Key { suite: Suite::AeadAes128Gcm, material: (0..28).collect() },
        };
        assert!(gcm.write().ends_with("GBkaGw=="), "{}", gcm.write());
        assert_eq!(read(&gcm.write()), Some(gcm.clone()));
        assert_eq!(read(gcm.write().trim_end_matches('=')), Some(gcm));
    }

    #[test]
    fn passes_over_what_we_do_not_do() {
        for line in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1048576"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=3"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_256_CM_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AEAD_AES_128_GCM inline:{KEY}"),
            format!("0123456789 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:abc".to_owned(),
            "1 AES_CM_128_HMAC_SHA1_80".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&line), None, "{line}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let crypto = read(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        let shown = format!("{crypto:?}");
        assert!(shown.contains("AesCm128HmacSha1_80") && !shown.contains("119"), "{shown}");
    }

    #[test]
    fn only_letters_of_the_alphabet_are_bytes() {
        assert_eq!(BASE64.decode("Zm9vYg==").ok(), Some(b"foob".to_vec()));
        assert_eq!(BASE64.decode("Zm9vYmE").ok(), Some(b"fooba".to_vec()));
        for wrong in ["Z", "Zm9v Yg", "Zm9v-g==", "===="] {
            assert!(BASE64.decode(wrong).is_err(), "{wrong}");
        }
    }
}
