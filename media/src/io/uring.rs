//! Many ports in one call: the kernel keeps receiving at all of them, lists what came, and takes a
//! list of what is to be sent.
//!
//! io_uring of Linux 6.1 and later: multishot receiving into provided buffers. Each turn is one
//! `io_uring_enter`, which sends what the last turn relayed and waits for more.

#![deny(clippy::undocumented_unsafe_blocks)]

use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::libc;
use nix::sys::eventfd::EventFd;

use super::arrival::{self, ADDRESS, ADDRESS_AT, BEFORE};
use super::pairs::{Pairs, Place};
use super::uring_buffers::{Buffer, Buffers, COUNT, GROUP};
use super::{At, Carried, Onward};
use crate::packet::{Packet, ROOM};
use crate::session::Slot;
use crate::socket::Pair;

/// What can be asked for between two calls: every packet sent on, and as many ports opened.
const ASKED: u32 = COUNT as u32 * 2;
/// How many datagrams of our own wait for the next call; one more makes it come.
const MADE: usize = 128;
/// What can be told: more than there are buffers, so that it is never cut short by packets.
const TOLD: u32 = COUNT as u32 * 8;
/// `IORING_ENTER_GETEVENTS`: the kernel finishes what it has put off.
const FINISH: u32 = 1;

/// The kernel's two lists, and the memory that packets lie in.
pub(super) struct Uring {
    /// Dropped before the buffers that it writes into.
    ring: IoUring,
    buffers: Buffers,
    /// What to receive of a message: its sender. The kernel reads it when it begins.
    message: Box<libc::msghdr>,
    wake: Arc<EventFd>,
    /// By slot: of the pair, and of the socket beside it. Rises when one is closed, so that what is
    /// still told of it is known to be old.
    lives: Vec<[u32; 2]>,
    /// Sent with the next call, and free after it.
    sending: Vec<Buffer>,
    queued: Carried,
    /// Datagrams of our own, the first of which are sent with the next call.
    made: Box<[Made]>,
    made_waiting: usize,
    /// Ports that have stopped receiving.
    stopped: Vec<Told>,
}

/// Room for a datagram of our own, and for where it goes.
#[derive(Clone)]
struct Made {
    bytes: [u8; ROOM],
    address: [u8; ADDRESS],
}

/// What an entry of the kernel's list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Somebody rang.
    Woken,
    /// A socket received, in this life of its.
    Received { slot: Slot, place: Place, life: u32 },
    /// A datagram of so many bytes was not sent on.
    Unsent { bytes: u32 },
    /// One of our own was not sent.
    Unmade,
    /// Whatever was cancelled is.
    Cancelled,
}

impl Uring {
    /// Makes a ring for the present thread, which alone may use it.
    pub(super) fn new(wake: Arc<EventFd>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(TOLD)
            .build(ASKED)?;
        let buffers = Buffers::new();
        buffers.register(&ring.submitter())?;
        // SAFETY: all zeros are a message header: no buffers, no control data, no flags.
        let mut message: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
        message.msg_namelen = ADDRESS as u32;
        let mut uring = Self {
            ring,
            buffers,
            message,
            wake,
            lives: Vec::new(),
            sending: Vec::with_capacity(usize::from(COUNT)),
            queued: Carried::default(),
            made: vec![Made { bytes: [0; ROOM], address: [0; ADDRESS] }; MADE].into(),
            made_waiting: 0,
            stopped: Vec::with_capacity(usize::from(COUNT)),
        };
        uring.listen();
        Ok(uring)
    }

