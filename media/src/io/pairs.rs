//! A thread's open ports, by the slot of the side that has them.
//!
//! A peer that stays where it is has a socket of its own beside the pair's: the same port, connected to
//! that peer. The kernel then need not find the way again for each packet. Whoever else sends to that
//! port still comes to the pair's own socket, so a peer that moves is heard.

use std::net::{SocketAddr, UdpSocket};

use super::At;
use crate::session::{Port, Slot};
use crate::socket::Pair;

/// Which of a slot's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The pair's for sound.
    Sound,
    /// The pair's for reports.
    Reports,
    /// The one beside it that is connected to the peer, for sound.
    Settled,
}

impl Place {
    /// Which of the slot's ports it is at.
    pub(super) fn port(self) -> Port {
        match self {
            Self::Sound | Self::Settled => Port::Sound,
            Self::Reports => Port::Reports,
        }
    }

    /// In two bits.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Sound => 0,
            Self::Reports => 1,
            Self::Settled => 2,
        }
    }

    /// From [`Self::number`].
    pub(super) fn read(number: u64) -> Option<Self> {
        [Self::Sound, Self::Reports, Self::Settled].get(usize::try_from(number).ok()?).copied()
    }
}

/// A slot's sockets.
#[derive(Debug)]
struct Sockets {
    pair: Pair,
    settled: Option<(UdpSocket, SocketAddr)>,
}

/// As many as the side with the highest slot needs: slots are used again.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Option<Sockets>>);

impl Pairs {
    /// Puts a pair in its place.
    pub(super) fn put(&mut self, slot: Slot, pair: Pair) {
        if self.0.len() <= slot.index() {
            self.0.resize_with(slot.index() + 1, || None);
        }
        if let Some(place) = self.0.get_mut(slot.index()) {
            *place = Some(Sockets { pair, settled: None });
        }
    }

    /// Takes it out.
    pub(super) fn take(&mut self, slot: Slot) -> Option<Pair> {
        self.0.get_mut(slot.index())?.take().map(|sockets| sockets.pair)
    }

    /// A slot's pair.
    pub(super) fn pair(&self, slot: Slot) -> Option<&Pair> {
        self.sockets(slot).map(|sockets| &sockets.pair)
    }

    /// One of a slot's sockets.
    pub(super) fn socket(&self, slot: Slot, place: Place) -> Option<&UdpSocket> {
        let sockets = self.sockets(slot)?;
        match place {
            Place::Sound | Place::Reports => Some(sockets.pair.socket(place.port())),
            Place::Settled => sockets.settled.as_ref().map(|(socket, _)| socket),
        }
    }

    /// What a packet leaves by, and where that must still be told to go.
    pub(super) fn out(
        &self,
        (slot, port): At,
        to: SocketAddr,
    ) -> Option<(&UdpSocket, Option<SocketAddr>)> {
        let sockets = self.sockets(slot)?;
        match (port, &sockets.settled) {
            (Port::Sound, Some((socket, peer))) if *peer == to => Some((socket, None)),
            (Port::Sound | Port::Reports, _) => Some((sockets.pair.socket(port), Some(to))),
        }
    }

    /// The socket that is connected to a slot's peer, and to whom.
    pub(super) fn settled(&mut self, slot: Slot) -> Option<&mut (UdpSocket, SocketAddr)> {
        self.0.get_mut(slot.index())?.as_mut()?.settled.as_mut()
    }

    /// Puts such a socket beside the pair.
    pub(super) fn settle(&mut self, slot: Slot, socket: UdpSocket, peer: SocketAddr) {
        if let Some(Some(sockets)) = self.0.get_mut(slot.index()) {
            sockets.settled = Some((socket, peer));
        }
    }

    /// Takes it away.
    pub(super) fn unsettle(&mut self, slot: Slot) -> Option<UdpSocket> {
        let settled = self.0.get_mut(slot.index())?.as_mut()?.settled.take();
        settled.map(|(socket, _)| socket)
    }

    fn sockets(&self, slot: Slot) -> Option<&Sockets> {
        self.0.get(slot.index())?.as_ref()
    }
}
