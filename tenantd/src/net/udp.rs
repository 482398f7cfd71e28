//! SIP's datagrams: one socket a lane and listener, read and written in batches.
//!
//! RFC 3261 §18. An answer leaves from the very address that was asked (RFC 3581 §4), so each
//! datagram is read with, and written with, our own address beside the peer's (`IP_PKTINFO`,
//! `IPV6_PKTINFO`). A link-local address means nothing without its interface, so it keeps it: as
//! the scope of an address, never in what a phone is told.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag, SockType,
    SockaddrStorage, bind, getsockname, recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};

/// Datagrams moved by one system call at most.
pub const BATCH: usize = 64;

/// Larger than any datagram can be, so that none is ever cut.
const SLOT: usize = 65_536;

/// What the kernel may hold for a lane that is busy: some 3,000 messages, if the system allows it.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The shortest request line is longer; shorter datagrams keep a NAT open or are noise.
const SHORTEST: usize = 16;

/// From which of our addresses to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpPath {
    /// Our address, as the peer wrote it on the datagram (never a wildcard).
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody else listens there.
    #[error("udp {0} is in use")]
    InUse(SocketAddr),
    /// The system refused.
    #[error("udp {0} cannot be opened: {1}")]
    Refused(SocketAddr, #[source] Errno),
}

/// One lane's socket of one listener.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    bound: SocketAddr,
}

/// Opens one socket a lane on `address`; the kernel gives each peer to always the same of them.
/// `None` for `[::]` on a machine without IPv6.
///
/// Port 0 takes any free port, the same for all lanes.
pub fn open(address: SocketAddr, lanes: usize) -> Result<Option<Vec<Socket>>, Failure> {
    // With SO_REUSEPORT a second server of the same user would silently take half of the phones.
    let address = match bound(address, Sharing::Alone) {
        Ok(probe) => probe.bound,
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            if address.is_ipv6() && address.ip().is_unspecified() =>
        {
            tracing::info!("udp {address} is left out: this machine has no IPv6");
            return Ok(None);
        }
        Err(errno) => return Err(name(address, errno)),
    };
    let sockets =
        (0..lanes).map(|_| bound(address, Sharing::AmongLanes).map_err(|e| name(address, e)));
    sockets.collect::<Result<_, _>>().map(Some)
}

fn name(address: SocketAddr, errno: Errno) -> Failure {
    match errno {
        Errno::EADDRINUSE => Failure::InUse(address),
        other => Failure::Refused(address, other),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    AmongLanes,
}

fn bound(address: SocketAddr, sharing: Sharing) -> Result<Socket, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Datagram, flags, None)?;
    match address {
        SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => {
            // `0.0.0.0` and `[::]` stand side by side in the configuration.
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    if sharing == Sharing::AmongLanes {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
        // The forced size needs CAP_NET_ADMIN; without it the system's own limit caps the other.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    let bound = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
    Ok(Socket { fd, bound: address_of(&bound).unwrap_or(address) })
}

/// An address as the kernel has it; a scope counts only where an address is ambiguous without.
fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(scoped(v6.ip(), v6.port(), v6.scope_id()))
}

fn scoped(ip: Ipv6Addr, port: u16, interface: u32) -> SocketAddr {
    let scope = if ip.is_unicast_link_local() { interface } else { 0 };
    SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope))
}

impl Socket {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.bound
    }

    /// To be polled.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether a path's own end is this listener.
    pub fn serves(&self, local: SocketAddr) -> bool {
        let ip = self.bound.ip();
        local.port() == self.bound.port()
            && local.is_ipv4() == self.bound.is_ipv4()
            && (ip.is_unspecified() || local.ip() == ip)
    }
}

/// What one read brought, beside the messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Datagrams in all: [`BATCH`] of them means that there may be more.
    pub datagrams: usize,
    /// Too short to be SIP: keepalives and noise.
    pub short: usize,
    /// Dropped because they were cut, or because the system did not say which address they reached.
    pub unusable: usize,
}

/// Room to read a batch into; one serves all sockets of a lane.
pub struct Reader {
    room: Vec<u8>,
    // The kernel writes back how long addresses were: a header that saw a short one has no room for
    // a long one any more.
    v4: MultiHeaders<SockaddrStorage>,
    v6: MultiHeaders<SockaddrStorage>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { room: vec![0; BATCH * SLOT], v4: headers(), v6: headers() }
    }
}

