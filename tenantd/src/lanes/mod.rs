//! Lanes: threads of which each owns a switch, a door and its sockets, and what joins them.

mod fair;
mod herald;
pub mod inbox;
mod running;
mod signals;
mod sound;
mod start;
mod world;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pbx::id::{NodeId, RecordId, TenantId};
use pbx::input::Storage;
use pbx::switch::Load;
use tokio::time::sleep;
use tracing::info;

pub use fair::Fair;
pub use herald::Herald;
pub use running::Running;
pub use signals::{Neighbours, Signals, Stage, Witness};
pub use sound::Sounds;
pub use start::{Failure, JOURNAL_QUOTA, Link, Listeners, Own, Prepared, Setup, prepare};
pub use world::{Disk, Memory, Wishes, World};

use self::inbox::{Order, Post, Report};

/// A lane whose ring of orders is full is tried again this soon.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Missed tenants that are noted; of further ones it is not known that they are in a hurry.
const MISSED: usize = 10_000;

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);

/// Where a tenant lives, as a door knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// On a lane of this node.
    Lane(LaneId),
    /// On another node.
    Node(NodeId),
    /// Nowhere yet: a node will soon take it.
    Nowhere,
}

/// The way to every lane.
#[derive(Debug)]
pub struct Lanes {
    posts: Vec<Post>,
    signals: Signals,
    hands: Mutex<Vec<Hand>>,
    /// Tenants whose phones asked while their home was lost.
    missed: Mutex<BTreeSet<TenantId>>,
}

/// What a lane last said that it has in hand.
#[derive(Debug, Clone, Copy, Default)]
struct Hand {
    load: Load,
    messages: usize,
}

impl Lanes {
    /// Lanes behind these posts, in the order of their ids.
    pub fn new(posts: Vec<Post>) -> Self {
        let hands = Mutex::new(vec![Hand::default(); posts.len()]);
        Self { posts, signals: Signals::default(), hands, missed: Mutex::default() }
    }

    /// The post of one lane.
    pub fn post(&self, lane: LaneId) -> Option<&Post> {
        self.posts.get(usize::from(lane.0))
    }

    /// Has a lane do something, as soon as it has room for another order.
    pub async fn order(&self, lane: LaneId, mut order: Order) {
        let Some(post) = self.post(lane) else { return };
        while let Err(refused) = post.order(order) {
            post.wake();
            order = refused;
            sleep(TRY_AGAIN_AFTER).await;
        }
        post.wake();
    }

    /// Has a lane do all of these, and wakes it for as many at a time as it has room for.
    pub async fn order_many(&self, lane: LaneId, orders: Vec<Order>) {
        let Some(post) = self.post(lane) else { return };
        for mut order in orders {
            while let Err(refused) = post.order(order) {
                post.wake();
                order = refused;
                sleep(TRY_AGAIN_AFTER).await;
            }
        }
        post.wake();
    }

    /// Has every lane do something.
    pub async fn order_all(&self, make: impl Fn() -> Order) {
        for lane in self.ids() {
            self.order(lane, make()).await;
        }
    }

    /// All lanes.
    pub fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..u16::try_from(self.posts.len()).unwrap_or(u16::MAX)).map(LaneId)
    }

    /// What concerns all of them.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// A lane has this much in hand, and so many messages wait for its switch.
    pub fn set_load(&self, lane: LaneId, load: Load, messages: usize) {
        if let Some(hand) = self.hands().get_mut(usize::from(lane.0)) {
            *hand = Hand { load, messages };
        }
    }

    /// Messages that wait for a lane's switch, as it last said.
    pub fn messages(&self, lane: LaneId) -> usize {
        self.hands().get(usize::from(lane.0)).map_or(0, |hand| hand.messages)
    }

    /// What all lanes have in hand, as they last said.
    pub fn load(&self) -> Load {
        self.hands().iter().map(|hand| hand.load).fold(Load::default(), |sum, load| Load {
            tenants: sum.tenants + load.tenants,
            calls: sum.calls + load.calls,
            transactions: sum.transactions + load.transactions,
            bindings: sum.bindings + load.bindings,
            waiting: sum.waiting + load.waiting,
        })
    }

    /// A phone of this tenant asked, and nobody could answer: whoever brings tenants home takes it
    /// before others.
    pub fn miss(&self, tenant: TenantId) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.len() < MISSED {
            missed.insert(tenant);
        }
    }

    /// Those that were missed since this was last asked.
    pub fn missed(&self) -> BTreeSet<TenantId> {
        std::mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hands(&self) -> MutexGuard<'_, Vec<Hand>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on.
    pub fn advance(&self, stage: Stage) {
        self.signals.advance(stage);
        self.posts.iter().for_each(Post::wake);
    }

    /// A witness says whether Postgres is there, and why not; everybody is told of a change.
    pub fn set_storage(&self, witness: Witness, now: Storage, why: &str) {
        if !self.signals.set_storage(witness, now) {
            return;
        }
        match now {
            Storage::Here => info!("postgres is back"),
            Storage::Away => info!(why, "postgres is away: the journal alone keeps what happens"),
        }
        self.posts.iter().for_each(Post::wake);
    }

    /// Tells a lane which of the records it waits for are durable; returns how many it will miss.
    pub fn kept(&self, lane: LaneId, records: impl IntoIterator<Item = RecordId>) -> usize {
        let Some(post) = self.post(lane) else { return 0 };
        let mut missed = 0;
        for record in records {
            missed += usize::from(!post.report(Report::Kept(record)));
        }
        post.wake();
        missed
    }
}
