//! The cluster key: it seals what must be read again, and yields every other key we need.
//!
//! XChaCha20-Poly1305 (RFC 8439 with the extended nonce of draft-irtf-cfrg-xchacha) for sealing,
//! HKDF-SHA-256 (RFC 5869) for deriving.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use pbx::id::TenantId;
use sha2::Sha256;
use uuid::Uuid;

const NONCE_BYTES: usize = 24;
/// Keys a file may hold: the one in use, and those it replaced.
const KEYS: usize = 16;

/// The key that all nodes of a cluster share, and those that it replaced.
#[derive(Clone)]
pub struct ClusterKey {
    current: Key,
    older: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: i32,
    bytes: [u8; 32],
}

/// A sealed secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key opens it.
    pub key: i32,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
}

/// Where a secret lives: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which column.
    pub field: &'static str,
    /// Which row.
    pub row: Uuid,
}

/// Why there is no cluster key.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// The file could not be read or made.
    #[error("cluster key {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it holds is no key.
    #[error("cluster key {}, line {line}: 32 bytes in hex or base64 are needed", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// Which line of it.
        line: usize,
    },
}

impl ClusterKey {
    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { current: Key::new(bytes), older: vec![] }
    }

    /// Reads the key file: a key a line in hex or base64, the one in use first.
    ///
    /// # Errors
    /// If there is no such file, or it holds no key.
    pub fn read(path: &Path) -> Result<Self, BadKey> {
        let failed = |source| BadKey::File { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        let mut keys = vec![];
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = || BadKey::Text { path: path.to_owned(), line: index + 1 };
            keys.push(Key::new(key_bytes(line.trim()).ok_or_else(wrong)?));
            if keys.len() > KEYS {
                return Err(wrong());
            }
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(BadKey::Text { path: path.to_owned(), line: 1 })?;
        Ok(Self { current, older: keys.collect() })
    }

    /// Reads the key file, or makes one that only we can read if there is none.
    ///
    /// # Errors
    /// If it can be neither read nor made.
    pub fn read_or_make(path: &Path) -> Result<Self, BadKey> {
        match Self::read(path) {
            Err(BadKey::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let failed = |source| BadKey::File { path: path.to_owned(), source };
                make(path).map_err(failed)?;
                Self::read(path)
            }
            other => other,
        }
    }

    /// Seals a secret for one place.
    pub fn seal(&self, place: Place, secret: &str) -> Sealed {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.as_bytes(), aad: &place.bytes() };
        let sealed = self.current.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("only secrets of many gigabytes cannot be sealed");
        Sealed { key: self.current.id, bytes: [nonce.as_slice(), &sealed].concat() }
    }

    /// Opens what was sealed for this place; `None` if it was not, or not with a key of ours.
    pub fn open(&self, place: Place, sealed: &Sealed) -> Option<String> {
        let mut keys = std::iter::once(&self.current).chain(&self.older);
        let key = keys.find(|key| key.id == sealed.key)?;
        let (nonce, sealed) = sealed.bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: &place.bytes() };
        String::from_utf8(key.cipher().decrypt(&XNonce::from(*nonce), payload).ok()?).ok()
    }

    /// Whether new secrets are sealed with the key that sealed this one.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        sealed.key == self.current.id
    }

    /// A key for one purpose, the same on every node; `label` names the purpose.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        self.current.derive(label)
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKey").field("id", &self.current.id).finish_non_exhaustive()
    }
}

impl Key {
    fn new(bytes: [u8; 32]) -> Self {
        let mut key = Self { id: 0, bytes };
        let [a, b, c, d, ..] = key.derive("key id");
        key.id = i32::from_be_bytes([a, b, c, d]);
        key
    }

    fn derive(&self, label: &str) -> [u8; 32] {
        let mut derived = [0; 32];
        let expanded =
            Hkdf::<Sha256>::new(None, &self.bytes).expand(label.as_bytes(), &mut derived);
        expanded.expect("32 bytes are fewer than HKDF can give");
        derived
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derive("sealing").into())
    }
}

impl Place {
    fn bytes(&self) -> Vec<u8> {
        [self.tenant.0.as_bytes(), self.field.as_bytes(), self.row.as_bytes()].concat()
    }
}

fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written beside it and linked, so that nobody ever reads half a key or replaces one.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let key: [u8; 32] = rand::random();
    let written = writeln!(file, "{}", STANDARD.encode(key)).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn key_bytes(text: &str) -> Option<[u8; 32]> {
    let decoded = if text.len() == 64 { hex(text) } else { STANDARD.decode(text).ok() };
    decoded?.try_into().ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    Some(digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tenant: u128, row: u128) -> Place {
        let (tenant, row) = (TenantId(Uuid::from_u128(tenant)), Uuid::from_u128(row));
        Place { tenant, field: "extension.password", row }
    }

    #[test]
    fn a_secret_opens_only_where_it_was_sealed_and_untouched() {
        let key = ClusterKey::new([7; 32]);
        let sealed = key.seal(place(1, 2), "s3cret");
        assert_eq!(key.open(place(1, 2), &sealed).as_deref(), Some("s3cret"));
        assert_eq!(key.open(place(9, 2), &sealed), None, "another tenant");
        assert_eq!(key.open(place(1, 9), &sealed), None, "another row");
        assert_eq!(ClusterKey::new([8; 32]).open(place(1, 2), &sealed), None, "another key");
        let mut touched = sealed.clone();
        touched.bytes[30] ^= 1;
        assert_eq!(key.open(place(1, 2), &touched), None);
        touched.bytes.truncate(10);
        assert_eq!(key.open(place(1, 2), &touched), None);
    }

    #[test]
    fn the_same_secret_never_looks_the_same_twice() {
        let key = ClusterKey::new([7; 32]);
        assert_ne!(key.seal(place(1, 2), "a").bytes, key.seal(place(1, 2), "a").bytes);
    }

    #[test]
    fn a_replaced_key_still_opens_and_each_purpose_has_its_own() {
        let folder = std::env::temp_dir().join(format!("tenantd-key-{}", Uuid::from_u128(77)));
        let _ = fs::remove_dir_all(&folder);
        let path = folder.join("cluster.key");
        let first = ClusterKey::read_or_make(&path).unwrap();
        let again = ClusterKey::read_or_make(&path).unwrap();
        assert_eq!(first.derive("nonces"), again.derive("nonces"), "made once, then read");
        assert_ne!(first.derive("nonces"), first.derive("tags"));

        let sealed = first.seal(place(1, 2), "old");
        let text = format!("{}\n{}", "0f".repeat(32), fs::read_to_string(&path).unwrap());
        fs::write(&path, text).unwrap();
        let rotated = ClusterKey::read(&path).unwrap();
        assert_eq!(rotated.open(place(1, 2), &sealed).as_deref(), Some("old"));
        assert!(!rotated.is_current(&sealed));
        assert_ne!(rotated.derive("nonces"), first.derive("nonces"));

        fs::write(&path, "short\n").unwrap();
        let told = ClusterKey::read(&path).unwrap_err().to_string();
        assert!(told.ends_with("line 1: 32 bytes in hex or base64 are needed"), "{told}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