fn headers() -> MultiHeaders<SockaddrStorage> {
    // The larger of the two families'.
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(libc::in6_pktinfo)))
}

impl Reader {
    /// Takes what the socket has, up to a batch, and hands each message on with its path.
    pub fn read(&mut self, socket: &Socket, mut each: impl FnMut(UdpPath, Bytes)) -> Received {
        let mut received = Received::default();
        let mut blind = false;
        let mut slots = self.room.chunks_exact_mut(SLOT);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        let fd = socket.fd.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let used = match socket.bound {
            SocketAddr::V4(_) => &mut self.v4,
            SocketAddr::V6(_) => &mut self.v6,
        };
        // An error here is EAGAIN: an unconnected socket is not told of unreachable peers.
        let Ok(batch) = recvmmsg(fd, used, slices.iter_mut(), flags, None) else {
            return received;
        };
        for datagram in batch {
            received.datagrams += 1;
            let port = socket.bound.port();
            let mut told = datagram.cmsgs().ok().into_iter().flatten();
            let local = told.find_map(|message| local_address(message, port));
            let (Some(local), Some(peer)) = (local, datagram.address.as_ref().and_then(address_of))
            else {
                (blind, received.unusable) = (true, received.unusable + 1);
                continue;
            };
            if datagram.flags.contains(MsgFlags::MSG_TRUNC) {
                received.unusable += 1;
                continue;
            }
            let bytes = datagram.iovs().next().unwrap_or_default();
            if bytes.len() < SHORTEST {
                received.short += 1;
                continue;
            }
            each(UdpPath { local, peer }, Bytes::copy_from_slice(bytes));
        }
        if blind {
            // The same with our own address: headers that saw none have no room for one.
            *used = headers();
        }
        received
    }
}

fn local_address(message: ControlMessageOwned, port: u16) -> Option<SocketAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
            Some(SocketAddr::from((ip, port)))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(scoped(Ipv6Addr::from(info.ipi6_addr.s6_addr), port, info.ipi6_ifindex))
        }
        _ => None,
    }
}

/// What became of datagrams that were to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The system took them.
    pub sent: usize,
    /// It did not: no route, no room, too large. SIP's timers make up for it.
    pub failed: usize,
}

/// Writes datagrams in batches; one serves all sockets of a lane.
pub struct Writer {
    headers: MultiHeaders<SockaddrStorage>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { headers: headers() }
    }
}

impl Writer {
    /// Sends all of `messages` through `socket`, in order.
    pub fn write(&mut self, socket: &Socket, messages: &[(UdpPath, Bytes)]) -> Sent {
        let mut sent = Sent::default();
        // Our address is told once for a whole system call.
        for run in messages.chunk_by(|(a, _), (b, _)| a.local.ip() == b.local.ip()) {
            for batch in run.chunks(BATCH) {
                self.write_batch(socket, batch, &mut sent);
            }
        }
        sent
    }

