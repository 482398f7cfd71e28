//! Wishes on their way to a worker: a bounded queue, and one wake however many lie in it.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};
use pbx::media::Wish;

/// Beyond this many waiting wishes no new side is opened: its call is refused while it can be.
const OPEN_LIMIT: usize = 8_192;
/// Beyond this many, wishes about open sides are dropped. A `Close` never is, as its ports would be
/// lost; there are no more of them than sides that were opened.
const LIMIT: usize = 32_768;

/// The queue of one worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    /// Something was put in, and the worker has not been rung for.
    untold: AtomicBool,
    /// There is something to be taken.
    filled: AtomicBool,
    wake: Arc<EventFd>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    wishes: VecDeque<Wish>,
    state: State,
}

/// Whether the worker goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It does.
    #[default]
    Open,
    /// It ends.
    Stopped,
}

impl Inbox {
    /// An empty one.
    pub(crate) fn new() -> nix::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self {
            queue: Mutex::default(),
            untold: AtomicBool::new(false),
            filled: AtomicBool::new(false),
            wake: Arc::new(wake),
            refused: AtomicU64::new(0),
        })
    }

    /// Puts a wish into the queue, or gives it back if there is no room. The worker hears of it
    /// when it is [rung for](Self::ring).
    pub(crate) fn push(&self, wish: Wish) -> Result<(), Wish> {
        let mut queue = self.lock();
        let limit = match wish {
            Wish::Open { .. } => OPEN_LIMIT,
            Wish::Aim { .. }
            | Wish::Agree { .. }
            | Wish::Join { .. }
            | Wish::Press { .. }
            | Wish::Listen { .. }
            | Wish::Record { .. }
            | Wish::Pause { .. }
            | Wish::Resume { .. }
            | Wish::Mix { .. }
            | Wish::Cue { .. }
            | Wish::Play { .. }
            | Wish::Hush { .. } => LIMIT,
            Wish::Close { .. } => usize::MAX,
        };
        if queue.wishes.len() >= limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(wish);
        }
        queue.wishes.push_back(wish);
        // Whoever filled an empty queue rings, and the worker takes all there is.
        if queue.wishes.len() == 1 {
            self.untold.store(true, Ordering::Release);
            self.filled.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Wakes the worker if it has not been woken for what is in the queue; once after a batch.
    pub(crate) fn ring(&self) {
        if self.untold.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// What is rung. Whoever waits for it reads it; who only looks whether the inbox is
    /// [filled](Self::is_filled) need not.
    pub(crate) fn bell(&self) -> &Arc<EventFd> {
        &self.wake
    }

    /// Whether there is anything to take. Costs nothing, so it is asked each turn: a packet that was sent
    /// because of a wish then finds it done, whatever the order in which both are told.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Moves all wishes into `into`, which is empty.
    pub(crate) fn take(&self, into: &mut VecDeque<Wish>) -> State {
        let mut queue = self.lock();
        self.untold.store(false, Ordering::Release);
        self.filled.store(false, Ordering::Release);
        mem::swap(&mut queue.wishes, into);
        queue.state
    }

    /// Ends the worker.
    pub(crate) fn stop(&self) {
        self.lock().state = State::Stopped;
        self.filled.store(true, Ordering::Release);
        self.wake();
    }

    /// How many wishes wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().wishes.len()
    }

    /// How many were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        // Fails only if the counter is full, and then the worker is awake.
        let _ = self.wake.write(1);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::CallId;
    use pbx::media::Side;

    use super::*;

    fn open(leg: u16) -> Wish {
        Wish::Open { side: side(leg), local: std::net::Ipv4Addr::LOCALHOST.into(), port: None }
    }

    fn side(leg: u16) -> Side {
        Side { call: CallId(Default::default()), leg }
    }

    #[test]
    fn a_full_queue_refuses_new_sides_but_never_loses_a_close() {
        let inbox = Inbox::new().unwrap();
        for _ in 0..OPEN_LIMIT {
            inbox.push(open(0)).unwrap();
        }
        assert_eq!(inbox.push(open(1)), Err(open(1)));
        let join = Wish::Join { a: side(0), b: side(1) };
        for _ in OPEN_LIMIT..LIMIT {
            inbox.push(join.clone()).unwrap();
        }
        assert_eq!(inbox.push(join.clone()), Err(join));
        inbox.push(Wish::Close { side: side(0) }).unwrap();
        assert_eq!((inbox.len(), inbox.refused()), (LIMIT + 1, 2));

        let mut taken = VecDeque::new();
        assert_eq!(inbox.take(&mut taken), State::Open);
        assert_eq!((taken.len(), inbox.len()), (LIMIT + 1, 0));
        inbox.stop();
        taken.clear();
        assert_eq!(inbox.take(&mut taken), State::Stopped);
    }

    #[test]
    fn wakes_once_for_many_wishes() {
        let inbox = Inbox::new().unwrap();
        for leg in 0..2 {
            inbox.push(open(leg)).unwrap();
        }
        inbox.ring();
        inbox.push(open(2)).unwrap();
        inbox.ring();
        assert_eq!(inbox.wake.read(), Ok(1));
    }

    #[test]
    fn does_not_wake_for_what_was_taken_already() {
        let inbox = Inbox::new().unwrap();
        assert!(!inbox.is_filled());
        inbox.push(open(0)).unwrap();
        assert!(inbox.is_filled());
        let mut taken = VecDeque::new();
        inbox.take(&mut taken);
        inbox.ring();
        assert!(!inbox.is_filled() && inbox.wake.read().is_err());
        inbox.stop();
        assert!(inbox.is_filled());
    }
}
