//! The ports themselves: opened in pairs, read many datagrams a system call.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, MultiResults, SockFlag, SockProtocol, SockType,
    SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, bind, recvmmsg, setsockopt, socket,
    sockopt,
};

use crate::session::{Family, Port};

/// How many datagrams are read at once. A phone sends one every 20 ms: more than one wait only
/// after a stall, or when somebody floods.
pub(crate) const BATCH: usize = 16;
/// The longest datagram that is relayed; a longer one is cut by the kernel and dropped.
const LONGEST: usize = 2_048;
/// What the kernel may hold for us: a second of the fattest sound, half a minute of reports.
const SOUND_BUFFER: usize = 64 * 1_024;
const REPORTS_BUFFER: usize = 16 * 1_024;
/// Expedited Forwarding (RFC 3246), with the two ECN bits left at zero.
const DSCP_EF: i32 = 46 << 2;

/// A side's two ports.
#[derive(Debug)]
pub(crate) struct Pair {
    sound: UdpSocket,
    reports: UdpSocket,
    /// Of the sound; the reports' is the next.
    pub(crate) port: u16,
    pub(crate) family: Family,
}

impl Pair {
    /// Opens both ports of a pair.
    pub(crate) fn open(local: IpAddr, port: u16) -> io::Result<Self> {
        let Some(next) = port.checked_add(1) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let address = SocketAddr::new(local, port);
        let sound = open(address, SOUND_BUFFER)?;
        let reports = open(SocketAddr::new(local, next), REPORTS_BUFFER)?;
        Ok(Self { sound, reports, port, family: Family::of(&address) })
    }

    /// One of the two.
    pub(crate) fn socket(&self, port: Port) -> &UdpSocket {
        match port {
            Port::Sound => &self.sound,
            Port::Reports => &self.reports,
        }
    }
}

fn open(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    // A network that forbids marking still carries sound.
    let marked = match address {
        SocketAddr::V4(_) => setsockopt(&fd, sockopt::Ipv4Tos, &DSCP_EF),
        SocketAddr::V6(_) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            setsockopt(&fd, sockopt::Ipv6TClass, &DSCP_EF)
        }
    };
    if let Err(error) = marked {
        tracing::debug!(%error, "sound is not marked as expedited");
    }
    setsockopt(&fd, sockopt::RcvBuf, &buffer)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(UdpSocket::from(fd))
}

/// Room for what one read brings: made once a worker, so that no packet allocates.
pub(crate) struct Reader {
    // A kernel that wrote a short address leaves its length behind, so each family has its own.
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
    room: Box<[[u8; LONGEST]; BATCH]>,
    got: [Got; BATCH],
}

/// One datagram that was read.
#[derive(Clone, Copy)]
struct Got {
    source: Option<SocketAddr>,
    len: usize,
}

/// Whether a port may hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Perhaps,
    No,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            v4: MultiHeaders::preallocate(BATCH, None),
            v6: MultiHeaders::preallocate(BATCH, None),
            room: Box::new([[0; LONGEST]; BATCH]),
            got: [Got { source: None, len: 0 }; BATCH],
        }
    }

    /// Reads what waits at a port, a batch at most.
    pub(crate) fn read(&mut self, socket: &UdpSocket, family: Family) -> io::Result<More> {
        for got in &mut self.got {
            got.source = None;
        }
        let fd = socket.as_raw_fd();
        let mut room = self.room.each_mut().map(|room| [io::IoSliceMut::new(room)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let read = match family {
            Family::V4 => recvmmsg(fd, &mut self.v4, room.iter_mut(), flags, None)
                .map(|results| note(results, &mut self.got, |a| SocketAddrV4::from(*a).into())),
            Family::V6 => recvmmsg(fd, &mut self.v6, room.iter_mut(), flags, None)
                .map(|results| note(results, &mut self.got, |a| SocketAddrV6::from(*a).into())),
        };
        match read {
            Ok(count) if count == BATCH => Ok(More::Perhaps),
            Ok(_) | Err(Errno::EAGAIN) => Ok(More::No),
            Err(Errno::EINTR) => Ok(More::Perhaps),
            Err(error) => Err(error.into()),
        }
    }

    /// What the last read brought: where from, and what.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let both = self.got.iter().zip(self.room.iter());
        both.filter_map(|(got, room)| Some((got.source?, room.get(..got.len)?)))
    }
}

fn note<S: Copy + SockaddrLike>(
    results: MultiResults<'_, S>,
    got: &mut [Got; BATCH],
    address: impl Fn(&S) -> SocketAddr,
) -> usize {
    let mut count = 0;
    for (result, got) in results.zip(got) {
        count += 1;
        let whole = !result.flags.contains(MsgFlags::MSG_TRUNC);
        let source = result.address.as_ref().map(&address).filter(|_| whole);
        *got = Got { source, len: result.bytes };
    }
    count
}