    fn write_batch(&mut self, socket: &Socket, batch: &[(UdpPath, Bytes)], sent: &mut Sent) {
        let Some(from) = batch.first().map(|(path, _)| path.local) else { return };
        let mut rest = batch;
        while let Some((first, after_first)) = rest.split_first() {
            match self.write_some(socket, from, rest) {
                Ok(count) => {
                    let count = count.clamp(1, rest.len());
                    sent.sent += count;
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                Err(Errno::EINTR) => continue,
                // Perhaps we no longer have that address: then any of ours is better than none.
                Err(Errno::EINVAL | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH)
                    if self.write_from_anywhere(socket, first).is_ok() =>
                {
                    sent.sent += 1;
                }
                Err(_) => sent.failed += 1,
            }
            rest = after_first;
        }
    }

    fn write_from_anywhere(
        &mut self,
        socket: &Socket,
        message: &(UdpPath, Bytes),
    ) -> Result<usize, Errno> {
        let anywhere: IpAddr = match socket.bound {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.write_some(socket, SocketAddr::new(anywhere, 0), std::slice::from_ref(message))
    }

    fn write_some(
        &mut self,
        socket: &Socket,
        from: SocketAddr,
        batch: &[(UdpPath, Bytes)],
    ) -> Result<usize, Errno> {
        let empty: &[u8] = &[];
        let at = |index: usize| batch.get(index);
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
            [IoSlice::new(at(index).map_or(empty, |(_, bytes)| bytes.as_ref()))]
        });
        let peers: [Option<SockaddrStorage>; BATCH] =
            std::array::from_fn(|index| at(index).map(|(path, _)| path.peer.into()));
        let (v4, v6);
        let told = match from {
            SocketAddr::V4(from) => {
                let ip = libc::in_addr { s_addr: from.ip().to_bits().to_be() };
                v4 = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: ip, ipi_addr: ip };
                ControlMessage::Ipv4PacketInfo(&v4)
            }
            SocketAddr::V6(from) => {
                let ip = libc::in6_addr { s6_addr: from.ip().octets() };
                v6 = libc::in6_pktinfo { ipi6_addr: ip, ipi6_ifindex: from.scope_id() };
                ControlMessage::Ipv6PacketInfo(&v6)
            }
        };
        let fd = socket.fd.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let slices = slices.iter().take(batch.len());
        Ok(sendmmsg(fd, &mut self.headers, slices, peers, [told], flags)?.count())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    const ANY_PORT_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        let sockets = open(ANY_PORT, 1).unwrap().unwrap();
        let port = sockets[0].address().port();
        let phone = phone();
        for asked in ["127.0.0.1", "127.0.0.7"] {
            let asked: SocketAddr = format!("{asked}:{port}").parse().unwrap();
            phone.send_to(b"OPTIONS sip:here SIP/2.0\r\n\r\n", asked).unwrap();
            let (messages, _) = read(&sockets, 1);
            assert_eq!(messages[0].0.local, asked);
            assert_eq!(messages[0].0.peer, phone.local_addr().unwrap());

            let sent = Writer::default().write(&sockets[0], &messages);

            assert_eq!(sent, Sent { sent: 1, failed: 0 });
            let mut answer = [0; 100];
            assert_eq!(phone.recv_from(&mut answer).unwrap(), (28, asked));
        }
    }

    #[test]
    fn a_burst_larger_than_a_batch_arrives_whole_and_in_order_at_one_lane() {
        let sockets = open(ANY_PORT, 3).unwrap().unwrap();
        let to = (Ipv4Addr::LOCALHOST, sockets[0].address().port());
        let phone = phone();
        for number in 0..150 {
            phone.send_to(format!("MESSAGE sip:{number:03}@x").as_bytes(), to).unwrap();
        }
        let (messages, received) = read(&sockets, 150);
        let texts: Vec<_> = messages.iter().map(|(_, bytes)| bytes.clone()).collect();
        let wanted: Vec<_> = (0..150).map(|n| format!("MESSAGE sip:{n:03}@x")).collect();
        assert_eq!(texts, wanted);
        assert_eq!(received.datagrams, 150);

        let used = sockets.iter().find(|s| s.address().port() == to.1).unwrap();
        assert_eq!(Writer::default().write(used, &messages).sent, 150);
        let mut answer = [0; 100];
        for text in wanted {
            let length = phone.recv(&mut answer).unwrap();
            assert_eq!(&answer[..length], text.as_bytes());
        }
    }

    #[test]
    fn keepalives_and_noise_are_counted_and_go_nowhere() {
        let sockets = open(ANY_PORT, 1).unwrap().unwrap();
        let to = (Ipv4Addr::LOCALHOST, sockets[0].address().port());
        let phone = phone();
        for noise in [&b"\r\n\r\n"[..], b"\0", b"", b"OPTIONS sip:here SIP/2.0\r\n\r\n"] {
            phone.send_to(noise, to).unwrap();
        }
        let (messages, received) = read(&sockets, 1);
        assert_eq!(messages.len(), 1);
        assert_eq!(received, Received { datagrams: 4, short: 3, unusable: 0 });
    }

    #[test]
    fn the_largest_datagram_is_not_cut() {
        let sockets = open(ANY_PORT, 1).unwrap().unwrap();
        let phone = phone();
        let large = vec![b'x'; 65_507];
        phone.send_to(&large, (Ipv4Addr::LOCALHOST, sockets[0].address().port())).unwrap();
        let (messages, _) = read(&sockets, 1);
        assert_eq!(messages[0].1, large);
    }

    #[test]
    fn a_message_that_cannot_be_sent_does_not_hold_up_the_next() {
        let sockets = open(ANY_PORT, 1).unwrap().unwrap();
        let phone = phone();
        let path = UdpPath { local: sockets[0].address(), peer: phone.local_addr().unwrap() };
        // An address that is not ours, and a datagram that cannot exist.
        let elsewhere = UdpPath { local: "192.0.2.77:5060".parse().unwrap(), ..path };
        let messages = [
            (path, Bytes::from(vec![0; 70_000])),
            (path, Bytes::from_static(b"first")),
            (elsewhere, Bytes::from_static(b"second")),
        ];
        let sent = Writer::default().write(&sockets[0], &messages);
        assert_eq!(sent, Sent { sent: 2, failed: 1 });
        let mut answer = [0; 100];
        assert_eq!(phone.recv(&mut answer).unwrap(), 5);
        assert_eq!(phone.recv(&mut answer).unwrap(), 6);
    }

    #[test]
    fn a_port_in_use_is_named_even_if_the_other_shares_it() {
        let taken = open("127.0.0.1:0".parse().unwrap(), 2).unwrap().unwrap();
        let address = taken[0].address();
        let failure = open(address, 2).unwrap_err();
        assert_eq!(failure.to_string(), format!("udp {address} is in use"));
    }

    #[test]
    fn a_listener_serves_its_own_port_and_address_only() {
        let wild = open(ANY_PORT, 1).unwrap().unwrap().remove(0);
        let port = wild.address().port();
        assert!(wild.serves(SocketAddr::from(([10, 0, 0, 1], port))));
        assert!(!wild.serves(SocketAddr::from(([10, 0, 0, 1], port ^ 1))));
        let fixed = open("127.0.0.1:0".parse().unwrap(), 1).unwrap().unwrap().remove(0);
        let port = fixed.address().port();
        assert!(fixed.serves(SocketAddr::from(([127, 0, 0, 1], port))));
        assert!(!fixed.serves(SocketAddr::from(([127, 0, 0, 2], port))));
    }

    #[test]
    fn both_families_share_a_port_and_answers_leave_from_the_address_that_was_asked() {
        let Some(mut sockets) = open(ANY_PORT_V6, 1).unwrap() else { return };
        let port = sockets[0].address().port();
        let beside = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        assert!(!sockets[0].serves(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        sockets.extend(open(beside, 1).unwrap().unwrap());

        let (mut reader, mut writer) = (Reader::default(), Writer::default());
        // One reader and one writer for all, in turn.
        for ip in ["127.0.0.1", "::1", "127.0.0.1", "::1"] {
            let asked = SocketAddr::new(ip.parse().unwrap(), port);
            let phone = UdpSocket::bind((asked.ip(), 0)).unwrap();
            phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            phone.send_to(b"OPTIONS sip:here SIP/2.0\r\n\r\n", asked).unwrap();
            let mut messages = vec![];
            for socket in &sockets {
                reader.read(socket, |path, bytes| messages.push((path, bytes)));
            }
            let path = UdpPath { local: asked, peer: phone.local_addr().unwrap() };
            assert_eq!(messages.first().unwrap().0, path);

            let socket = sockets.iter().find(|socket| socket.serves(asked)).unwrap();
            assert_eq!(writer.write(socket, &messages), Sent { sent: 1, failed: 0 });
            let mut answer = [0; 100];
            assert_eq!(phone.recv_from(&mut answer).unwrap(), (28, asked));
        }
    }

    #[test]
    fn an_interface_counts_only_for_an_address_that_needs_it() {
        let text = |ip: &str, interface| scoped(ip.parse().unwrap(), 5060, interface).to_string();
        assert_eq!(text("fe80::1", 2), "[fe80::1%2]:5060");
        assert_eq!(text("2001:db8::1", 2), "[2001:db8::1]:5060");
    }

    fn phone() -> UdpSocket {
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        phone
    }

    /// Loopback delivers before `send_to` returns, so nothing has to be waited for.
    fn read(sockets: &[Socket], at_least: usize) -> (Vec<(UdpPath, Bytes)>, Received) {
        let mut reader = Reader::default();
        let (mut messages, mut all) = (vec![], Received::default());
        for _ in 0..100 {
            for socket in sockets {
                let received = reader.read(socket, |path, bytes| messages.push((path, bytes)));
                all.datagrams += received.datagrams;
                all.short += received.short;
                all.unusable += received.unusable;
            }
        }
        assert!(messages.len() >= at_least, "{} of {at_least} messages came", messages.len());
        (messages, all)
    }
}
