//! What is ours in a leg's descriptions and a secret: the keys we send with, and ICE's password.
//!
//! RFC 4568 §6.1, RFC 8445 §5.3. All of it grows from one seed a leg, so that a call that is taken
//! over after a restart, held or moved keeps its keys, and each suite has a key of its own.

use serde::{Deserialize, Serialize};

use super::crypto::length_of;
use crate::chance::Chance;
use crate::media::{Key, Suite};

/// Where a leg's keys come from. Debug shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed([u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// What is drawn from a seed, one row of chance each.
#[derive(Debug, Clone, Copy)]
enum Row {
    Gcm = 1,
    Sha80 = 2,
    Sha32 = 3,
    Ice = 4,
}

impl Seed {
    /// A new one.
    pub fn draw(chance: &mut Chance) -> Self {
        let mut seed = [0; 32];
        chance.fill(&mut seed);
        Self(seed)
    }

    /// The key that we send with.
    pub(super) fn key(&self, suite: Suite) -> Key {
        let row = match suite {
            Suite::AeadAes128Gcm => Row::Gcm,
            Suite::AesCm128HmacSha1_80 => Row::Sha80,
            Suite::AesCm128HmacSha1_32 => Row::Sha32,
        };
        let mut material = vec![0; length_of(suite)];
        self.row(row).fill(&mut material);
        Key { suite, material }
    }

    /// Our `ice-ufrag` and `ice-pwd`: 40 and 160 bits of chance.
    pub(super) fn ice(&self) -> (String, String) {
        const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut row = self.row(Row::Ice);
        let mut word = |length: usize| -> String {
            (0..length).map(|_| char::from(LETTERS[row.number() as usize & 31])).collect()
        };
        (word(8), word(32))
    }

    /// ChaCha20 with the seed as its key; the first bytes it gives become the key of a row, so that
    /// rows tell nothing of each other.
    fn row(&self, row: Row) -> Chance {
        let mut chance = Chance::from_seed(self.0);
        let mut seed = [0; 32];
        for _ in 0..row as u8 {
            chance.fill(&mut seed);
        }
        Chance::from_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_and_every_leg_has_a_key_of_its_own_that_stays() {
        let mut chance = Chance::from_seed([7; 32]);
        let (one, other) = (Seed::draw(&mut chance), Seed::draw(&mut chance));
        let suites = [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32];
        let mut all: Vec<Vec<u8>> = vec![];
        for suite in suites {
            assert_eq!(one.key(suite), one.clone().key(suite));
            assert_eq!(one.key(suite).material.len(), length_of(suite));
            all.extend([one.key(suite).material, other.key(suite).material]);
        }
        for (at, key) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other[..28] != key[..28]));
        }
        let (name, password) = one.ice();
        assert_eq!((name.len(), password.len()), (8, 32));
        assert_ne!(one.ice(), other.ice());
        assert_eq!(format!("{one:?}"), "Seed");
    }
}
