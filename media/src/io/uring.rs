//! Many ports in one call: the kernel keeps receiving at all of them, lists what came, and takes a
//! list of what is to be sent.
//!
//! io_uring of Linux 6.1 and later: multishot receiving into provided buffers. Each turn is one
//! `io_uring_enter`, which sends what the last turn relayed and waits for more.

#![deny(clippy::undocumented_unsafe_blocks)]

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::libc;
use nix::sys::eventfd::EventFd;

use super::arrival::{self, ADDRESS, ADDRESS_AT, BEFORE};
use super::pairs::Pairs;
use super::uring_buffers::{Buffer, Buffers, COUNT, GROUP};
use super::{At, Carried, Onward};
use crate::packet::Packet;
use crate::session::{Port, Slot};
use crate::socket::Pair;

/// What can be asked for between two calls: every packet sent on, and as many ports opened.
const ASKED: u32 = COUNT as u32 * 2;
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
    /// By slot: rises when a pair is closed, so that what is still told of it is known to be old.
    lives: Vec<u32>,
    /// Sent with the next call, and free after it.
    sending: Vec<Buffer>,
    queued: Carried,
    /// Ports that have stopped receiving.
    stopped: Vec<Told>,
}

/// What an entry of the kernel's list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Somebody rang.
    Woken,
    /// A port received, in this life of its slot.
    Received { at: At, life: u32 },
    /// A datagram of so many bytes was not sent.
    Unsent { bytes: u32 },
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

    pub(super) fn open(&mut self, slot: Slot, pair: &Pair) -> io::Result<()> {
        if self.lives.len() <= slot.index() {
            self.lives.resize(slot.index() + 1, 0);
        }
        for port in [Port::Sound, Port::Reports] {
            self.receive((slot, port), pair.socket(port).as_raw_fd());
        }
        Ok(())
    }

    fn receive(&mut self, at: At, fd: RawFd) {
        let told = Told::Received { at, life: self.life(at.0) };
        let receive = opcode::RecvMsgMulti::new(Fd(fd), &raw const *self.message, GROUP);
        self.ask(&receive.build().user_data(told.number()));
    }

    /// Cancels what the kernel does at a pair. It has let go of both ports when this returns, and
    /// what it had told already is known to be old.
    pub(super) fn close(&mut self, slot: Slot, pair: Pair) {
        let life = self.life(slot);
        for port in [Port::Sound, Port::Reports] {
            let receiving = Told::Received { at: (slot, port), life }.number();
            let cancel = opcode::AsyncCancel::new(receiving).build();
            self.ask(&cancel.user_data(Told::Cancelled.number()));
        }
        if let Some(life) = self.lives.get_mut(slot.index()) {
            *life = (*life + 1) & Told::LIVES;
        }
        drop(pair);
        self.submit();
        // What is cancelled ends with what the kernel has put off.
        self.submit();
    }

    fn life(&self, slot: Slot) -> u32 {
        self.lives.get(slot.index()).copied().unwrap_or_default()
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
        if !self.sending.is_empty() && self.ring.submission().is_empty() {
            self.buffers.give_back(self.sending.drain(..));
        }
    }

    /// Ports stop when there is no buffer for a packet; it waits there, and buffers are free again.
    fn receive_again(&mut self, pairs: &Pairs) {
        self.submit();
        while let Some(told) = self.stopped.pop() {
            match told {
                Told::Received { at, life } if life == self.life(at.0) => {
                    if let Some(socket) = pairs.socket(at) {
                        self.receive(at, socket.as_raw_fd());
                    }
                }
                Told::Woken => self.listen(),
                Told::Received { .. } | Told::Unsent { .. } | Told::Cancelled => {}
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
                Told::Received { at, life } => {
                    let alive = self.lives.get(at.0.index()) == Some(&life);
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
        self.submit();
        self.submit();
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
    // Where the sender's address was there is room for the receiver's.
    let address_len = arrival::write_address(buffers.address(buffer), address);
    // A slot without a pair is refused by the kernel, and so counted as every other failure.
    let fd = pairs.socket(out).map_or(-1, AsRawFd::as_raw_fd);
    let start = buffers.start(buffer).as_ptr();
    let send = opcode::Send::new(Fd(fd), start.wrapping_add(BEFORE), len)
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(start.wrapping_add(ADDRESS_AT).cast())
        .dest_addr_len(address_len as libc::socklen_t)
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
    /// Two bits say what it is about.
    const KIND: u32 = 62;
    /// Lives are counted in 29 bits, slots have 32, and one says which port.
    const LIVES: u32 = (1 << 29) - 1;
    const LIFE: u32 = 33;

    /// As the kernel carries it for us.
    fn number(self) -> u64 {
        match self {
            Self::Woken => Self::WOKEN << Self::KIND,
            Self::Received { at: (slot, port), life } => {
                let port = match port {
                    Port::Sound => 0,
                    Port::Reports => 1,
                };
                let place = (slot.index() as u64) << 1 | port;
                Self::RECEIVED << Self::KIND | u64::from(life) << Self::LIFE | place
            }
            Self::Unsent { bytes } => Self::UNSENT << Self::KIND | u64::from(bytes),
            Self::Cancelled => Self::CANCELLED << Self::KIND,
        }
    }

    /// From [`Self::number`].
    fn read(number: u64) -> Self {
        match number >> Self::KIND {
            Self::WOKEN => Self::Woken,
            Self::UNSENT => Self::Unsent { bytes: number as u32 },
            Self::RECEIVED => {
                let port = match number & 1 {
                    0 => Port::Sound,
                    _ => Port::Reports,
                };
                let life = (number >> Self::LIFE) as u32 & Self::LIVES;
                Self::Received { at: (Slot::of((number >> 1) as u32), port), life }
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
            Told::Received { at: (Slot::of(0), Port::Sound), life: 0 },
            Told::Received { at: (Slot::of(u32::MAX), Port::Reports), life: Told::LIVES },
        ] {
            assert_eq!(Told::read(told.number()), told);
        }
    }
}
