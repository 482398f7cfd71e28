//! Starting all of it: sockets, journal, lanes, sound, and what keeps them up to date.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use media::Media;
use nix::errno::Errno;
use pbx::edge::{self, Edge, UnknownDomain};
use pbx::flow::Advertised;
use pbx::id::NodeId;
use pbx::input::Storage;
use pbx::record::Record;
use pbx::registrar::Policy;
use pbx::switch::{self, Switch};
use pbx::tenant::directory::Directory;
use store::node::nodes::Myself;
use store::{ClusterKey, Database, Failure as StoreFailure};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::error;

use super::inbox::{Inbox, Post, inbox};
use super::running::{Running, Tasks};
use super::{Disk, LaneId, Lanes, Memory, Sounds, Stage, Witness, World};
use crate::boards::{self, Gathered};
use crate::clock::Clock;
use crate::dispatch::{Dispatch, WAITING};
use crate::driver::Lane;
use crate::feed::Feed;
use crate::journal::{self, LaneJournal, ReplayFailure, Room, replay};
use crate::metrics::Metrics;
use crate::net::connections::{Connections, Limits};
use crate::net::link::proof::LinkKey;
use crate::net::link::{self, Links, Me, Means, Reception};
use crate::net::tcp::Speech;
use crate::net::tls::link::{Failure as LinkFailure, Files, Tls};
use crate::net::udp::{self, Socket};
use crate::nodes::{HOLD_FOR, Node};
use crate::write_behind::{
    AllRegistrations, Desk, Inbound, Registrations, Setback, between, registrations, run,
    run_registrations,
};

/// What the disk may hold for Postgres while it is away.
pub const JOURNAL_QUOTA: u64 = 1 << 30;

/// Configurations that wait to be dropped; more are dropped by the lane itself.
const RETIRED: usize = 64;

/// Bytes of the smallest record, the end of a registration: the journal's quota in records.
const SMALL_RECORD: usize = 64;

/// How soon Postgres is asked again if it goes away while lanes start.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How the lanes are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This node's name.
    pub node: String,
    /// Where peers reach it.
    pub link: Option<Link>,
    /// Its own addresses.
    pub own: Own,
    /// The journal's folder.
    pub journal: PathBuf,
    /// What the journal may take on disk: [`JOURNAL_QUOTA`] unless told otherwise.
    pub journal_quota: u64,
    /// Our addresses in Via and Contact.
    pub sip: Advertised,
    /// Our addresses in SDP.
    pub sound: Advertised,
    /// Ports and threads of sound.
    pub media: media::Config,
    /// How long registrations last.
    pub policy: Policy,
    /// What strangers hear.
    pub unknown_domain: UnknownDomain,
}

/// This node's own addresses, beside those that phones are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// One a family at most: sound of phones that reached another node goes there.
    pub sound: Vec<IpAddr>,
    /// Where sound between two tenants goes, on whatever nodes they live.
    pub inner: IpAddr,
}

/// Links to peer nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where peers call us.
    pub advertise: SocketAddr,
    /// The operator's certificates, if there are any.
    pub files: Option<Files>,
}

