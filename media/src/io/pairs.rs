//! A thread's open ports, by the slot of the side that has them.

use std::net::UdpSocket;

use super::At;
use crate::session::Slot;
use crate::socket::Pair;

/// As many as the side with the highest slot needs: slots are used again, lowest or not.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Option<Pair>>);

impl Pairs {
    /// Puts a pair in its place.
    pub(super) fn put(&mut self, slot: Slot, pair: Pair) {
        if self.0.len() <= slot.index() {
            self.0.resize_with(slot.index() + 1, || None);
        }
        if let Some(place) = self.0.get_mut(slot.index()) {
            *place = Some(pair);
        }
    }

    /// Takes it out.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Pair> {
        self.0.get_mut(slot.index())?.take()
    }

    /// One of its two ports.
    pub(super) fn socket(&self, (slot, port): At) -> Option<&UdpSocket> {
        self.0.get(slot.index())?.as_ref().map(|pair| pair.socket(port))
    }
}
