//! STUN's own sockets: where phones ask which address the internet sees them at.
//!
//! RFC 8489 §2. One thread reads and answers in batches; what is answered is decided in
//! [`media::stun`]. Two addresses that differ in address and port make an RFC 5780 server, which
//! has four sockets: each address with each port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use media::stun::{Answer, Corner, Place, answer};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::error;

use super::udp::{self, Reader, Socket, UdpPath, Writer};
use crate::metrics::{Count, Tally};

/// Every address, open.
#[derive(Debug, Default)]
pub struct Listeners {
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    socket: Socket,
    place: Place,
}

impl Listeners {
    /// Opens these addresses, and what an RFC 5780 server needs beside them.
    ///
    /// # Errors
    /// If an address is in use, or is none of this machine's.
    pub fn open(addresses: &[SocketAddr]) -> Result<Self, udp::Failure> {
        let mut opened = Self::default();
        for address in addresses {
            opened.add(*address, Place::Alone)?;
        }
        // A port that was left to the system is known only now.
        for corner in corners(&opened.addresses()) {
            let place = Place::Corner(corner);
            match opened.doors.iter_mut().find(|door| door.socket.address() == corner.here) {
                Some(door) => door.place = place,
                None => opened.add(corner.here, place)?,
            }
        }
        Ok(opened)
    }

    fn add(&mut self, address: SocketAddr, place: Place) -> Result<(), udp::Failure> {
        let sockets = udp::open(address, 1)?.into_iter().flatten();
        self.doors.extend(sockets.map(|socket| Door { socket, place }));
        Ok(())
    }

    /// The addresses that are open.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|door| door.socket.address()).collect()
    }

    /// Answers there until what comes back is dropped.
    ///
    /// # Errors
    /// If the system has no thread or bell for it.
    pub fn serve(self, tally: Arc<Tally>) -> io::Result<Serving> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let thread = match self.doors.is_empty() {
            true => None,
            false => {
                let (doors, bell) = (self.doors, bell.clone());
                let thread = thread::Builder::new().name("stun".to_owned());
                Some(thread.spawn(move || Desk::new(doors, bell, tally).run())?)
            }
        };
        Ok(Serving { bell, thread })
    }
}

/// Of each family the first two addresses that make corners.
fn corners(addresses: &[SocketAddr]) -> Vec<Corner> {
    let of_family = |v4: bool| {
        let of: Vec<_> = addresses.iter().filter(|address| address.is_ipv4() == v4).collect();
        let mut pairs = of
            .iter()
            .enumerate()
            .flat_map(|(at, one)| of.iter().skip(at + 1).map(move |other| (**one, **other)));
        pairs.find_map(|(one, other)| Corner::all(one, other))
    };
    [true, false].into_iter().filter_map(of_family).flatten().collect()
}

/// The thread that answers. Dropping it ends it.
#[derive(Debug)]
pub struct Serving {
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Fails only if the bell has rung before, and then the thread has heard it.
        let _ = self.bell.write(1);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread for STUN had panicked");
        }
    }
}

/// The thread's own.
struct Desk {
    doors: Vec<Door>,
    bell: Arc<EventFd>,
    tally: Arc<Tally>,
    reader: Reader,
    writer: Writer,
    /// By door: an answer may leave from another than the one that was asked.
    answers: Vec<Vec<(UdpPath, Bytes)>>,
}

impl Desk {
    fn new(doors: Vec<Door>, bell: Arc<EventFd>, tally: Arc<Tally>) -> Self {
        let answers = doors.iter().map(|_| vec![]).collect();
        Self { doors, bell, tally, reader: Reader::default(), writer: Writer::default(), answers }
    }