    /// Asks to be told when somebody rings.
    fn listen(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32);
        let poll = poll.multi(true).build().user_data(Told::Woken.number());
        self.ask(&poll);
    }

    pub(super) fn open(&mut self, slot: Slot, pair: &Pair) {
        if self.lives.len() <= slot.index() {
            self.lives.resize(slot.index() + 1, [0; 2]);
        }
        for place in [Place::Sound, Place::Reports] {
            self.receive(slot, place, pair.socket(place.port()));
        }
    }

    pub(super) fn receive(&mut self, slot: Slot, place: Place, socket: &UdpSocket) {
        let told = Told::Received { slot, place, life: self.life(slot, place) };
        let (fd, message) = (Fd(socket.as_raw_fd()), &raw const *self.message);
        let receive = opcode::RecvMsgMulti::new(fd, message, GROUP).build();
        self.ask(&receive.user_data(told.number()));
    }

    /// Cancels what the kernel does at a pair. It has let go of both ports when this returns, and
    /// what it had told already is known to be old.
    pub(super) fn close(&mut self, slot: Slot, pair: Pair) {
        self.send_made();
        self.cancel(slot, Place::Sound);
        self.cancel(slot, Place::Reports);
        self.end_life(slot, Place::Sound);
        drop(pair);
        self.finish();
    }

    /// The same with the socket beside it.
    pub(super) fn close_settled(&mut self, slot: Slot, socket: UdpSocket) {
        self.send_made();
        self.cancel(slot, Place::Settled);
        self.end_life(slot, Place::Settled);
        drop(socket);
        self.finish();
    }

    fn cancel(&mut self, slot: Slot, place: Place) {
        let receiving = Told::Received { slot, place, life: self.life(slot, place) };
        let cancel = opcode::AsyncCancel::new(receiving.number()).build();
        self.ask(&cancel.user_data(Told::Cancelled.number()));
    }

    fn end_life(&mut self, slot: Slot, place: Place) {
        if let Some(life) = life_mut(&mut self.lives, slot, place) {
            *life = (*life + 1) & Told::LIVES;
        }
    }

    fn life(&mut self, slot: Slot, place: Place) -> u32 {
        life_mut(&mut self.lives, slot, place).copied().unwrap_or_default()
    }

    /// What is cancelled ends with what the kernel has put off.
    fn finish(&mut self) {
        self.submit();
        self.submit();
    }

    pub(super) fn wait(&mut self, pairs: &Pairs, patience: Option<Duration>) -> io::Result<()> {
        if !self.stopped.is_empty() {
            self.receive_again(pairs);
        }
        let patience = patience.map(Timespec::from);
        let mut wait = SubmitArgs::new();
        if let Some(patience) = &patience {
            wait = wait.timespec(patience);
        }
        let waited = self.ring.submitter().submit_with_args(1, &wait);
        self.free_sent();
        match waited {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Nothing came; a signal; or the kernel wants us to read what it has told first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Packets are sent while the kernel takes the list (`MSG_DONTWAIT`: at once or not at all), so
    /// their buffers are free when it has taken all of it.
    fn free_sent(&mut self) {
        let waiting = !self.sending.is_empty() || self.made_waiting > 0;
        if waiting && self.ring.submission().is_empty() {
            self.buffers.give_back(self.sending.drain(..));
            self.made_waiting = 0;
        }
    }

    /// What is ours leaves before its socket closes.
    fn send_made(&mut self) {
        if self.made_waiting > 0 {
            self.submit();
        }
    }

    /// Sends what came from nobody, with the next call.
    pub(super) fn send(
        &mut self,
        socket: &UdpSocket,
        to: Option<SocketAddr>,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.made_waiting == MADE || self.ring.submission().is_full() {
            self.submit();
        }
        let full = || io::Error::from(io::ErrorKind::WouldBlock);
        let made = self.made.get_mut(self.made_waiting).ok_or_else(full)?;
        made.bytes.get_mut(..bytes.len()).ok_or_else(full)?.copy_from_slice(bytes);
        let send =
            opcode::Send::new(Fd(socket.as_raw_fd()), made.bytes.as_ptr(), bytes.len() as u32);
        let send = match to {
            None => send,
            Some(to) => {
                let len = arrival::write_address(&mut made.address, to);
                let address = made.address.as_ptr().cast();
                send.dest_addr(address).dest_addr_len(len as libc::socklen_t)
            }
        };
        let send = send.flags(libc::MSG_DONTWAIT).build();
        let send = send.flags(squeue::Flags::SKIP_SUCCESS).user_data(Told::Unmade.number());
        // SAFETY: the datagram stays as it is until the kernel has taken the list, and its socket is
        // closed after that.
        unsafe { self.ring.submission().push(&send) }.map_err(|_| full())?;
        self.made_waiting += 1;
        Ok(())
    }

    /// Ports stop when there is no buffer for a packet; it waits there, and buffers are free again.
    fn receive_again(&mut self, pairs: &Pairs) {
        self.submit();
        while let Some(told) = self.stopped.pop() {
            match told {
                Told::Received { slot, place, life } if life == self.life(slot, place) => {
                    if let Some(socket) = pairs.socket(slot, place) {
                        self.receive(slot, place, socket);
                    }
                }
                Told::Woken => self.listen(),
                Told::Received { .. } | Told::Unsent { .. } | Told::Unmade | Told::Cancelled => {}
            }
        }
    }

    /// Lets the kernel take what is asked for, and finish what it has put off.
    fn submit(&mut self) {
        let waiting = self.ring.submission().len() as u32;
        // SAFETY: no argument is given. What the entries point to is alive: buffers that are not given
        // back before they are sent, and the message, which is dropped after the ring.
        let taken =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(waiting, 0, FINISH, None) };
        if let Err(error) = taken {
            tracing::debug!(%error, "the ring takes nothing");
        }
        self.free_sent();
    }

    fn ask(&mut self, entry: &squeue::Entry) {
        if self.ring.submission().is_full() {
            self.submit();
        }
        // SAFETY: as in `submit`; sockets are closed only once what is done at them is cancelled.
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            tracing::error!("the ring is full of what the kernel does not take");
        }
    }

    pub(super) fn relay<F>(&mut self, pairs: &Pairs, mut onward: F) -> Carried
    where
        F: FnMut(At, SocketAddr, &mut Packet<'_>) -> Option<Onward>,
    {
        let mut carried = mem::take(&mut self.queued);
        let (_, mut asked, told) = self.ring.split();
        for entry in told {
            let what = Told::read(entry.user_data());
            let ended = !cqueue::more(entry.flags());
            match what {
                Told::Received { slot, place, life } => {
                    let alive = life_mut(&mut self.lives, slot, place) == Some(&mut { life });
                    let at = (slot, place.port());
                    if let Some(buffer) = Buffers::used(entry.flags()) {
                        let send = match alive {
                            true => pass_on(&mut self.buffers, pairs, buffer, at, &mut onward),
                            false => None,
                        };
                        match send {
                            // SAFETY: the buffer is given back once the kernel has taken the list,
                            // and the socket is closed after that.
                            Some((send, len)) if unsafe { asked.push(&send) }.is_ok() => {
                                self.queued.relayed += 1;
                                self.queued.bytes += len;
                                self.sending.push(buffer);
                            }
                            full => {
                                carried.unsent += u64::from(full.is_some());
                                self.buffers.give_back([buffer].into_iter());
                            }
                        }
                    }
                    if alive && ended {
                        carried.starved += u64::from(entry.result() == -libc::ENOBUFS);
                        self.stopped.push(what);
                    }
                }
                Told::Woken if ended => self.stopped.push(what),
                Told::Woken | Told::Cancelled => {}
                Told::Unmade => carried.unsent += 1,
                Told::Unsent { bytes } => {
                    carried.unsent += 1;
                    carried.relayed = carried.relayed.saturating_sub(1);
                    carried.bytes = carried.bytes.saturating_sub(u64::from(bytes));
                }
            }
        }
        carried
    }
}

