//! Packets that we made ourselves, until the worker has sent them.

use std::net::SocketAddr;

use crate::packet::{Packet, ROOM};
use crate::session::{Port, Slot};

/// How many wait at most: while it is full, no more are made.
const MOST: usize = 32;

/// A packet of ours, and where it goes.
#[derive(Debug)]
pub(crate) struct Transmit<'a> {
    /// Out of this side's
    pub(crate) slot: Slot,
    /// port,
    pub(crate) port: Port,
    /// to its peer.
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
}

/// The packets, in the order in which they were made. Their memory is taken once.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    made: Vec<Made>,
    first: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Made {
    slot: Slot,
    port: Port,
    to: SocketAddr,
    len: usize,
    room: Box<[u8; ROOM]>,
}

impl Outbox {
    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting == MOST
    }

    /// For how many there is room.
    pub(crate) fn left(&self) -> usize {
        MOST - self.waiting
    }

    /// Adds what `make` makes, if it makes anything and there is room.
    pub(crate) fn add(
        &mut self,
        slot: Slot,
        make: impl FnOnce(&mut Packet<'_>) -> Option<(Port, SocketAddr)>,
    ) {
        if self.is_full() {
            return;
        }
        let at = (self.first + self.waiting) % MOST;
        if at == self.made.len() {
            let (port, to) = (Port::Sound, SocketAddr::from(([0, 0, 0, 0], 0)));
            self.made.push(Made { slot, port, to, len: 0, room: Box::new([0; ROOM]) });
        }
        let Some(made) = self.made.get_mut(at) else { return };
        let Some(mut packet) = Packet::new(&mut *made.room, 0) else { return };
        let Some((port, to)) = make(&mut packet) else { return };
        made.len = packet.len();
        (made.slot, made.port, made.to) = (slot, port, to);
        self.waiting += 1;
    }

    /// The oldest.
    pub(crate) fn take(&mut self) -> Option<Transmit<'_>> {
        self.waiting = self.waiting.checked_sub(1)?;
        let made = self.made.get(self.first)?;
        self.first = (self.first + 1) % MOST;
        let Made { slot, port, to, len, room } = made;
        Some(Transmit {
            slot: *slot,
            port: *port,
            to: *to,
            bytes: room.get(..*len).unwrap_or_default(),
        })
    }
}
