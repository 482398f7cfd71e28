//! How packets come in and go out: many ports are served by one system call where the kernel can do
//! that, and else one by one.
//!
//! Two ways: io_uring, which receives and sends by lists that lie between the kernel and us, and
//! epoll, which says which ports hold something. Which one is found out by trying, when a thread starts.

mod arrival;
mod epoll;
mod pairs;
#[allow(unsafe_code, reason = "the kernel writes into our memory")]
mod uring;
#[allow(unsafe_code, reason = "the kernel writes into our memory")]
mod uring_buffers;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::eventfd::EventFd;

use self::epoll::Epoll;
use self::pairs::{Pairs, Place};
use self::uring::Uring;
use crate::packet::Packet;
use crate::session::{Port, Slot};
use crate::socket::Pair;

/// How long a packet on the machine's own network may take when a ring is tried out.
const TRIED_FOR: Duration = Duration::from_millis(500);

/// Which way packets are to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Io {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring, or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// Which way they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    IoUring,
    Epoll,
}

/// Where a packet came in.
pub(crate) type At = (Slot, Port);

/// Where a packet goes: out of this port, to this address.
pub(crate) type Onward = (At, SocketAddr);

/// What the kernel took, and what it did not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Datagrams sent on.
    pub(crate) relayed: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Datagrams that the kernel refused to send.
    pub(crate) unsent: u64,
    /// How often a port found no room to receive into.
    pub(crate) starved: u64,
}

/// A thread's ports, and its way to the network.
pub(crate) struct Wire {
    pairs: Pairs,
    way: Way,
}

enum Way {
    Epoll(Epoll),
    Uring(Box<Uring>),
}

impl Wire {
    /// Finds a way. `wake` ends a wait when it is rung. Beside the wire: why there is no ring,
    /// where one was wanted and could be done without.
    pub(crate) fn new(io: Io, wake: &Arc<EventFd>) -> io::Result<(Self, Option<io::Error>)> {
        let ring = match io {
            Io::Epoll => None,
            Io::Auto | Io::IoUring => Some(Self::ring(wake)),
        };
        match (io, ring) {
            (_, Some(Ok(wire))) => Ok((wire, None)),
            (Io::IoUring, Some(Err(error))) => Err(error),
            (_, error) => {
                let way = Way::Epoll(Epoll::new(Arc::clone(wake))?);
                let why = error.and_then(Result::err);
                Ok((Self { pairs: Pairs::default(), way }, why))
            }
        }
    }

    /// A ring that has carried a packet.
    fn ring(wake: &Arc<EventFd>) -> io::Result<Self> {
        let uring = Uring::new(Arc::clone(wake))?;
        let mut wire = Self { pairs: Pairs::default(), way: Way::Uring(Box::new(uring)) };
        wire.try_out()?;
        Ok(wire)
    }

