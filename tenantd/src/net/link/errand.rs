//! What waits for the object store at a peer: asked for there, part by part, over the link.
//!
//! So a sound that was just brought is heard on every node, while the store is away too. Parts are small,
//! and a node has one on its way at a time, so that no message of a phone waits for long behind sound.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pbx::id::NodeId;
use store::objects::{Content, LARGEST_READ, ObjectKey, Outbox};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::debug;

use super::Links;
use super::frame::{Frame, Question};

/// A part at most.
const PART: u64 = 64 * 1024;

/// How long a peer may take to tell one.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long the whole may take, of all peers, with the waiting for one's turn.
const FETCH_WITHIN: Duration = Duration::from_secs(20);

/// Questions of peers that are answered at the same time; to more of them nothing is here.
const ANSWERS_AT_ONCE: usize = 4;

/// What is asked of peers, and what they may ask of us.
#[derive(Debug)]
pub(super) struct Errands {
    /// What waits here; nothing is told before it is known.
    outbox: OnceLock<Outbox>,
    /// Whose turn it is to ask.
    turn: tokio::sync::Mutex<()>,
    asked: Mutex<Option<Asked>>,
    last: AtomicU32,
    answering: Arc<Semaphore>,
}

/// The question that is not answered yet.
#[derive(Debug)]
struct Asked {
    node: NodeId,
    number: u32,
    answer: oneshot::Sender<Bytes>,
}

impl Errands {
    pub(super) fn new() -> Self {
        Self {
            outbox: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            last: AtomicU32::new(0),
            answering: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
        }
    }

    /// A peer answers. What was not asked for, or is too late, is nothing.
    pub(super) fn hear(&self, node: NodeId, number: u32, bytes: Bytes) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Asked { answer, .. }) =
            asked.take_if(|asked| (asked.node, asked.number) == (node, number))
        {
            // Nobody may wait for it any more.
            let _ = answer.send(bytes);
        }
    }

    fn expect(&self, node: NodeId) -> (u32, oneshot::Receiver<Bytes>) {
        let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (answer, answered) = oneshot::channel();
        let asked = Asked { node, number, answer };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        (number, answered)
    }
}

impl Links {
    /// From now on peers are told what waits here.
    pub fn lend(&self, outbox: Outbox) {
        // It is one outbox as long as the process lives.
        let _ = self.errands.outbox.set(outbox);
    }

    /// Gets a whole object from whichever peer it waits at; `None`: from nobody, or not in time.
    pub async fn fetch(&self, key: &ObjectKey, content: Content) -> Option<Bytes> {
        if content.bytes > LARGEST_READ {
            return None;
        }
        let fetching = async {
            let _turn = self.errands.turn.lock().await;
            for node in self.linked() {
                if let Some(whole) = self.fetch_from(node, key, content).await {
                    debug!(%key, node = node.0, "what waits at a peer was fetched");
                    return Some(whole);
                }
            }
            None
        };
        timeout(FETCH_WITHIN, fetching).await.ok().flatten()
    }

    async fn fetch_from(&self, node: NodeId, key: &ObjectKey, content: Content) -> Option<Bytes> {
        let mut whole = BytesMut::new();
        loop {
            let from = whole.len() as u64;
            let missing = content.bytes.saturating_sub(from);
            if missing == 0 {
                break;
            }
            let (number, answered) = self.errands.expect(node);
            let question = Question { number, key: *key, content, from };
            self.send(node, Frame::Ask(question)).ok()?;
            let part = timeout(ANSWER_WITHIN, answered).await.ok()?.ok()?;
            if part.is_empty() || part.len() as u64 > missing.min(PART) {
                return None;
            }
            whole.extend_from_slice(&part);
        }
        let whole = whole.freeze();
        (Content::of(&whole) == content).then_some(whole)
    }

    /// A peer asks. The disk is read beside the link, which must not stand still.
    pub(super) fn answer(self: &Arc<Self>, node: NodeId, question: Question) {
        let turn = self.errands.answering.clone().try_acquire_owned().ok();
        let outbox = self.errands.outbox.get().cloned().zip(turn);
        let links = self.clone();
        tokio::spawn(async move {
            let bytes = match outbox {
                Some((outbox, _turn)) => part(&outbox, &question).await,
                None => Bytes::new(),
            };
            // Without room for it the peer waits a little, and asks somebody else.
            let _ = links.send(node, Frame::Part { number: question.number, bytes });
        });
    }
}

/// What is asked for, or nothing.
async fn part(outbox: &Outbox, question: &Question) -> Bytes {
    let Question { key, content, from, .. } = *question;
    let to = content.bytes.min(from.saturating_add(PART));
    if from >= to {
        return Bytes::new();
    }
    match outbox.read_range(&key, content, from..to).await {
        Ok(part) => part.unwrap_or_default(),
        Err(failure) => {
            debug!(%key, "a peer asks for what cannot be read: {failure}");
            Bytes::new()
        }
    }
}
