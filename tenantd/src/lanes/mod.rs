//! Lanes: threads of which each owns a switch, a door and its sockets, and what joins them.

mod fair;
pub mod inbox;
mod signals;
mod sound;
mod world;

use std::sync::{Mutex, PoisonError};

use pbx::id::RecordId;
use pbx::input::Storage;
use pbx::switch::Load;

pub use fair::Fair;
pub use signals::{Signals, Stage};
pub use sound::Sounds;
pub use world::{Disk, Memory, Wishes, World};

use self::inbox::{Post, Report};

/// Which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u16);

/// The way to every lane.
#[derive(Debug)]
pub struct Lanes {
    posts: Vec<Post>,
    signals: Signals,
    loads: Mutex<Vec<Load>>,
}

impl Lanes {
    /// Lanes behind these posts, in the order of their ids.
    pub fn new(posts: Vec<Post>) -> Self {
        let loads = Mutex::new(vec![Load::default(); posts.len()]);
        Self { posts, signals: Signals::default(), loads }
    }

    /// The post of one lane.
    pub fn post(&self, lane: LaneId) -> Option<&Post> {
        self.posts.get(usize::from(lane.0))
    }

    /// All lanes.
    pub fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..u16::try_from(self.posts.len()).unwrap_or(u16::MAX)).map(LaneId)
    }

    /// What concerns all of them.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// A lane has this much in hand.
    pub fn set_load(&self, lane: LaneId, load: Load) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = loads.get_mut(usize::from(lane.0)) {
            *slot = load;
        }
    }

    /// What all lanes have in hand, as they last said.
    pub fn load(&self) -> Load {
        let loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.iter().fold(Load::default(), |sum, load| Load {
            tenants: sum.tenants + load.tenants,
            calls: sum.calls + load.calls,
            transactions: sum.transactions + load.transactions,
            bindings: sum.bindings + load.bindings,
            waiting: sum.waiting + load.waiting,
        })
    }

    /// Goes on.
    pub fn advance(&self, stage: Stage) {
        self.signals.advance(stage);
        self.posts.iter().for_each(Post::wake);
    }

    /// Says whether Postgres is there; tells whether that is news.
    pub fn set_storage(&self, now: Storage) -> bool {
        let news = self.signals.set_storage(now);
        if news {
            self.posts.iter().for_each(Post::wake);
        }
        news
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
