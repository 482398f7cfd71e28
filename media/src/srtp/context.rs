//! One master key in use: what it does to packets, and what is known of each stream under it.
//!
//! RFC 3711 §3.2. Streams are never forgotten while their key is in use: what was forgotten could be
//! replayed, or sealed a second time under the same index.

use pbx::media::{Key, Suite};
use zeroize::Zeroizing;

use super::Refused;
use super::keys::Use;
use super::transform::Transform;

/// A phone has one stream, and a few more after transfers; beyond these new ones are refused.
pub(super) const STREAMS: usize = 64;

/// One key in use; `S` is what is known of a stream.
pub(super) struct Context<S> {
    suite: Suite,
    material: Zeroizing<Vec<u8>>,
    pub(super) sound: Transform,
    pub(super) reports: Transform,
    streams: Vec<(u32, S)>,
}

impl<S> Context<S> {
    /// A key of which nothing is known yet; `None` if it is not as long as its suite says.
    pub(super) fn new(key: &Key) -> Option<Self> {
        Some(Self {
            suite: key.suite,
            material: Zeroizing::new(key.material.clone()),
            sound: Transform::new(key, Use::Sound)?,
            reports: Transform::new(key, Use::Reports)?,
            streams: Vec::new(),
        })
    }

    /// Whether it is this key.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.suite == key.suite && *self.material == key.material
    }

    /// What is known of a stream, and what is done to its packets.
    pub(super) fn stream(&mut self, ssrc: u32) -> Option<&mut S> {
        self.streams.iter_mut().find(|(known, _)| *known == ssrc).map(|(_, stream)| stream)
    }

    /// All that are known.
    pub(super) fn streams(&self) -> &[(u32, S)] {
        &self.streams
    }

    /// Makes a stream known.
    pub(super) fn add(&mut self, ssrc: u32, stream: S) -> Result<&mut S, Refused> {
        if self.streams.len() >= STREAMS {
            return Err(Refused::Exhausted);
        }
        if self.streams.is_empty() {
            // Most phones have one, and a list makes room for four.
            self.streams.reserve_exact(1);
        }
        Ok(&mut self.streams.push_mut((ssrc, stream)).1)
    }
}
