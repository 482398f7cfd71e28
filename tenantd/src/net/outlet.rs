//! What waits to be written to one connection: bounded, so that a peer that never reads harms nobody
//! else.
//!
//! A message on a stream must arrive or the stream must end (RFC 3261 §17 does not repeat it), so
//! what finds no room is not left out: the connection is closed. Before it comes to that, nothing
//! more is read from a peer that is behind with reading.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that may wait for one connection; with more, it is closed.
pub const MOST_WAITING: usize = 256 * 1024;

/// With more bytes than these waiting, nothing is read from the peer.
const CROWDED: usize = 64 * 1024;

/// A message counts for so many bytes more, so that small ones have a limit too.
const OVERHEAD: usize = 64;

/// One connection's messages that are not written.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    queue: Mutex<Queue>,
    /// Rung when there is something to write, or the door has closed.
    more: Notify,
    /// Rung when less waits.
    less: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    /// Of these and of what is being written.
    bytes: usize,
    door: Door,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// What waits is written, and nothing else.
    Closing,
    /// The peer is too slow: nothing is written any more.
    Overrun,
    /// The connection is gone.
    Shut,
}

/// What became of a message for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It will be written, or the end of the connection will be told.
    Taken,
    /// There is no such connection any more.
    Gone,
}

/// What is next for whoever writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write these.
    Write(VecDeque<Bytes>),
    /// All is written, and nothing more comes.
    End,
    /// The peer does not read.
    Overrun,
}

impl Outlet {
    /// Takes a message in.
    pub(super) fn push(&self, message: Bytes) -> Sent {
        let mut queue = self.queue();
        match queue.door {
            Door::Open => {}
            // Whoever serves the connection knows why, and will tell.
            Door::Overrun => return Sent::Taken,
            Door::Closing | Door::Shut => return Sent::Gone,
        }
        queue.bytes += message.len() + OVERHEAD;
        if queue.bytes > MOST_WAITING {
            queue.door = Door::Overrun;
            queue.messages = VecDeque::new();
        } else {
            queue.messages.push_back(message);
        }
        drop(queue);
        self.more.notify_one();
        Sent::Taken
    }

    /// Waits for something to write.
    pub(super) async fn next(&self) -> Next {
        loop {
            {
                let mut queue = self.queue();
                match queue.door {
                    Door::Overrun => return Next::Overrun,
                    Door::Open | Door::Closing if !queue.messages.is_empty() => {
                        return Next::Write(std::mem::take(&mut queue.messages));
                    }
                    Door::Closing | Door::Shut => return Next::End,
                    Door::Open => {}
                }
            }
            self.more.notified().await;
        }
    }

    /// So many bytes are written, which ended so many messages.
    pub(super) fn written(&self, bytes: usize, messages: usize) {
        let mut queue = self.queue();
        let was_crowded = queue.bytes > CROWDED;
        queue.bytes = queue.bytes.saturating_sub(bytes + messages * OVERHEAD);
        let is_crowded = queue.bytes > CROWDED;
        drop(queue);
        if was_crowded && !is_crowded {
            self.less.notify_one();
        }
    }

    /// Waits until the peer has read enough to be heard again.
    pub(super) async fn uncrowded(&self) {
        while self.queue().bytes > CROWDED {
            self.less.notified().await;
        }
    }

    /// Lets what waits be written, and nothing after it.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        if queue.door == Door::Open {
            queue.door = Door::Closing;
        }
        drop(queue);
        self.more.notify_one();
    }

    /// The connection is gone.
    pub(super) fn shut(&self) {
        let mut queue = self.queue();
        queue.door = Door::Shut;
        queue.messages = VecDeque::new();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_pushed_is_written_in_order_and_then_the_end() {
        let outlet = Outlet::default();
        for text in ["one", "two"] {
            assert_eq!(outlet.push(Bytes::from(text)), Sent::Taken);
        }
        outlet.close();
        assert_eq!(outlet.push(Bytes::from("three")), Sent::Gone);
        let Next::Write(messages) = outlet.next().await else { panic!("nothing to write") };
        assert_eq!(messages, ["one", "two"]);
        assert_eq!(outlet.next().await, Next::End);
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_overrun_at_the_limit() {
        let outlet = Outlet::default();
        let message = Bytes::from(vec![b'x'; 1_000]);
        let most = MOST_WAITING / (message.len() + OVERHEAD);
        (0..most).for_each(|_| assert_eq!(outlet.push(message.clone()), Sent::Taken));
        assert!(matches!(outlet.next().await, Next::Write(messages) if messages.len() == most));
        // What is being written still counts.
        assert_eq!(outlet.push(message.clone()), Sent::Taken);
        assert_eq!(outlet.next().await, Next::Overrun);
        assert_eq!(outlet.push(message.clone()), Sent::Taken);
        outlet.shut();
        assert_eq!(outlet.push(message), Sent::Gone);
    }

    #[tokio::test]
    async fn nothing_is_read_from_a_peer_that_is_behind_with_reading() {
        let outlet = Outlet::default();
        let message = Bytes::from(vec![b'x'; CROWDED]);
        outlet.uncrowded().await;
        assert_eq!(outlet.push(message.clone()), Sent::Taken);
        let waits = timeout(Duration::from_millis(10), outlet.uncrowded()).await;
        assert!(waits.is_err());
        outlet.written(message.len(), 1);
        outlet.uncrowded().await;
    }
}
