//! The ports themselves: opened in pairs, and read.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket,
    sockopt,
};

use crate::session::{Family, Port};

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
        let local = bindable(local);
        let address = SocketAddr::new(local, port);
        let sound = open(address, SOUND_BUFFER)?;
        let reports = open(SocketAddr::new(local, next), REPORTS_BUFFER)?;
        Ok(Self { sound, reports, port, family: Family::of(&address) })
    }

    /// Any two sockets.
    pub(crate) fn of(sound: UdpSocket, reports: UdpSocket) -> io::Result<Self> {
        let address = sound.local_addr()?;
        Ok(Self { sound, reports, port: address.port(), family: Family::of(&address) })
    }

    /// Another socket at the port for sound, connected to `peer`: the kernel gives it what comes from
    /// there. Ports are shared with nobody else: only while this is done may another program that wants
    /// to share it have the port too.
    pub(crate) fn connected_to(&self, peer: SocketAddr) -> io::Result<UdpSocket> {
        let local = self.sound.local_addr()?;
        setsockopt(&self.sound, sockopt::ReuseAddr, &true)?;
        let beside = make(&local, SOUND_BUFFER).and_then(|socket| {
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(local))?;
            socket.connect(peer)?;
            setsockopt(&socket, sockopt::ReuseAddr, &false)?;
            Ok(socket)
        });
        setsockopt(&self.sound, sockopt::ReuseAddr, &false)?;
        beside
    }

    /// One of the two.
    pub(crate) fn socket(&self, port: Port) -> &UdpSocket {
        match port {
            Port::Sound => &self.sound,
            Port::Reports => &self.reports,
        }
    }
}

/// A link-local address is valid on one wire, and nobody says which: all are listened to, and the
/// kernel names the wire with each packet's source (RFC 4007 §6).
fn bindable(local: IpAddr) -> IpAddr {
    match local {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Ipv6Addr::UNSPECIFIED.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => local,
    }
}

fn open(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = make(&address, buffer)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn make(address: &SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
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
    Ok(UdpSocket::from(fd))
}
