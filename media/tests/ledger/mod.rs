//! Counts what this process takes of memory and gives back, for tests in which that must be nothing.
//!
//! A test that looks at it is alone in its process. What threads do that are no threads of sound can be
//! left out: then those that count say so themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's memory, counted.
struct Counting;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test looks at what it is about")]
pub(crate) enum Of {
    /// All threads.
    All,
    /// Those that said [`count_me`].
    Marked,
}

static BY_ALL: AtomicU64 = AtomicU64::new(0);
static BY_MARKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static MARKED: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// What this thread takes and gives back is [marked](Of::Marked) from now on.
#[allow(dead_code, reason = "most tests count all threads")]
pub(crate) fn count_me() {
    MARKED.set(true);
}

/// How often memory was taken or given back so far.
pub(crate) fn entries(of: Of) -> u64 {
    match of {
        Of::All => BY_ALL.load(Ordering::SeqCst),
        Of::Marked => BY_MARKED.load(Ordering::SeqCst),
    }
}

fn count() {
    BY_ALL.fetch_add(1, Ordering::Relaxed);
    // A thread that ends has no mark any more.
    if MARKED.try_with(Cell::get).unwrap_or(false) {
        BY_MARKED.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all is the system allocator's; counting changes nothing that it promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: whoever calls us keeps what `GlobalAlloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
