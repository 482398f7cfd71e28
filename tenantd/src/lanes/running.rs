//! Lanes at work, and how they come to an end: let go, hang up, write down, leave.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use media::Media;
use pbx::input::Storage;
use pbx::switch::Load;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use web::boards::Boards;

use super::{Herald, Lanes, Stage};
use crate::feed::Feed;
use crate::net::connections::Connections;
use crate::net::link::Links;
use crate::net::tcp::{self, Speech};
use crate::nodes::Node;

/// How long phones get to hear that their calls are over, and sound to say what it heard.
const HANG_UP_FOR: Duration = Duration::from_secs(1);

/// How long Postgres gets to take what was remembered; the next start writes the rest.
const WRITE_FOR: Duration = Duration::from_secs(5);

/// How long it gets to hear that we are gone.
const LEAVE_FOR: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What works for the lanes.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) threads: Vec<JoinHandle<()>>,
    /// They end when all is written.
    pub(super) writers: JoinSet<()>,
    /// They never end by themselves.
    pub(super) helpers: JoinSet<()>,
}

/// Lanes at work. To be stopped: dropped, it leaves them without their helpers.
pub struct Running {
    lanes: Arc<Lanes>,
    links: Arc<Links>,
    node: Arc<Node>,
    media: Arc<Media>,
    boards: Boards,
    connections: Option<Arc<Connections>>,
    tasks: Tasks,
}

impl Running {
    pub(super) fn new(
        lanes: Arc<Lanes>,
        links: Arc<Links>,
        node: Arc<Node>,
        media: Arc<Media>,
        boards: Boards,
        tasks: Tasks,
    ) -> Self {
        Self { lanes, links, node, media, boards, connections: None, tasks }
    }

    pub(super) fn with_feed(mut self, feed: Feed) -> Self {
        self.tasks.helpers.spawn(feed.run());
        self
    }

    /// Takes connections from now on.
    pub(super) fn with_connections(
        mut self,
        connections: Arc<Connections>,
        listeners: Vec<(TcpListener, Speech)>,
    ) -> Self {
        for (listener, speech) in listeners {
            self.tasks.helpers.spawn(tcp::listen(listener, speech, connections.clone()));
        }
        self.connections = Some(connections);
        self
    }

    /// Who tells lanes and peers of our public addresses.
    pub fn herald(&self) -> Herald {
        let (lanes, links) = (self.lanes.clone(), self.links.clone());
        Herald { lanes, links, node: self.node.number, boot: self.node.shown.boot }
    }

    /// What the portal shows live.
    pub fn boards(&self) -> Boards {
        self.boards.clone()
    }

    /// The ways to other nodes.
    pub fn links(&self) -> Arc<Links> {
        self.links.clone()
    }

    /// Sound, for what it counts.
    pub fn media(&self) -> Arc<Media> {
        self.media.clone()
    }

    /// Whether Postgres is there, as far as those know who need it.
    pub fn storage(&self) -> Storage {
        self.lanes.signals().storage()
    }

    /// How much is in hand.
    pub fn load(&self) -> Load {
        self.lanes.load()
    }

    /// From now on new calls and registrations are refused.
    pub fn drain(&self) {
        self.lanes.advance(Stage::Draining);
    }

    /// Drains until no call and no transaction is left, or for `longest`.
    pub async fn drained(&self, longest: Duration) {
        self.drain();
        // What lanes said before they were told does not count.
        sleep(LOOK_EVERY * 2).await;
        self.wait_until_idle(longest).await;
    }

    /// Hangs up what is left, lets everything be written, and ends.
    pub async fn stop(self) {
        self.lanes.advance(Stage::HangingUp);
        let calls = self.load().calls;
        if calls > 0 {
            info!(calls, "hanging up what is left");
        }
        sleep(LOOK_EVERY * 2).await;
        self.wait_until_idle(HANG_UP_FOR).await;
        let Self { lanes, node, media, connections, tasks, .. } = self;
        let Tasks { threads, mut writers, mut helpers } = tasks;
        lanes.advance(Stage::Ended);
        let joined = spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join)).await;
        if !matches!(joined, Ok(Ok(()))) {
            warn!("a lane did not end well");
        }
        if let Some(connections) = connections {
            connections.end().await;
        }
        let written = async { while writers.join_next().await.is_some() {} };
        if timeout(WRITE_FOR, written).await.is_err() {
            warn!("postgres did not take everything: the next start writes the rest");
        }
        helpers.shutdown().await;
        if !matches!(timeout(LEAVE_FOR, node.leave()).await, Ok(Ok(()))) {
            info!("postgres was not told that this node leaves: its leases run out");
        }
        // Its threads are joined here, unless somebody still reads its counters.
        let _ = spawn_blocking(move || drop(media)).await;
    }

    async fn wait_until_idle(&self, longest: Duration) {
        let give_up_at = Instant::now() + longest;
        while Instant::now() < give_up_at {
            let Load { calls, transactions, waiting, .. } = self.load();
            if calls + transactions + waiting == 0 {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
