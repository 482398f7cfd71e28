//! Memory that the kernel receives packets into: it takes a buffer when a packet comes, and gets it back
//! once the packet has been sent on or dropped.
//!
//! `IORING_REGISTER_PBUF_RING` of Linux: a list of free buffers that both sides read without a call.

#![deny(clippy::undocumented_unsafe_blocks)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::arrival::{ADDRESS, ADDRESS_AT, BEFORE};
use crate::packet::ROOM;

/// How many packets may wait to be looked at; the next ones wait at their ports, which hold what
/// the kernel allows them. A power of two.
pub(super) const COUNT: u16 = 512;
/// How much the kernel may write: what it says of the packet, and the packet.
pub(super) const LEN: usize = BEFORE + ROOM;
/// Whole lines of the processor's cache.
const STRIDE: usize = LEN.next_multiple_of(64);
/// The list must begin where a page does.
const PAGE: usize = 4_096;
/// The one group of buffers that a ring has.
pub(super) const GROUP: u16 = 0;

/// One buffer, as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffer(u16);

/// All buffers of a thread, and the list of those that the kernel may take.
pub(super) struct Buffers {
    list: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Where the next free one is listed.
    tail: u16,
}

impl Buffers {
    /// Makes them and lists them all.
    pub(super) fn new() -> Self {
        let (list, memory) = (allocate(list_layout()).cast(), allocate(memory_layout()));
        let mut buffers = Self { list, memory, tail: 0 };
        for number in 0..COUNT {
            buffers.list(Buffer(number));
        }
        buffers.publish();
        buffers
    }

    /// Shows the kernel where they are.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the list is a whole allocation of COUNT entries, begins at a page and lives until
        // `self` is dropped, which whoever owns the ring does after the ring is gone.
        unsafe {
            let list = self.list.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(list, COUNT, GROUP, 0)
        }
    }

    /// The buffer that the kernel says it has used; `None` if there is no such.
    pub(super) fn used(flags: u32) -> Option<Buffer> {
        io_uring::cqueue::buffer_select(flags).filter(|number| *number < COUNT).map(Buffer)
    }

    /// What is in a buffer. The caller has it from the kernel and has not given it back.
    pub(super) fn bytes(&mut self, buffer: Buffer) -> &mut [u8; LEN] {
        let start = self.start(buffer);
        // SAFETY: a buffer's number is below COUNT, so its bytes lie in the allocation, which was
        // zeroed when it was made. The kernel writes only into buffers that are listed, and this one
        // is not; whoever else could read it must go through `&mut self` too.
        unsafe { &mut *start.as_ptr().cast::<[u8; LEN]>() }
    }

    /// Where its sender's address is.
    pub(super) fn address(&mut self, buffer: Buffer) -> &mut [u8; ADDRESS] {
        let (_, rest) = self.bytes(buffer).split_at_mut(ADDRESS_AT);
        rest.first_chunk_mut().expect("a buffer is longer than what lies before a packet")
    }

    /// The same as an address, for the kernel to read from.
    pub(super) fn start(&self, Buffer(number): Buffer) -> NonNull<u8> {
        // SAFETY: a buffer's number is below COUNT, so this stays in the allocation.
        unsafe { self.memory.add(usize::from(number) * STRIDE) }
    }

    /// Gives buffers back.
    pub(super) fn give_back(&mut self, buffers: impl Iterator<Item = Buffer>) {
        for buffer in buffers {
            self.list(buffer);
        }
        self.publish();
    }

    fn list(&mut self, buffer: Buffer) {
        let start = self.start(buffer);
        // SAFETY: the index is below COUNT. The kernel reads no entry at or behind the tail that was
        // published last, and there are never more free buffers than entries.
        unsafe {
            let entry = &mut *self.list.add(usize::from(self.tail % COUNT)).as_ptr();
            entry.set_addr(start.as_ptr() as u64);
            entry.set_len(LEN as u32);
            entry.set_bid(buffer.0);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies in a field of the first entry that nothing else uses; it is aligned
        // and lives as long as the list. The kernel reads it while we write, so it is atomic.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.list.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated with these layouts, and the kernel has let go of them.
        unsafe {
            dealloc(self.list.as_ptr().cast(), list_layout());
            dealloc(self.memory.as_ptr(), memory_layout());
        }
    }
}

fn list_layout() -> Layout {
    layout(usize::from(COUNT) * size_of::<BufRingEntry>())
}

fn memory_layout() -> Layout {
    layout(usize::from(COUNT) * STRIDE)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, PAGE).expect("a few megabytes can be laid out")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: neither layout is empty.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_buffer_has_room_of_its_own() {
        let mut buffers = Buffers::new();
        for number in 0..COUNT {
            buffers.bytes(Buffer(number)).fill(number as u8);
        }
        for number in 0..COUNT {
            assert!(buffers.bytes(Buffer(number)).iter().all(|byte| *byte == number as u8));
        }
        assert_eq!(Buffers::used(1 | u32::from(COUNT) << 16), None, "no such buffer");
        assert_eq!(Buffers::used(1 | 7 << 16), Some(Buffer(7)));
        assert_eq!(Buffers::used(7 << 16), None, "no buffer was used");
    }
}
