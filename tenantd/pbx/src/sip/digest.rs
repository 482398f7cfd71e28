//! Asking for a password without having it sent: what is hashed, and how we ask.
//!
//! RFC 7616 and RFC 8760. We ask for `auth` only, so no body is ever hashed.

use std::fmt;

use md5::digest::Output;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How a password is hashed (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// MD5.
    Md5,
    /// SHA-256.
    Sha256,
}

/// A hash. What it hides is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hashed {
    /// By MD5.
    Md5([u8; 16]),
    /// By SHA-256.
    Sha256([u8; 32]),
}

/// A hash as lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct Hex {
    digits: [u8; 64],
    len: usize,
}

/// Why we ask for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// There was none, or a wrong one.
    First,
    /// The nonce was old: the phone may try again without asking its user.
    Stale,
}

/// The value of a WWW-Authenticate or Proxy-Authenticate field.
pub fn challenge(realm: &str, nonce: &str, algorithm: Algorithm, occasion: Occasion) -> String {
    let stale = match occasion {
        Occasion::First => "",
        Occasion::Stale => ", stale=true",
    };
    let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let algorithm = algorithm.as_str();
    format!(
        "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
    )
}

/// The MD5 hash of `parts` with a colon between each two.
pub fn md5(parts: &[&str]) -> [u8; 16] {
    joined::<Md5>(parts.iter().map(|part| part.as_bytes())).into()
}

/// The SHA-256 hash of `parts` with a colon between each two.
pub fn sha256(parts: &[&str]) -> [u8; 32] {
    joined::<Sha256>(parts.iter().map(|part| part.as_bytes())).into()
}

impl Algorithm {
    /// Its name in a challenge.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }
}

impl Hashed {
    /// H(username:realm:password): it proves a password and is kept in its place.
    pub fn password(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Self {
        Self::of(algorithm, &[username, realm, password].map(str::as_bytes))
    }

    /// The hash of `parts` with a colon between each two.
    pub(super) fn of(algorithm: Algorithm, parts: &[&[u8]]) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(joined::<Md5>(parts.iter().copied()).into()),
            Algorithm::Sha256 => Self::Sha256(joined::<Sha256>(parts.iter().copied()).into()),
        }
    }

    /// By which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Md5(_) => Algorithm::Md5,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }

    pub(super) fn hex(&self) -> Hex {
        let bytes: &[u8] = match self {
            Self::Md5(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        let mut hex = Hex { digits: [0; 64], len: bytes.len() * 2 };
        for (pair, byte) in hex.digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        hex
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hashed({})", self.algorithm().as_str())
    }
}

impl Hex {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or(&self.digits)
    }
}

fn digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' + (value - 10),
    }
}

fn joined<'a, D: Digest>(parts: impl Iterator<Item = &'a [u8]>) -> Output<D> {
    let mut hasher = D::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_everybody_does() {
        let hash = |algorithm| Hashed::of(algorithm, &[b"a", b"", b"c"]).hex();
        assert_eq!(hash(Algorithm::Md5).as_bytes(), b"a0203ab238a30b95f6c1becc9ecedad9");
        assert_eq!(
            hash(Algorithm::Sha256).as_bytes(),
            b"73204cda9ca18e6544492229524190eb29bfdd7e81f3590b8bbc09cda6e19bfd"
        );
    }

    #[test]
    fn a_challenge_offers_auth_only() {
        assert_eq!(
            challenge("acme.test", "abc", Algorithm::Md5, Occasion::First),
            r#"Digest realm="acme.test", nonce="abc", algorithm=MD5, qop="auth""#
        );
        assert_eq!(
            challenge("a\"b", "abc", Algorithm::Sha256, Occasion::Stale),
            r#"Digest realm="a\"b", nonce="abc", algorithm=SHA-256, qop="auth", stale=true"#
        );
    }

    #[test]
    fn a_hash_is_not_shown() {
        let hash = Hashed::password(Algorithm::Md5, "101", "acme.test", "s3cret");
        assert_eq!(format!("{hash:?}"), "Hashed(MD5)");
    }
}
