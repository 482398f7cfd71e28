//! A thread's socket: datagrams are read and written many at a time, so that load costs little.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use bytes::Bytes;
use kit::failure::{Failure, Outcome};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};

const BATCH: usize = 64;
/// No message of this load is longer.
const SLOT: usize = 8_192;
const BUFFER: usize = 16 << 20;

/// The socket, and what waits to be sent.
pub(super) struct Line {
    socket: UdpSocket,
    address: SocketAddrV4,
    waiting: Vec<(SocketAddrV4, Bytes)>,
    room: Vec<u8>,
    heard_in: MultiHeaders<SockaddrIn>,
    sent_in: MultiHeaders<SockaddrIn>,
    /// What the system did not take.
    pub(super) unsent: u64,
}

impl Line {
    /// Opens one at this port.
    pub(super) fn open(port: u16) -> Outcome<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| Failure::new(format!("port {port} of the load: {error}")))?;
        socket.set_nonblocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, socket.local_addr()?.port());
        Ok(Self {
            socket,
            address,
            waiting: vec![],
            room: vec![0; BATCH * SLOT],
            heard_in: MultiHeaders::preallocate(BATCH, None),
            sent_in: MultiHeaders::preallocate(BATCH, None),
            unsent: 0,
        })
    }

    /// Where it hears.
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Puts a message to those that the next [`Line::flush`] sends.
    pub(super) fn send(&mut self, to: SocketAddrV4, message: Bytes) {
        self.waiting.push((to, message));
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        while let Some((_, after_first)) = rest.split_first() {
            match self.write(rest.get(..BATCH).unwrap_or(rest)) {
                Ok(count) => rest = rest.get(count.max(1)..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(_) => {
                    self.unsent += 1;
                    rest = after_first;
                }
            }
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    fn write(&mut self, batch: &[(SocketAddrV4, Bytes)]) -> Result<usize, Errno> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            batch.iter().map(|(_, message)| [IoSlice::new(message)]).collect();
        let peers: Vec<Option<SockaddrIn>> =
            batch.iter().map(|(to, _)| Some(SockaddrIn::from(*to))).collect();
        let fd = self.socket.as_raw_fd();
        let sent = sendmmsg(fd, &mut self.sent_in, &slices, peers, [], MsgFlags::empty())?;
        Ok(sent.count())
    }

    /// Waits until something comes, or for so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let millis = u16::try_from(at_most.as_millis()).unwrap_or(u16::MAX);
        let mut watched = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // Whatever went wrong, the next read tells.
        let _ = poll(&mut watched, PollTimeout::from(millis));
    }

    /// What came, up to a batch.
    pub(super) fn receive(&mut self) -> Vec<(SocketAddrV4, Bytes)> {
        let mut slots = self.room.chunks_exact_mut(SLOT);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())]);
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let read = recvmmsg(fd, &mut self.heard_in, slices.iter_mut(), flags, None);
        let Ok(batch) = read else { return vec![] };
        let each = batch.filter_map(|datagram| {
            let from = SocketAddrV4::from(datagram.address?);
            let bytes = datagram.iovs().next()?;
            Some((from, Bytes::copy_from_slice(bytes)))
        });
        each.collect()
    }
}