    /// A container may allow the ring and forbid what it is for, and an old kernel knows only a part.
    fn try_out(&mut self) -> io::Result<()> {
        let any = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (phone, pair) = (any()?, Pair::of(any()?, any()?)?);
        let there = pair.socket(Port::Sound).local_addr()?;
        let slot = Slot::from_index(0).ok_or(io::ErrorKind::InvalidInput)?;
        phone.set_read_timeout(Some(TRIED_FOR))?;
        let back = phone.local_addr()?;
        self.open(slot, pair)?;
        phone.send_to(b"tenantd", there)?;
        self.wait(Some(TRIED_FOR))?;
        self.relay(|at, source, _| (source == back).then_some((at, source)));
        self.wait(Some(Duration::ZERO))?;
        let mut room = [0; 8];
        let heard = phone.recv(&mut room);
        self.close(slot);
        self.relay(|_, _, _| None);
        match (heard?, &room) {
            (7, b"tenantd\0") => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Which way it is.
    pub(crate) fn kind(&self) -> Kind {
        match self.way {
            Way::Epoll(_) => Kind::Epoll,
            Way::Uring(_) => Kind::IoUring,
        }
    }

    /// Receives at a pair's ports from now on.
    pub(crate) fn open(&mut self, slot: Slot, pair: Pair) -> io::Result<()> {
        match &mut self.way {
            Way::Epoll(epoll) => epoll.open(slot, &pair)?,
            Way::Uring(uring) => uring.open(slot, &pair),
        }
        self.pairs.put(slot, pair);
        Ok(())
    }

    /// Closes a pair: nothing comes from it any more, and its ports are free when this returns.
    pub(crate) fn close(&mut self, slot: Slot) {
        self.unsettle(slot);
        let Some(pair) = self.pairs.take(slot) else { return };
        match &mut self.way {
            // Closing the last descriptor of a socket takes it out of the epoll set.
            Way::Epoll(_) => drop(pair),
            Way::Uring(uring) => uring.close(slot, pair),
        }
    }

    /// Sound to and from `peer` takes a socket of its own from now on, which costs less a packet.
    pub(crate) fn settle(&mut self, slot: Slot, peer: SocketAddr) -> io::Result<()> {
        if let Some((socket, settled)) = self.pairs.settled(slot) {
            if *settled != peer {
                socket.connect(peer)?;
                *settled = peer;
            }
            return Ok(());
        }
        let Some(pair) = self.pairs.pair(slot) else { return Ok(()) };
        let socket = pair.connected_to(peer)?;
        match &mut self.way {
            Way::Epoll(epoll) => epoll.watch(slot, Place::Settled, &socket)?,
            Way::Uring(uring) => uring.receive(slot, Place::Settled, &socket),
        }
        self.pairs.settle(slot, socket, peer);
        Ok(())
    }

    /// Whether it does already.
    pub(crate) fn is_settled(&mut self, slot: Slot, peer: SocketAddr) -> bool {
        self.pairs.settled(slot).is_some_and(|(_, settled)| *settled == peer)
    }

    /// Sound takes the pair's own socket again.
    pub(crate) fn unsettle(&mut self, slot: Slot) {
        let Some(socket) = self.pairs.unsettle(slot) else { return };
        match &mut self.way {
            Way::Epoll(_) => drop(socket),
            Way::Uring(uring) => uring.close_settled(slot, socket),
        }
    }

    /// Sends what is to be sent, and waits until something comes; `None`: for ever.
    pub(crate) fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        match &mut self.way {
            Way::Epoll(epoll) => epoll.wait(patience),
            Way::Uring(uring) => uring.wait(&self.pairs, patience),
        }
    }

    /// Sends what came from nobody. What a ring sends leaves with the next wait.
    pub(crate) fn send(&mut self, from: At, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let (socket, to) = self.pairs.out(from, to).ok_or(io::ErrorKind::NotConnected)?;
        match &mut self.way {
            Way::Epoll(_) => match to {
                Some(to) => socket.send_to(bytes, to).map(drop),
                None => socket.send(bytes).map(drop),
            },
            Way::Uring(uring) => uring.send(socket, to, bytes),
        }
    }

    /// Asks where each packet goes that has come, and sends it there. What a ring sends leaves with
    /// the next wait, and is counted after it.
    pub(crate) fn relay<F>(&mut self, onward: F) -> Carried
    where
        F: FnMut(At, SocketAddr, &mut Packet<'_>) -> Option<Onward>,
    {
        match &mut self.way {
            Way::Epoll(epoll) => epoll.relay(&self.pairs, onward),
            Way::Uring(uring) => uring.relay(&self.pairs, onward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wire of each kind that this machine has.
    fn wires() -> Vec<Wire> {
        let bell = Arc::new(EventFd::new().unwrap());
        let mut wires = vec![Wire::new(Io::Epoll, &bell).unwrap().0];
        match Wire::new(Io::IoUring, &bell) {
            Ok((wire, _)) => wires.push(wire),
            Err(error) => eprintln!("SKIPPED: no io_uring here: {error}"),
        }
        wires
    }

    fn socket() -> UdpSocket {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
    }

    /// A pair in a slot, and where its sound is taken.
    fn open(wire: &mut Wire, slot: u32) -> SocketAddr {
        let pair = Pair::of(socket(), socket()).unwrap();
        for port in [Port::Sound, Port::Reports] {
            pair.socket(port).set_nonblocking(true).unwrap();
        }
        let there = pair.socket(Port::Sound).local_addr().unwrap();
        wire.open(Slot::of(slot), pair).unwrap();
        there
    }

    /// Lets everything that is on its way come.
    fn turns(wire: &mut Wire, mut came: impl FnMut(At, &[u8])) -> Carried {
        let mut sum = Carried::default();
        loop {
            wire.wait(Some(Duration::from_millis(20))).unwrap();
            let mut count = 0;
            let carried = wire.relay(|at, _, packet| {
                count += 1;
                came(at, packet.bytes());
                None
            });
            sum.starved += carried.starved;
            sum.unsent += carried.unsent;
            if count == 0 {
                return sum;
            }
        }
    }

    #[test]
    fn what_came_for_a_slots_last_owner_never_reaches_the_next() {
        for mut wire in wires() {
            let phone = socket();
            let old = open(&mut wire, 3);
            phone.send_to(b"for the old one", old).unwrap();
            // It is told of, and perhaps received already, but nobody has looked yet.
            wire.wait(Some(TRIED_FOR)).unwrap();
            wire.close(Slot::of(3));
            let again = UdpSocket::bind(old).expect("the port is free once it is closed");
            let new = open(&mut wire, 3);
            phone.send_to(b"late", old).unwrap();
            phone.send_to(b"for the new one", new).unwrap();
            let mut came = vec![];
            turns(&mut wire, |at, bytes| came.push((at, bytes.to_vec())));
            let expected = ((Slot::of(3), Port::Sound), b"for the new one".to_vec());
            assert_eq!(came, [expected], "{:?}", wire.kind());
            drop(again);
        }
    }

    #[test]
    fn a_settled_peer_is_heard_at_the_same_port_and_so_is_everybody_else() {
        for mut wire in wires() {
            let (peer, other) = (socket(), socket());
            let there = open(&mut wire, 5);
            wire.settle(Slot::of(5), peer.local_addr().unwrap()).unwrap();
            assert!(wire.is_settled(Slot::of(5), peer.local_addr().unwrap()));
            peer.send_to(b"settled", there).unwrap();
            other.send_to(b"other", there).unwrap();
            let mut came = vec![];
            turns(&mut wire, |at, bytes| came.push((at, bytes.to_vec())));
            came.sort_by_key(|(_, bytes)| bytes.len());
            let at = (Slot::of(5), Port::Sound);
            assert_eq!(came, [(at, b"other".to_vec()), (at, b"settled".to_vec())]);

            peer.send_to(b"old", there).unwrap();
            wire.wait(Some(TRIED_FOR)).unwrap();
            wire.unsettle(Slot::of(5));
            peer.send_to(b"new", there).unwrap();
            let mut came = vec![];
            turns(&mut wire, |at, bytes| came.push((at, bytes.to_vec())));
            assert_eq!(came, [(at, b"new".to_vec())], "{:?}", wire.kind());
        }
    }

    #[test]
    fn more_packets_than_there_are_buffers_wait_and_all_come() {
        const PORTS: u32 = 40;
        const EACH: u8 = 60;
        for mut wire in wires() {
            let phone = socket();
            let there: Vec<_> = (0..PORTS).map(|slot| open(&mut wire, slot)).collect();
            wire.wait(Some(Duration::ZERO)).unwrap();
            for number in 0..EACH {
                for port in &there {
                    phone.send_to(&[number], port).unwrap();
                }
            }
            let mut next = [0; PORTS as usize];
            let carried = turns(&mut wire, |(slot, _), bytes| {
                let next = &mut next[slot.index()];
                assert_eq!(bytes, [*next], "in the order in which they were sent");
                *next += 1;
            });
            assert_eq!(next, [EACH; PORTS as usize]);
            assert_eq!(carried.starved > 0, wire.kind() == Kind::IoUring);
        }
    }

    #[test]
    fn what_is_ours_leaves_with_the_next_wait_or_before_its_port_closes() {
        const MANY: u16 = 200;
        for mut wire in wires() {
            let (phone, there) = (socket(), open(&mut wire, 0));
            phone.set_read_timeout(Some(TRIED_FOR)).unwrap();
            let (at, back) = ((Slot::of(0), Port::Sound), phone.local_addr().unwrap());
            let mut heard = |number: u16| {
                let mut room = [0; 8];
                let (len, from) = phone.recv_from(&mut room).unwrap();
                assert_eq!((&room[..len], from), (&number.to_be_bytes()[..], there));
            };
            for number in 0..MANY {
                wire.send(at, back, &number.to_be_bytes()).unwrap();
            }
            wire.wait(Some(Duration::ZERO)).unwrap();
            (0..MANY).for_each(&mut heard);
            wire.send(at, back, &7_u16.to_be_bytes()).unwrap();
            wire.close(Slot::of(0));
            heard(7);
            let (nobody, _) = (SocketAddr::from((Ipv4Addr::BROADCAST, 9)), open(&mut wire, 0));
            let refused = wire.send(at, nobody, b"x").is_err();
            let unsent = turns(&mut wire, |_, _| {}).unsent;
            assert_eq!((refused, unsent), (wire.kind() == Kind::Epoll, u64::from(!refused)));
        }
    }

    #[test]
    fn what_the_kernel_does_not_send_is_counted_and_nothing_else_is() {
        for mut wire in wires() {
            let (phone, there) = (socket(), open(&mut wire, 0));
            let nobody = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
            let back = phone.local_addr().unwrap();
            for to in [nobody, back, nobody, back] {
                phone.send_to(&to.port().to_be_bytes(), there).unwrap();
            }
            let (mut sum, mut came) = (Carried::default(), 0);
            while sum.relayed + sum.unsent < 4 {
                wire.wait(Some(TRIED_FOR)).unwrap();
                let carried = wire.relay(|at, _, packet| {
                    came += 1;
                    let to = if packet.bytes() == 9_u16.to_be_bytes() { nobody } else { back };
                    Some((at, to))
                });
                sum.relayed += carried.relayed;
                sum.bytes += carried.bytes;
                sum.unsent += carried.unsent;
            }
            assert_eq!((came, sum.relayed, sum.bytes, sum.unsent), (4, 2, 4, 2));
        }
    }
}
