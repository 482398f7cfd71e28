//! One connection's life: read and cut into messages, written to, and ended for one of few reasons.
//!
//! RFC 3261 §18.3 (messages on streams), RFC 5626 §3.5.1 (a double line end is answered by one).
//! Whoever opens a connection must say something sensible soon, must finish a message that was
//! begun, and must read what is written; then it may stay as long as it likes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use pbx::sip::frame::{Broken, Frame, Framer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connections::{ASK_AGAIN_AFTER, Open, arrive};
use super::outlet::Next;
use crate::lanes::inbox::Arrival;
use crate::metrics::Count;

/// What is read at once: one peer's share of a turn.
const READ: usize = 16 * 1024;

/// Messages written by one system call at most.
const AT_ONCE: usize = 64;

/// What a peer may take its time for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until it has sent a whole SIP message.
    pub(super) first_message_for: Duration,
    /// From a message's first byte to its last.
    pub(super) message_for: Duration,
    /// Without a byte. The kernel's keepalives notice a peer that is gone much sooner.
    pub(super) idle_for: Duration,
    /// Without reading any byte of what is being written.
    pub(super) write_for: Duration,
    /// For our last words, and for hearing them, when we end it.
    pub(super) linger_for: Duration,
    /// For answers to a peer that has ended its own side.
    pub(super) farewell_for: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_message_for: Duration::from_secs(30),
            message_for: Duration::from_secs(30),
            idle_for: Duration::from_secs(2 * 3_600),
            write_for: Duration::from_secs(10),
            linger_for: Duration::from_secs(1),
            farewell_for: Duration::from_millis(250),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer wished so.
    ByPeer,
    /// It broke.
    Failed,
    /// What came cannot be cut into messages.
    NotSip,
    /// The peer said nothing for too long, or did not finish what it said.
    Idle,
    /// The peer does not read.
    Slow,
    /// The server stops.
    Stopped,
}

impl End {
    pub(super) fn count(self) -> Count {
        match self {
            Self::ByPeer => Count::ConnectionsEndedByPeer,
            Self::Failed => Count::ConnectionsFailed,
            Self::NotSip => Count::ConnectionsEndedNotSip,
            Self::Idle => Count::ConnectionsEndedIdle,
            Self::Slow => Count::ConnectionsEndedSlow,
            Self::Stopped => Count::ConnectionsEndedStopped,
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    open: &Open,
    patience: &Patience,
) -> End {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut reader = Reader::new(open, patience);
    let writes = write(&mut writing, open, patience);
    let ended = {
        tokio::pin!(writes);
        tokio::select! {
            ended = reader.run(&mut reading) => {
                speak_last_words(ended, writes, open, patience).await;
                ended
            }
            ended = &mut writes => ended,
        }
    };
    match ended {
        End::Failed | End::Slow => {}
        End::ByPeer | End::NotSip | End::Idle | End::Stopped => {
            say_goodbye(&mut reading, &mut writing, patience).await;
        }
    }
    ended
}

/// Nothing more is read, but what is being answered just now is still written.
async fn speak_last_words(
    ended: End,
    mut writes: Pin<&mut impl Future<Output = End>>,
    open: &Open,
    patience: &Patience,
) {
    let wait_for = match ended {
        End::ByPeer => patience.farewell_for,
        End::NotSip | End::Idle => patience.linger_for,
        End::Failed | End::Slow | End::Stopped => return,
    };
    if timeout(wait_for, &mut writes).await.is_err() {
        open.outlet.close();
        // A peer that does not read has had its time.
        let _ = timeout(patience.linger_for, writes).await;
    }
}

/// A connection that is closed with something unread is reset, and the peer may never see what was
/// written last; so what it still sends is read for a moment.
async fn say_goodbye(
    reading: &mut (impl AsyncRead + Unpin),
    writing: &mut (impl AsyncWrite + Unpin),
    patience: &Patience,
) {
    let goodbye = async {
        writing.shutdown().await?;
        while read_some(reading, |_| {}).await? > 0 {}
        io::Result::Ok(())
    };
    // It is gone either way.
    let _ = timeout(patience.linger_for, goodbye).await;
}

/// Whether a whole message came yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Sip,
}

struct Reader<'a> {
    open: &'a Open,
    patience: &'a Patience,
    framer: Framer,
    heard: Heard,
    opened_at: Instant,
    /// Since when a message is not whole.
    begun_at: Option<Instant>,
}

impl<'a> Reader<'a> {
    fn new(open: &'a Open, patience: &'a Patience) -> Self {
        let framer = Framer::default();
        let opened_at = Instant::now();
        Self { open, patience, framer, heard: Heard::Nothing, opened_at, begun_at: None }
    }

