//! Randomness as an input: one seeded generator a switch, fixed in tests.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::{Builder, Uuid};

use crate::moment::Moment;

/// The only source of tags, branches, Call-IDs, nonces and ids.
#[derive(Debug)]
pub struct Chance(ChaCha20Rng);

impl Chance {
    /// Starts from `seed`; the same seed tells the same story.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Any 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, or zero if `end` is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A UUIDv7 (RFC 9562 §5.7): ids made later sort later.
    pub fn uuid(&mut self, now: Moment) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        Builder::from_unix_timestamp_millis(now.as_millis(), &random).into_uuid()
    }
}
