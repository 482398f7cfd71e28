//! One port after the other: the kernel says which hold something, and each is read and sent from
//! by calls of its own. Works everywhere.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use super::pairs::{Pairs, Place};
use super::{At, Carried, Onward};
use crate::packet::{Packet, ROOM};
use crate::session::Slot;
use crate::socket::Pair;

/// How many ready ports are served before wishes are looked at again.
const READY: usize = 256;
/// The token of what wakes us; no slot has it.
const WAKE: u64 = u64::MAX;

/// The kernel's list of ports that hold something.
pub(super) struct Epoll {
    epoll: nix::sys::epoll::Epoll,
    wake: Arc<EventFd>,
    ready: Box<[EpollEvent; READY]>,
    count: usize,
    room: Room,
}

impl Epoll {
    pub(super) fn new(wake: Arc<EventFd>) -> io::Result<Self> {
        let epoll = nix::sys::epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let ready = Box::new([EpollEvent::empty(); READY]);
        Ok(Self { epoll, wake, ready, count: 0, room: Room::new() })
    }

    pub(super) fn open(&self, slot: Slot, pair: &Pair) -> io::Result<()> {
        for place in [Place::Sound, Place::Reports] {
            self.watch(slot, place, pair.socket(place.port()))?;
        }
        Ok(())
    }

    pub(super) fn watch(&self, slot: Slot, place: Place, socket: &UdpSocket) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token(slot, place));
        Ok(self.epoll.add(socket.as_fd(), event)?)
    }

    pub(super) fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let patience = match patience {
            None => EpollTimeout::NONE,
            // Rounded up: a deadline is not to be woken for before it is there.
            Some(long) => EpollTimeout::try_from(long + Duration::from_micros(999))
                .unwrap_or(EpollTimeout::MAX),
        };
        self.count = match self.epoll.wait(self.ready.as_mut_slice(), patience) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    pub(super) fn relay<F>(&mut self, pairs: &Pairs, mut onward: F) -> Carried
    where
        F: FnMut(At, SocketAddr, &mut Packet<'_>) -> Option<Onward>,
    {
        let mut carried = Carried::default();
        for event in self.ready.iter().take(self.count) {
            let Some((slot, place)) = read(event.data()) else {
                let _ = self.wake.read();
                continue;
            };
            let Some(socket) = pairs.socket(slot, place) else { continue };
            let at = (slot, place.port());
            let read = match self.room.read(socket) {
                Ok(read) => read,
                Err(error) => {
                    // An error of the network, told once and gone: the port stays open.
                    tracing::debug!(?at, %error, "a port could not be read");
                    continue;
                }
            };
            // Level-triggered: what is left is told again, after the other ports had their turn.
            let Some((source, mut packet)) = read else { continue };
            let Some((out, address)) = onward(at, source, &mut packet) else { continue };
            let sent = match pairs.out(out, address) {
                Some((socket, Some(address))) => socket.send_to(packet.bytes(), address),
                Some((socket, None)) => socket.send(packet.bytes()),
                None => continue,
            };
            match sent {
                Ok(_) => {
                    carried.relayed += 1;
                    carried.bytes += packet.len() as u64;
                }
                Err(_) => carried.unsent += 1,
            }
        }
        self.count = 0;
        carried
    }
}

/// Room for one datagram: made once a thread, so that no packet allocates.
struct Room(Box<[u8; ROOM]>);

impl Room {
    fn new() -> Self {
        Self(Box::new([0; ROOM]))
    }

    /// Reads the datagram that waits at a port; `None` if none waits, or one that is too long.
    ///
    /// One a call, although the kernel would give many: a phone sends one every 20 ms, so more wait
    /// only after a stall or in a flood, and then other ports come first. `recvmmsg` was
    /// measured and was not cheaper.
    fn read(&mut self, socket: &UdpSocket) -> io::Result<Option<(SocketAddr, Packet<'_>)>> {
        match socket.recv_from(self.0.as_mut_slice()) {
            Ok((len, source)) => {
                Ok(Packet::new(self.0.as_mut_slice(), len).map(|packet| (source, packet)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn token(slot: Slot, place: Place) -> u64 {
    (slot.index() as u64) << 2 | place.number()
}

fn read(token: u64) -> Option<(Slot, Place)> {
    let slot = (token != WAKE).then_some(token >> 2)?;
    let slot = usize::try_from(slot).ok().and_then(Slot::from_index)?;
    Some((slot, Place::read(token & 3)?))
}
