//! The links to peer nodes: a message for a tenant whose home is another node goes there, and what
//! that home sends to a phone of ours comes back.
//!
//! One connection a pair of nodes, over TLS ([`crate::net::tls::link`]), opened by the one with the
//! lower number, proved by the cluster key ([`proof`]). Nobody waits for a link: its queue has a
//! limit, beyond which a message is refused like one for a lane without room. A link that is
//! silent for two seconds is dead.

mod call;
mod errand;
pub mod frame;
pub mod proof;
mod reception;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pbx::flow::Advertised;
use pbx::id::{NodeId, TenantId};
use pbx::input::Input;
use tokio::sync::{Notify, mpsc};
use tracing::info;
use web::boards::Boards;

pub use call::listen;
pub use reception::Reception;

use self::call::Calls;
use self::errand::Errands;
use self::frame::{Frame, Hello, VERSION};
use self::proof::LinkKey;
use crate::boards::Watchers;
use crate::lanes::inbox::Order;
use crate::lanes::{LaneId, Lanes};
use crate::metrics::{Count, Gauge, Tally};
use crate::net::tls::link::Tls;

/// Frames that may wait for one peer.
pub const MOST_FRAMES: usize = 8_192;

/// Their bytes.
const MOST_BYTES: usize = 16 << 20;

/// Something is said at least this often.
const PING_EVERY: Duration = Duration::from_millis(500);

/// A peer that says nothing for so long is dead, or as good as.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// This node, as peers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// Its number.
    pub node: NodeId,
    /// This process of it.
    pub boot: u32,
}

/// How links are made; without it a node has none.
#[derive(Debug, Clone)]
pub struct Means {
    /// Encrypts them.
    pub tls: Tls,
    /// Proves them.
    pub key: LinkKey,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// That node is not linked.
    Unlinked,
    /// It does not keep up.
    Full,
}

/// All links of this node.
#[derive(Debug)]
pub struct Links {
    me: Me,
    means: Option<Means>,
    reception: Reception,
    sip: Mutex<Advertised>,
    lines: RwLock<BTreeMap<NodeId, Line>>,
    calls: Mutex<Calls>,
    /// Nodes whose lines have changed since the lanes were told.
    stale: Mutex<BTreeSet<NodeId>>,
    told: Notify,
    changed: Notify,
    errands: Errands,
    last_serial: AtomicU64,
}

/// A link that is up.
#[derive(Debug)]
struct Line {
    /// Distinguishes it from the one before.
    serial: u64,
    boot: u32,
    sip: Advertised,
    queue: mpsc::Sender<Frame>,
    waiting: Arc<AtomicUsize>,
}

/// A link that is up, as long as this is kept.
#[derive(Debug)]
struct Up {
    links: Arc<Links>,
    node: NodeId,
    serial: u64,
}

impl Links {
    /// None yet.
    pub fn new(me: Me, means: Option<Means>, sip: Advertised, reception: Reception) -> Self {
        Self {
            me,
            means,
            reception,
            sip: Mutex::new(sip),
            lines: RwLock::default(),
            calls: Mutex::default(),
            stale: Mutex::default(),
            told: Notify::new(),
            changed: Notify::new(),
            errands: Errands::new(),
            last_serial: AtomicU64::new(0),
        }
    }

    /// Puts a frame into a peer's queue.
    ///
    /// # Errors
    /// If there is no way, or no room: then it is counted, and nobody waits.
    pub fn send(&self, node: NodeId, frame: Frame) -> Result<(), Unsent> {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        let sent = lines.get(&node).ok_or(Unsent::Unlinked).and_then(|line| line.send(frame));
        self.tally().count(match sent {
            Ok(()) => Count::LinkSent,
            Err(Unsent::Unlinked) => Count::LinkUnlinked,
            Err(Unsent::Full) => Count::LinkFull,
        });
        sent
    }

    /// Tells every peer something.
    pub fn send_all(&self, frame: &Frame) {
        for node in self.linked() {
            // A peer that is lost just now has no use for it.
            let _ = self.send(node, frame.clone());
        }
    }