    async fn run(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> End {
        loop {
            let give_up_at = self.give_up_at();
            let framer = &mut self.framer;
            let read = read_some(stream, |bytes| framer.push(bytes));
            match timeout_at(give_up_at, read).await {
                Ok(Ok(0)) => {
                    self.refuse_rest();
                    return End::ByPeer;
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return End::Failed,
                Err(_) => {
                    self.refuse_rest();
                    return End::Idle;
                }
            }
            if let Some(end) = self.hand_over().await {
                return end;
            }
            self.open.outlet.uncrowded().await;
            // Each connection has its turn while a lane has much to do.
            if self.open.post.is_crowded() {
                sleep(ASK_AGAIN_AFTER).await;
            }
        }
    }

    /// Neither a trickle of bytes nor of line ends makes us wait longer for a message.
    fn give_up_at(&mut self) -> Instant {
        let now = Instant::now();
        self.begun_at = match self.framer.is_within_message() {
            true => self.begun_at.or(Some(now)),
            false => None,
        };
        let sensible_until = match self.heard {
            Heard::Nothing => self.opened_at + self.patience.first_message_for,
            Heard::Sip => now + self.patience.idle_for,
        };
        let whole_until = self.begun_at.map(|at| at + self.patience.message_for);
        whole_until.map_or(sensible_until, |until| until.min(sensible_until))
    }

    /// Hands over what can be cut; tells if nothing can be cut any more.
    async fn hand_over(&mut self) -> Option<End> {
        let mut end = None;
        let mut arrived = false;
        while end.is_none() {
            match self.framer.next_frame() {
                Frame::NeedMore => break,
                Frame::Ping => {
                    // A peer that asks without reading is overrun like any other.
                    let _ = self.open.outlet.push(Bytes::from_static(b"\r\n"));
                }
                Frame::Message(bytes) => {
                    (self.heard, self.begun_at) = (Heard::Sip, None);
                    arrived = true;
                    let arrival = Arrival::Message { path: self.open.path, bytes };
                    arrive(&self.open.post, arrival).await;
                }
                Frame::Broken(broken) => {
                    self.refuse(&broken);
                    end = Some(End::NotSip);
                }
            }
        }
        if arrived {
            self.open.post.wake();
        }
        end
    }

    fn refuse_rest(&mut self) {
        if let Some(broken) = self.framer.end() {
            self.refuse(&broken);
        }
    }

    fn refuse(&self, broken: &Broken) {
        if let Some(draft) = broken.answer() {
            // There is nobody else to tell if it cannot be written.
            let _ = self.open.outlet.push(draft.received(self.open.path.peer).finish());
        }
    }
}

/// Reads once; no room is held while there is nothing to read.
async fn read_some(
    stream: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]),
) -> io::Result<usize> {
    std::future::poll_fn(|context| {
        let mut room = [MaybeUninit::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        take(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// Writes what waits, for as long as the peer goes on reading.
async fn write(stream: &mut (impl AsyncWrite + Unpin), open: &Open, patience: &Patience) -> End {
    loop {
        let mut messages = match open.outlet.next().await {
            Next::Write(messages) => messages,
            Next::End => return End::Stopped,
            Next::Overrun => return End::Slow,
        };
        while !messages.is_empty() {
            match timeout(patience.write_for, write_some(stream, &messages)).await {
                Ok(Ok(0) | Err(_)) => return End::Failed,
                Ok(Ok(count)) => open.outlet.written(count, advance(&mut messages, count)),
                Err(_) => return End::Slow,
            }
        }
        match timeout(patience.write_for, stream.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Failed,
            Err(_) => return End::Slow,
        }
    }
}

async fn write_some(
    stream: &mut (impl AsyncWrite + Unpin),
    messages: &VecDeque<Bytes>,
) -> io::Result<usize> {
    let mut waiting = messages.iter();
    let slices: [IoSlice<'_>; AT_ONCE] =
        std::array::from_fn(|_| IoSlice::new(waiting.next().map_or(&[], |message| message)));
    stream.write_vectored(slices.get(..messages.len()).unwrap_or(&slices)).await
}

/// Takes off what is written; tells how many messages that ended.
fn advance(messages: &mut VecDeque<Bytes>, mut count: usize) -> usize {
    let mut ended = 0;
    while let Some(first) = messages.front_mut() {
        if first.len() > count {
            first.advance(count);
            break;
        }
        count -= first.len();
        messages.pop_front();
        ended += 1;
    }
    ended
}

#[cfg(test)]
mod tests;