    fn run(mut self) {
        loop {
            match self.wait() {
                Ok(Some(ready)) => {
                    for (door, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
                        self.take_in(door);
                    }
                    self.send();
                }
                Ok(None) => return,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    error!("STUN cannot wait for questions, and ends: {errno}");
                    return;
                }
            }
        }
    }

    /// Which doors have something; `None` once the bell has rung.
    fn wait(&self) -> Result<Option<Vec<bool>>, Errno> {
        let sockets = self.doors.iter().map(|door| door.socket.as_fd());
        let mut polled: Vec<PollFd<'_>> = sockets
            .chain([self.bell.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut polled, PollTimeout::NONE)?;
        let mut ready: Vec<bool> = polled.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let rung = ready.pop().unwrap_or(true);
        Ok((!rung).then_some(ready))
    }

    /// A batch; what is left has its turn after the other doors'.
    fn take_in(&mut self, at: usize) {
        let Self { doors, reader, answers, tally, .. } = self;
        let Some(door) = doors.get(at) else { return };
        let mut unanswered = 0;
        let read = reader.read(&door.socket, |path, bytes| {
            let Some(Answer { bytes, to, from }) = answer(&bytes, path.peer, door.place) else {
                unanswered += 1;
                return;
            };
            let local = from.unwrap_or(path.local);
            let out = match from {
                Some(from) => doors.iter().position(|door| door.socket.serves(from)),
                None => Some(at),
            };
            let Some(answers) = answers.get_mut(out.unwrap_or(at)) else { return };
            answers.push((UdpPath { local, peer: to }, bytes.into()));
        });
        tally.add(Count::StunReceived, read.datagrams as u64);
        tally.add(Count::StunDropped, (read.short + read.unusable + unanswered) as u64);
    }

    fn send(&mut self) {
        for (door, answers) in self.doors.iter().zip(&mut self.answers) {
            let sent = self.writer.write(&door.socket, answers);
            self.tally.add(Count::StunAnswered, sent.sent as u64);
            self.tally.add(Count::StunDropped, sent.failed as u64);
            answers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    /// As RFC 5769 has it, but for its attributes.
    const QUESTION: [u8; 20] = *b"\0\x01\0\0\x21\x12\xa4\x42ABCDEFGHIJKL";

    fn open(addresses: &[&str]) -> Listeners {
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|text| text.parse().unwrap()).collect();
        Listeners::open(&addresses).unwrap()
    }

    fn phone(at: &str) -> UdpSocket {
        let phone = UdpSocket::bind(at).unwrap();
        phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        phone
    }

    /// What a phone hears, and from where.
    fn hear(phone: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut room = [0; 1_000];
        let (length, from) = phone.recv_from(&mut room).unwrap();
        (room[..length].to_vec(), from)
    }

    #[test]
    fn an_answer_leaves_from_the_very_address_that_was_asked() {
        let listeners = open(&["0.0.0.0:0"]);
        let port = listeners.addresses()[0].port();
        let metrics = Metrics::new();
        let _serving = listeners.serve(metrics.tally()).unwrap();
        let phone = phone("127.0.0.1:0");
        for asked in ["127.0.0.1", "127.0.0.9"] {
            let asked = SocketAddr::new(asked.parse().unwrap(), port);
            phone.send_to(b"no question, but as long as one", asked).unwrap();
            phone.send_to(&QUESTION, asked).unwrap();
            let (answer, from) = hear(&phone);
            assert_eq!((&answer[..2], from), (&[1, 1][..], asked));
        }
        assert_eq!(metrics.total(Count::StunReceived), 4);
        assert_eq!(metrics.total(Count::StunDropped), 2);
    }

    #[test]
    fn ipv6_is_served_beside_ipv4() {
        let listeners = open(&["[::]:0"]);
        let Some(address) = listeners.addresses().first().copied() else { return };
        let _serving = listeners.serve(Metrics::new().tally()).unwrap();
        let phone = phone("[::1]:0");
        phone.send_to(&QUESTION, ("::1", address.port())).unwrap();
        let (answer, from) = hear(&phone);
        let port = phone.local_addr().unwrap().port() ^ 0x2112;
        assert_eq!((from.ip(), from.port()), ("::1".parse().unwrap(), address.port()));
        assert_eq!(&answer[20..28], [&[0, 0x20, 0, 20, 0, 2][..], &port.to_be_bytes()].concat());
    }

    #[test]
    fn two_addresses_open_four_and_answer_from_where_it_is_wanted() {
        let listeners = open(&["127.0.0.1:0", "127.0.0.2:0"]);
        let at = listeners.addresses();
        assert_eq!(at.len(), 4);
        let (one, other) = (at[0], at[1]);
        let _serving = listeners.serve(Metrics::new().tally()).unwrap();
        let phone = phone("127.0.0.1:0");
        for (flags, ip, port) in
            [(0, one, one), (2, one, other), (4, other, one), (6, other, other)]
        {
            let mut question = [&QUESTION[..], &[0, 3, 0, 4, 0, 0, 0, flags]].concat();
            question[3] = 8;
            phone.send_to(&question, one).unwrap();
            assert_eq!(hear(&phone).1, SocketAddr::new(ip.ip(), port.port()), "flags {flags}");
        }
    }

    #[test]
    fn addresses_that_do_not_differ_in_both_open_nothing_more() {
        let at = |text: &[&str]| -> Vec<SocketAddr> {
            text.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert!(corners(&at(&["192.0.2.1:1", "192.0.2.2:1", "[::1]:3"])).is_empty());
        let both = ["192.0.2.1:1", "[::1]:1", "192.0.2.2:1", "[::2]:2", "192.0.2.2:2", "[::3]:3"];
        let found: Vec<String> =
            corners(&at(&both)).iter().map(|corner| corner.here.to_string()).collect();
        assert_eq!(
            found,
            [
                "192.0.2.1:1",
                "192.0.2.1:2",
                "192.0.2.2:2",
                "192.0.2.2:1",
                "[::1]:1",
                "[::1]:2",
                "[::2]:2",
                "[::2]:1",
            ]
        );
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = open(&["127.0.0.1:0"]);
        let address = taken.addresses()[0];
        let failure = Listeners::open(&[address]).unwrap_err();
        assert_eq!(failure.to_string(), format!("udp {address} is in use"));
    }
}