impl Drop for Uring {
    /// The kernel lets go of ports and memory now, and not some time later.
    fn drop(&mut self) {
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        self.finish();
    }
}

fn life_mut(lives: &mut [[u32; 2]], slot: Slot, place: Place) -> Option<&mut u32> {
    let [pair, settled] = lives.get_mut(slot.index())?;
    match place {
        Place::Sound | Place::Reports => Some(pair),
        Place::Settled => Some(settled),
    }
}

/// What sends a buffer's packet on, and how long it is; `None` if it goes nowhere.
fn pass_on<F>(
    buffers: &mut Buffers,
    pairs: &Pairs,
    buffer: Buffer,
    at: At,
    mut onward: F,
) -> Option<(squeue::Entry, u64)>
where
    F: FnMut(At, SocketAddr, &mut Packet<'_>) -> Option<Onward>,
{
    let (source, mut packet) = arrival::read(buffers.bytes(buffer))?;
    let (out, address) = onward(at, source, &mut packet)?;
    let len = u32::try_from(packet.len()).ok()?;
    let start = buffers.start(buffer).as_ptr();
    let send = |fd| opcode::Send::new(Fd(fd), start.wrapping_add(BEFORE), len);
    let send = match pairs.out(out, address)? {
        (socket, None) => send(socket.as_raw_fd()),
        (socket, Some(address)) => {
            // Where the sender's address was there is room for the receiver's.
            let address_len = arrival::write_address(buffers.address(buffer), address);
            send(socket.as_raw_fd())
                .dest_addr(start.wrapping_add(ADDRESS_AT).cast())
                .dest_addr_len(address_len as libc::socklen_t)
        }
    };
    let send = send
        .flags(libc::MSG_DONTWAIT)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Told::Unsent { bytes: len }.number());
    Some((send, u64::from(len)))
}