    /// Who is linked.
    pub fn linked(&self) -> BTreeSet<NodeId> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Waits until a link comes up or goes down; what happened before this was asked may count.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A tenant is at home on that lane, or no longer here.
    pub fn set_home(&self, tenant: TenantId, lane: Option<LaneId>) {
        self.reception.set_home(tenant, lane);
    }

    /// What is seen here of tenants, wherever they live.
    pub fn boards(&self) -> &Boards {
        self.reception.boards()
    }

    /// Peers at which somebody looks at a tenant of ours.
    pub fn watchers(&self) -> &Watchers {
        self.reception.watchers()
    }

    /// Our addresses in Via and Contact changed.
    pub fn advertise(&self, sip: Advertised) {
        *self.sip.lock().unwrap_or_else(PoisonError::into_inner) = sip;
        self.send_all(&Frame::Hello(self.hello()));
    }

    /// These are the other nodes, and where they can be called.
    pub fn set_peers(self: &Arc<Self>, peers: &BTreeMap<NodeId, SocketAddr>) {
        if let Some(means) = &self.means {
            let theirs = peers.iter().filter(|(node, _)| **node > self.me.node);
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.keep_to(self, means, theirs.map(|(node, at)| (*node, *at)).collect());
        }
    }

    /// Tells the lanes who is linked, for as long as it is let.
    pub async fn tell_lanes(self: Arc<Self>) {
        loop {
            let stale = std::mem::take(&mut *self.stale());
            if stale.is_empty() {
                self.told.notified().await;
                continue;
            }
            for node in stale {
                let up = self
                    .lines
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&node)
                    .map(|line| (line.boot, line.sip.clone()));
                let input = || match &up {
                    Some((boot, sip)) => Input::Node { node, boot: *boot, sip: sip.clone() },
                    None => Input::NodeGone(node),
                };
                self.lanes().order_all(|| Order::Tell(Box::new(input()))).await;
            }
        }
    }

    fn hello(&self) -> Hello {
        let sip = self.sip.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Hello { version: VERSION, node: self.me.node.0, boot: self.me.boot, sip }
    }

    fn lanes(&self) -> &Lanes {
        self.reception.lanes()
    }

    fn tally(&self) -> &Tally {
        self.reception.tally()
    }

    /// A peer proved itself: from now on frames for it are taken. A link to it from before is let
    /// go, because the peer has done so already.
    fn open(self: &Arc<Self>, hello: &Hello) -> (Up, mpsc::Receiver<Frame>, Arc<AtomicUsize>) {
        let (queue, queued) = mpsc::channel(MOST_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let serial = self.last_serial.fetch_add(1, Ordering::Relaxed) + 1;
        let node = NodeId(hello.node);
        let (boot, sip) = (hello.boot, hello.sip.clone());
        let line = Line { serial, boot, sip, queue, waiting: waiting.clone() };
        self.lines.write().unwrap_or_else(PoisonError::into_inner).insert(node, line);
        info!(node = node.0, "linked with a peer");
        self.note_change(node);
        (Up { links: self.clone(), node, serial }, queued, waiting)
    }

    /// A peer's addresses changed.
    fn renew(&self, node: NodeId, hello: Hello) {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&node).filter(|line| line.boot == hello.boot) {
            line.sip = hello.sip;
        }
        drop(lines);
        self.note_change(node);
    }

    fn note_change(&self, node: NodeId) {
        self.tally().set(Gauge::Links, self.linked().len());
        self.stale().insert(node);
        self.told.notify_one();
        self.changed.notify_one();
    }

    fn stale(&self) -> std::sync::MutexGuard<'_, BTreeSet<NodeId>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut lines = self.links.lines.write().unwrap_or_else(PoisonError::into_inner);
        if lines.get(&self.node).is_some_and(|line| line.serial == self.serial) {
            lines.remove(&self.node);
            drop(lines);
            info!(node = self.node.0, "a link is down");
            self.links.note_change(self.node);
        }
    }
}

impl Line {
    fn send(&self, frame: Frame) -> Result<(), Unsent> {
        let bytes = frame.weight();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) > MOST_BYTES {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Unsent::Full);
        }
        self.queue.try_send(frame).map_err(|refused| {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => Unsent::Full,
                mpsc::error::TrySendError::Closed(_) => Unsent::Unlinked,
            }
        })
    }
}

#[cfg(test)]
mod tests;
