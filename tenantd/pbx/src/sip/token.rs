//! The names we give to dialogs and transactions, so that what comes back says whose it is.
//!
//! Tags (RFC 3261 §19.3) and branches (§8.1.1.7). Each holds the tenant's random route number, a key
//! of our own choice, and a keyed hash over both, so that an edge knows a forged one before it
//! queues anything. Never a thread or a node: a tenant may move.

use std::fmt;
use std::hash::Hasher;
use std::ops::Deref;

use siphasher::sip::SipHasher24;

use super::base32::{self, WRITTEN};

/// What every branch of this protocol version begins with.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// Seals and opens tokens.
#[derive(Clone)]
pub struct TokenKey([u8; 16]);

/// A tag's or a branch's text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    text: [u8; MAGIC_COOKIE.len() + WRITTEN],
    use_as: Use,
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The tenant's route number.
    pub route: u64,
    /// What we chose.
    pub key: u64,
}

/// A tag never passes for a branch, nor the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Use {
    Tag,
    Branch,
}

impl TokenKey {
    /// From 16 secret bytes.
    pub fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// A tag, 39 characters long.
    pub fn tag(&self, route: u64, key: u64) -> Token {
        self.seal(Use::Tag, route, key)
    }

    /// A branch: the magic cookie, then 39 characters.
    pub fn branch(&self, route: u64, key: u64) -> Token {
        self.seal(Use::Branch, route, key)
    }

    /// What a tag or a branch says, if we wrote it.
    pub fn read(&self, text: &str) -> Option<Opened> {
        let (use_as, written) = match text.as_bytes().split_at_checked(MAGIC_COOKIE.len()) {
            Some((cookie, rest)) if cookie.eq_ignore_ascii_case(MAGIC_COOKIE.as_bytes()) => {
                (Use::Branch, rest)
            }
            Some(_) | None => (Use::Tag, text.as_bytes()),
        };
        let [route, key, hash] = base32::decode(written)?;
        // One comparison of two words takes the same time wherever they differ.
        (hash == self.hash(use_as, route, key)).then_some(Opened { route, key })
    }

    fn seal(&self, use_as: Use, route: u64, key: u64) -> Token {
        let hash = self.hash(use_as, route, key);
        let mut text = [0; MAGIC_COOKIE.len() + WRITTEN];
        let (cookie, written) = text.split_at_mut(MAGIC_COOKIE.len());
        cookie.copy_from_slice(MAGIC_COOKIE.as_bytes());
        written.copy_from_slice(&base32::encode([route, key, hash]));
        Token { text, use_as }
    }

    fn hash(&self, use_as: Use, route: u64, key: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(match use_as {
            Use::Tag => b't',
            Use::Branch => b'b',
        });
        hasher.write(&route.to_be_bytes());
        hasher.write(&key.to_be_bytes());
        hasher.finish()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

impl Token {
    /// The text.
    pub fn as_str(&self) -> &str {
        let text = match self.use_as {
            Use::Tag => &self.text[MAGIC_COOKIE.len()..],
            Use::Branch => &self.text[..],
        };
        std::str::from_utf8(text).expect("it was written in letters and digits")
    }
}

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_token_comes_back_as_it_was_given() {
        let (key, mut chance) = (TokenKey::new([3; 16]), Chance::from_seed([2; 32]));
        for _ in 0..1_000 {
            let said = Opened { route: chance.number(), key: chance.number() };
            let (tag, branch) = (key.tag(said.route, said.key), key.branch(said.route, said.key));
            assert_eq!((tag.len(), branch.len()), (39, 46));
            assert!(branch.starts_with("z9hG4bK"));
            assert_eq!(key.read(&tag), Some(said));
            assert_eq!(key.read(&branch), Some(said));
        }
    }

    #[test]
    fn a_changed_or_foreign_token_is_not_ours() {
        let (key, mut chance) = (TokenKey::new([3; 16]), Chance::from_seed([4; 32]));
        let branch = key.branch(7, 9);
        for _ in 0..2_000 {
            let mut text = branch.as_str().as_bytes().to_vec();
            let at = 7 + chance.below(39) as usize;
            let other = b"abcdefghijklmnopqrstuvwxyz234567"[chance.below(32) as usize];
            if text[at] != other {
                text[at] = other;
                assert_eq!(key.read(std::str::from_utf8(&text).unwrap()), None);
            }
        }
        assert_eq!(TokenKey::new([4; 16]).read(&branch), None);
        for text in ["", "z9hG4bK", "z9hG4bKnashds8", "äöü", "z9hG4bä", "1928301774"] {
            assert_eq!(key.read(text), None);
        }
    }

    #[test]
    fn a_tag_does_not_pass_for_a_branch() {
        let key = TokenKey::new([3; 16]);
        assert_eq!(key.read(&format!("z9hG4bK{}", key.tag(7, 9))), None);
        assert_eq!(key.read(&key.branch(7, 9)[7..]), None);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", TokenKey::new([0x41; 16])), "TokenKey");
    }
}