impl Told {
    const WOKEN: u64 = 0;
    const RECEIVED: u64 = 1;
    const UNSENT: u64 = 2;
    const CANCELLED: u64 = 3;
    /// What else was not sent.
    const OURS: u64 = 1 << 32;
    /// Two bits say what it is about.
    const KIND: u32 = 62;
    /// Lives are counted in 28 bits, slots have 32, and two say which socket.
    const LIVES: u32 = (1 << 28) - 1;
    const LIFE: u32 = 34;

    /// As the kernel carries it for us.
    fn number(self) -> u64 {
        match self {
            Self::Woken => Self::WOKEN << Self::KIND,
            Self::Received { slot, place, life } => {
                let at = (slot.index() as u64) << 2 | place.number();
                Self::RECEIVED << Self::KIND | u64::from(life) << Self::LIFE | at
            }
            Self::Unsent { bytes } => Self::UNSENT << Self::KIND | u64::from(bytes),
            Self::Unmade => Self::UNSENT << Self::KIND | Self::OURS,
            Self::Cancelled => Self::CANCELLED << Self::KIND,
        }
    }

    /// From [`Self::number`].
    fn read(number: u64) -> Self {
        match number >> Self::KIND {
            Self::WOKEN => Self::Woken,
            Self::UNSENT if number & Self::OURS != 0 => Self::Unmade,
            Self::UNSENT => Self::Unsent { bytes: number as u32 },
            Self::RECEIVED => {
                let slot = Slot::of((number >> 2) as u32);
                let life = (number >> Self::LIFE) as u32 & Self::LIVES;
                match Place::read(number & 3) {
                    Some(place) => Self::Received { slot, place, life },
                    None => Self::Cancelled,
                }
            }
            _ => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_carries_for_us_comes_back_as_it_was() {
        for told in [
            Told::Woken,
            Told::Cancelled,
            Told::Unsent { bytes: 2_112 },
            Told::Unmade,
            Told::Received { slot: Slot::of(0), place: Place::Sound, life: 0 },
            Told::Received { slot: Slot::of(u32::MAX), place: Place::Reports, life: Told::LIVES },
            Told::Received { slot: Slot::of(7), place: Place::Settled, life: 1 },
        ] {
            assert_eq!(Told::read(told.number()), told);
        }
    }
}