/// Why the lanes did not start.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Postgres did not answer, or said no.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The journal that the last process left cannot be read.
    #[error(transparent)]
    LeftOver(#[from] journal::Unreadable),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] journal::Failure),
    /// There is no sound.
    #[error(transparent)]
    Media(#[from] media::Failure),
    /// Links cannot be encrypted.
    #[error(transparent)]
    Link(#[from] LinkFailure),
    /// The system has no thread or bell for a lane.
    #[error("a lane cannot be started: {0}")]
    System(#[from] io::Error),
}

impl Failure {
    /// Whether the same may work later without anybody's help.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Store(failure) => failure.is_away(),
            Self::LeftOver(_)
            | Self::Journal(_)
            | Self::Media(_)
            | Self::Link(_)
            | Self::System(_) => false,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// Every lane's sockets, open before anything else begins.
pub struct Listeners {
    by_lane: Vec<Vec<Socket>>,
    link: Vec<TcpListener>,
    streams: Vec<(TcpListener, Speech)>,
}

impl Listeners {
    /// Opens each address for so many lanes; `None`: one a core.
    ///
    /// # Errors
    /// If an address is in use, or is none of this machine's.
    pub fn open(addresses: &[SocketAddr], lanes: Option<NonZeroU16>) -> Result<Self, udp::Failure> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let lanes = lanes.map_or(cores, |lanes| usize::from(lanes.get()));
        let mut by_lane: Vec<Vec<Socket>> = (0..lanes).map(|_| vec![]).collect();
        for address in addresses {
            let Some(sockets) = udp::open(*address, lanes)? else { continue };
            by_lane.iter_mut().zip(sockets).for_each(|(lane, socket)| lane.push(socket));
        }
        Ok(Self { by_lane, link: vec![], streams: vec![] })
    }

    /// With listeners for peer nodes beside those for phones.
    pub fn with_link(self, link: Vec<TcpListener>) -> Self {
        Self { link, ..self }
    }

    /// Takes connections, too.
    pub fn add_streams(&mut self, listeners: Vec<TcpListener>, speech: &Speech) {
        self.streams.extend(listeners.into_iter().map(|listener| (listener, speech.clone())));
    }

    /// The addresses that are open for datagrams.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.by_lane
            .first()
            .map(|lane| lane.iter().map(Socket::address).collect())
            .unwrap_or_default()
    }
}

/// Who we are, and what tags, branches and nonces are signed with.
#[derive(Clone, Copy)]
struct Keys {
    node: NodeId,
    boot: u32,
    tokens: [u8; 16],
    nonces: [u8; 16],
}

/// What each lane starts with beside its own sockets.
struct Common {
    setup: Setup,
    clock: Clock,
    keys: Keys,
    room: Arc<Room>,
    lanes: Arc<Lanes>,
    links: Arc<Links>,
    media: Arc<Media>,
    sounds: Arc<Sounds>,
    connections: Arc<Connections>,
    retired: mpsc::Sender<Box<Directory>>,
}

/// This node, with what its last process left in Postgres.
pub struct Prepared {
    setup: Setup,
    node: Arc<Node>,
    clock: Clock,
}

/// Says in Postgres that this node is here, takes the tenants that its last process had, and writes
/// what that one left in the journal.
///
/// # Errors
/// If Postgres is away ([`Failure::is_away`]), then it can be tried again; or if the journal cannot
/// be read.
pub async fn prepare(setup: &Setup, database: &Database) -> Result<Prepared, Failure> {
    let clock = Clock::start();
    let boot = u32::try_from(clock.now().as_secs()).unwrap_or(u32::MAX);
    let link = setup.link.as_ref().map(|link| link.advertise.to_string());
    let shown = Myself { name: setup.node.clone(), boot, link };
    let number = store::node::nodes::started(database, &shown, HOLD_FOR).await?;
    let node = Node::new(shown, number, database.clone());
    // Others are taken once all who are there have been seen.
    let tenancies = store::node::feed::versions(database).await?;
    let before = tenancies.iter().filter(|t| t.holder.as_ref() == Some(&setup.node));
    node.take(&before.map(|tenancy| tenancy.tenant).collect::<Vec<_>>()).await?;
    let write = |records: Arc<[Record]>| {
        let node = &node;
        async move { node.write(&records).await }
    };
    match replay(&setup.journal, write).await {
        Ok(_) => Ok(Prepared { setup: setup.clone(), node: Arc::new(node), clock }),
        Err(ReplayFailure::Unreadable(file)) => Err(file.into()),
        Err(ReplayFailure::Refused(failure)) => Err(failure.into()),
    }
}

impl Prepared {
    /// Starts lanes and sound, brings all tenants in, and serves. Should Postgres go away just now,
    /// it waits until it is back.
    ///
    /// # Errors
    /// If something that lanes need cannot be had.
    pub async fn start(
        self,
        listeners: Listeners,
        key: Arc<ClusterKey>,
        metrics: &Metrics,
    ) -> Result<Running, Failure> {
        let Self { setup, node, clock } = self;
        let (inboxes, posts) = inboxes(listeners.by_lane.len())?;
        let (retired, mut to_drop) = mpsc::channel(RETIRED);
        let keys = Keys {
            node: node.number,
            boot: node.shown.boot,
            tokens: half(key.derive("sip tags and branches")),
            nonces: half(key.derive("sip nonces")),
        };
        let means = match &setup.link {
            Some(link) => Some(means(link, &key)?),
            None => None,
        };
        let lanes = Arc::new(Lanes::new(posts));
        let common = Common::new(setup, clock, keys, (lanes, means), retired, metrics)?;
        let (mut tasks, mut shown) = (Tasks::default(), vec![]);
        let (registrations, of_all) = registrations();
        tasks.writers.spawn(write_registrations(node.clone(), of_all));
        let ids = common.lanes.ids();
        for (lane, (sockets, inbox)) in ids.zip(listeners.by_lane.into_iter().zip(inboxes)) {
            let begun = begin_lane(&common, lane, sockets, inbox, metrics)?;
            shown.push(begun.shown);
            tasks.threads.push(begun.thread);
            let (node, registrations) = (node.clone(), registrations.clone());
            tasks.writers.spawn(write(node, begun.desk, begun.inbound, registrations));
        }
        // From here on the lanes alone have it, and it ends with the last.
        drop(registrations);
        watch_shared(metrics, &common);
        tasks.helpers.spawn(async move { while to_drop.recv().await.is_some() {} });
        let Common { lanes, links, media, connections, .. } = common;
        let boards = links.boards().clone();
        tasks.helpers.spawn(boards::run(shown, boards.clone()));
        tasks.helpers.spawn(boards::across(links.clone()));
        tasks.helpers.spawn(links.clone().tell_lanes());
        for listener in listeners.link {
            tasks.helpers.spawn(link::listen(listener, links.clone()));
        }
        let mut feed = Feed::new(node.clone(), key, lanes.clone(), links.clone(), clock);
        let running = Running::new(lanes.clone(), links, node, media, boards, tasks);
        while let Err(failure) = feed.catch_up().await {
            if !failure.is_away() {
                running.stop().await;
                return Err(failure.into());
            }
            lanes.set_storage(Witness::Reader, Storage::Away, &failure.to_string());
            sleep(TRY_AGAIN_AFTER).await;
        }
        lanes.advance(Stage::Serving);
        Ok(running.with_feed(feed).with_connections(connections, listeners.streams))
    }
}

impl Common {
    fn new(
        setup: Setup,
        clock: Clock,
        keys: Keys,
        (lanes, means): (Arc<Lanes>, Option<Means>),
        retired: mpsc::Sender<Box<Directory>>,
        metrics: &Metrics,
    ) -> Result<Self, Failure> {
        let reception = Reception::new(lanes.clone(), metrics.tally(), door(&setup, keys));
        let me = Me { node: keys.node, boot: keys.boot };
        let links = Arc::new(Links::new(me, means, setup.sip.clone(), reception));
        let sounds = Arc::new(Sounds::new(lanes.clone(), metrics.tally()));
        let told = sounds.clone();
        let media = Arc::new(Media::start(&setup.media, move |event| told.report(event))?);
        let room = Arc::new(Room::new(setup.journal_quota));
        let limits = Limits::of_this_process();
        let (tally, of_lanes) = (metrics.tally(), lanes.clone());
        let connections = Connections::new(keys.node, keys.boot, of_lanes, limits, tally);
        let connections = Arc::new(connections);
        Ok(Self { setup, clock, keys, room, lanes, links, media, sounds, connections, retired })
    }
}

fn inboxes(lanes: usize) -> Result<(Vec<Inbox>, Vec<Post>), Errno> {
    Ok((0..lanes).map(|_| inbox()).collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

/// A lane that runs, but for what tokio does for it.
struct Begun {
    thread: JoinHandle<()>,
    desk: Desk,
    inbound: Inbound,
    shown: Arc<Gathered>,
}

fn begin_lane(
    common: &Common,
    lane: LaneId,
    sockets: Vec<Socket>,
    inbox: Inbox,
    metrics: &Metrics,
) -> Result<Begun, Failure> {
    let Common { setup, lanes, room, .. } = common;
    let tally = metrics.tally();
    let journal = LaneJournal::open(&setup.journal, lane.0, room.clone())?;
    let (outbound, inbound) = between(journal.tail());
    watch(metrics, common, lane, &journal);
    let shown = Arc::new(Gathered::new(tally.clone()));
    let gathered = shown.clone();
    metrics.queue(format!("lane_{}_board_changes", lane.0), boards::LIMIT, move || gathered.len());
    let world = World {
        node: common.keys.node,
        lane,
        sockets,
        connections: common.connections.clone(),
        memory: Memory { journal, outbound, disk: Disk::Works },
        links: common.links.clone(),
        media: common.media.clone(),
        sounds: common.sounds.clone(),
        shown: shown.clone(),
        tally: tally.clone(),
        retired: common.retired.clone(),
    };
    let dispatch = Dispatch::new(
        lane,
        door(setup, common.keys),
        lanes.clone(),
        common.links.clone(),
        room.clone(),
        tally.clone(),
    );
    let switch = Switch::new(switch::Setup {
        node: common.keys.node,
        boot: common.keys.boot,
        seed: rand::random(),
        token_key: common.keys.tokens,
        nonce_key: common.keys.nonces,
        sip: setup.sip.clone(),
        media: setup.sound.clone(),
        own: setup.own.sound.clone(),
        inner: setup.own.inner,
        fingerprint: Some(common.media.fingerprint()),
        policy: setup.policy,
        unknown_domain: setup.unknown_domain,
    });
    let driven = Lane { switch, dispatch, inbox, world, lanes: lanes.clone(), clock: common.clock };
    let thread = thread::Builder::new().name(format!("lane-{}", lane.0)).spawn(move || {
        let _guard = Guard(lane);
        driven.run();
    })?;
    let desk = Desk { lane, lanes: lanes.clone(), tally };
    Ok(Begun { thread, desk, inbound, shown })
}

fn door(setup: &Setup, keys: Keys) -> Edge {
    Edge::new(edge::Setup {
        token_key: keys.tokens,
        nonce_key: keys.nonces,
        boot: keys.boot,
        seed: rand::random(),
        advertised: setup.sip.clone(),
        unknown_domain: setup.unknown_domain,
    })
}

fn means(link: &Link, key: &ClusterKey) -> Result<Means, LinkFailure> {
    let tls = match &link.files {
        Some(files) => Tls::of_authority(files)?,
        None => Tls::of_key()?,
    };
    Ok(Means { tls, key: LinkKey::new(key.derive("links between nodes")) })
}

/// A lane that panics takes the process along: its tenants would be dead and look alive. What was
/// remembered is in the journal, and the next process revives the calls.
struct Guard(LaneId);

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            error!(lane = self.0.0, "a lane has panicked: the process ends, to be started again");
            std::process::abort();
        }
    }
}

async fn write(node: Arc<Node>, desk: Desk, inbound: Inbound, registrations: Registrations) {
    run(desk, inbound, registrations, move |records| write_group(node.clone(), records)).await;
}

async fn write_registrations(node: Arc<Node>, all: AllRegistrations) {
    run_registrations(all, move |records| write_group(node.clone(), records)).await;
}

async fn write_group(node: Arc<Node>, records: Arc<[Record]>) -> Result<usize, Setback> {
    node.write(&records).await.map_err(|failure| Setback(failure.to_string()))
}

/// Every queue of a lane is seen from outside.
fn watch(metrics: &Metrics, common: &Common, lane: LaneId, journal: &LaneJournal) {
    use super::inbox::{ARRIVALS, MAIL, ORDERS, OUTGOING, REPORTS};
    let name = |queue: &str| format!("lane_{}_{queue}", lane.0);
    let Some(post) = common.lanes.post(lane) else { return };
    let queues = [("mail", MAIL), ("reports", REPORTS), ("orders", ORDERS), ("arrivals", ARRIVALS)];
    for (which, (queue, limit)) in queues.into_iter().enumerate() {
        let post = post.clone();
        metrics.queue(name(queue), limit, move || {
            post.lengths().get(which).copied().unwrap_or_default()
        });
    }
    let outgoing = post.clone();
    metrics.queue(name("outgoing"), OUTGOING, move || outgoing.outgoing());
    let tail = journal.tail();
    let waiting = move || usize::try_from(tail.waiting()).unwrap_or(usize::MAX);
    let most = usize::try_from(common.setup.journal_quota).unwrap_or(usize::MAX) / SMALL_RECORD;
    metrics.queue(name("journal_records"), most, waiting);
    let lanes = common.lanes.clone();
    metrics.queue(name("messages"), WAITING, move || lanes.messages(lane));
}

fn watch_shared(metrics: &Metrics, common: &Common) {
    let (room, sounds) = (common.room.clone(), common.sounds.clone());
    let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let quota = bytes(common.setup.journal_quota);
    metrics.queue("journal_bytes", quota, move || bytes(room.used()));
    // A side takes two ports.
    let sides = common.setup.media.ports.len() / 2;
    metrics.queue("calls_with_sound", sides, move || sounds.len());
    let connections = common.connections.clone();
    metrics.queue("connections", connections.limits().in_all, move || connections.count());
}

fn half(key: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(key).for_each(|(to, from)| *to = from);
    half
}

#[cfg(test)]
mod tests;
