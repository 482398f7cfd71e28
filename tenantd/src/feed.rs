//! Keeps the lanes' knowledge of tenants as new as Postgres: who is there, and what was published.
//!
//! A notification says at once that something changed; asking each second makes up for those that
//! were missed. A tenant is loaded whole, off the lanes, and handed over as one fact.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pbx::edge::Served;
use pbx::id::{NodeId, TenantId};
use pbx::input::{Input, Storage};
use store::node::feed::{Heard, Listener, Tenancy, fingerprint, versions};
use store::node::nodes::Seen;
use store::node::{nodes, upkeep};
use store::{ClusterKey, Failure};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

mod load;

use load::{LOADS, Loaded, Queue, Scope, Wanted, load, served};

use crate::clock::Clock;
use crate::homes::{Homes, Sight};
use crate::lanes::inbox::Order;
use crate::lanes::{Home, LaneId, Lanes, Neighbours, Stage, Witness};
use crate::net::link::Links;
use crate::nodes::Node;

/// How often Postgres is asked for what no notification told.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Notifications that come close together are answered by one question.
const GATHER_FOR: Duration = Duration::from_millis(10);

/// How often what grows is kept within its limits.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// While a lost node may have to be followed, Postgres is asked this often.
const HURRY_EVERY: Duration = Duration::from_millis(200);

/// For so long after a link went up or down.
const HURRY_FOR: Duration = Duration::from_secs(5);

/// What keeps lanes up to date.
pub struct Feed {
    node: Arc<Node>,
    key: Arc<ClusterKey>,
    lanes: Arc<Lanes>,
    links: Arc<Links>,
    clock: Clock,
    homes: Homes,
    known: BTreeMap<TenantId, Known>,
    /// What is at home on each lane, in extensions.
    weights: BTreeMap<LaneId, usize>,
    /// Versions that cannot be loaded: told once, and not tried again before the next.
    unfit: BTreeMap<TenantId, i64>,
    /// What Postgres and links said when there was nothing left to do.
    settled: Option<Settled>,
}

/// A state of the world in which nothing is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Settled {
    fingerprint: String,
    nodes: Vec<Seen>,
    linked: BTreeSet<NodeId>,
}

/// What lanes are to be told of some tenants.
#[derive(Debug, Default)]
struct News {
    of_homes: BTreeMap<LaneId, Vec<Order>>,
    homes: Vec<(TenantId, LaneId)>,
    of_doors: BTreeMap<LaneId, Vec<Order>>,
}

/// What the lanes know of a tenant.
#[derive(Debug, Clone)]
struct Known {
    version: i64,
    home: Home,
    /// Its part of the lane's work: its extensions.
    weight: usize,
    numbers: Vec<String>,
    served: Served,
}

impl Feed {
    /// Nobody is known yet.
    pub fn new(
        node: Arc<Node>,
        key: Arc<ClusterKey>,
        lanes: Arc<Lanes>,
        links: Arc<Links>,
        clock: Clock,
    ) -> Self {
        let weights = lanes.ids().map(|lane| (lane, 0)).collect();
        let (known, unfit) = (BTreeMap::new(), BTreeMap::new());
        let homes = Homes::new(node.shown.clone());
        let settled = None;
        Self { node, key, lanes, links, clock, homes, known, weights, unfit, settled }
    }

    /// Brings the lanes up to date, for as long as it is let.
    pub async fn run(mut self) {
        let mut listener = None;
        let mut tidied = Instant::now();
        let mut hurry_until = Instant::now();
        let mut pause = ASK_EVERY;
        loop {
            if listener.is_none() {
                listener = Listener::new(self.node.database()).await.ok();
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.links.changed() => hurry_until = Instant::now() + HURRY_FOR,
                heard = hear(&mut listener) => debug!(?heard, "a change was told"),
            }
            let mut outcome = self.catch_up().await;
            if outcome.is_ok() && tidied.elapsed() >= TIDY_EVERY {
                outcome = upkeep::tidy(self.node.database(), self.clock.now()).await;
                tidied = Instant::now();
            }
            let hurries = outcome.is_ok() && Instant::now() < hurry_until;
            pause = if hurries { HURRY_EVERY } else { ASK_EVERY };
            self.tell(&outcome);
        }
    }

    /// Learns what changed since it last asked, and tells the lanes.
    ///
    /// # Errors
    /// If Postgres is away; the lanes keep what they know.
    pub async fn catch_up(&mut self) -> Result<(), Failure> {
        let caught_up = self.follow().await;
        if caught_up.is_err() {
            self.homes.lose_sight();
            self.settled = None;
        }
        caught_up
    }

    async fn follow(&mut self) -> Result<(), Failure> {
        self.node.stay().await?;
        let database = self.node.database();
        let others = nodes::all(database).await?;
        self.lanes.signals().set_neighbours(match others.len() {
            0 | 1 => Neighbours::None,
            _ => Neighbours::Some,
        });
        let now = Settled {
            fingerprint: fingerprint(database).await?,
            nodes: others.clone(),
            linked: self.links.linked(),
        };
        if self.settled.as_ref() == Some(&now) {
            return Ok(());
        }
        let tenancies = versions(database).await?;
        self.links.set_peers(&peers(&others));
        self.let_go(&tenancies).await;
        let taken = self.take_home(&tenancies, &others).await?;
        let published: BTreeMap<_, _> = tenancies.iter().map(|t| (t.tenant, t.version)).collect();
        self.unfit.retain(|tenant, version| published.get(tenant) == Some(version));
        let epochs = self.node.epochs();
        let mut wanted = vec![];
        for tenancy in tenancies {
            let Tenancy { tenant, version, ref holder, .. } = tenancy;
            let elsewhere = match epochs.contains_key(&tenant) {
                true => None,
                false => Some(home_of(holder.as_deref(), &others)),
            };
            let scope = match (self.known.get(&tenant), elsewhere) {
                (Some(Known { home: Home::Node(_) | Home::Nowhere, .. }) | None, None) => {
                    Scope::Whole
                }
                (Some(known), Some(home)) if version <= known.version => {
                    self.move_away(tenant, home).await;
                    continue;
                }
                (Some(known), None) if version <= known.version => continue,
                (Some(_) | None, _) => Scope::Configuration,
            };
            if !self.unfit.contains_key(&tenant) {
                wanted.push(Wanted { tenant, version, scope, elsewhere });
            }
        }
        // Whoever is silent now may be lost a moment later, which Postgres does not tell.
        let is_settled = taken == 0 && wanted.is_empty() && self.homes.is_settled(&others);
        self.load_all(wanted).await?;
        self.settled = is_settled.then_some(now);
        Ok(())
    }

    /// What is gone, and what another node has taken.
    async fn let_go(&mut self, tenancies: &[Tenancy]) {
        let there: BTreeSet<_> = tenancies.iter().map(|tenancy| tenancy.tenant).collect();
        let gone = self.known.keys().filter(|tenant| !there.contains(tenant));
        for tenant in gone.copied().collect::<Vec<_>>() {
            info!(%tenant, "tenant removed");
            self.remove(tenant).await;
        }
        for tenant in self.node.lost(tenancies) {
            warn!(%tenant, "another node has taken the tenant over");
            self.node.forget(tenant);
            self.move_away(tenant, Home::Nowhere).await;
        }
    }

    async fn take_home(
        &mut self,
        tenancies: &[Tenancy],
        others: &[Seen],
    ) -> Result<usize, Failure> {
        if self.lanes.signals().stage() >= Stage::Draining {
            self.homes.drain();
        }
        let linked = self.links.linked();
        let sight = Sight { tenancies, nodes: others, linked: &linked };
        let wanted = self.homes.wanted(Instant::now(), sight, &self.node.epochs());
        let began_at = Instant::now();
        let taken = self.node.take(&wanted).await?;
        if taken > 0 {
            info!(tenants = taken, took = ?began_at.elapsed(), "tenants come to this node");
        }
        Ok(taken)
    }

    /// A tenant lives on that node from now on, as every door must know.
    async fn move_away(&mut self, tenant: TenantId, home: Home) {
        let Some(known) = self.known.get_mut(&tenant).filter(|known| known.home != home) else {
            return;
        };
        let before = std::mem::replace(&mut known.home, home);
        let (served, weight) = (known.served.clone(), known.weight);
        self.links.set_home(tenant, None);
        self.lanes.order_all(|| Order::Learn(Box::new(served.clone()), home)).await;
        if let Home::Lane(lane) = before {
            self.lanes.order(lane, Order::Tell(Box::new(Input::Removed(tenant)))).await;
            self.weigh(lane, 0, weight);
        }
    }

    /// Loads some at a time, and hands each over; one that cannot be loaded holds up no other, and
    /// whoever has phones that ask for it now comes first.
    async fn load_all(&mut self, wanted: Vec<Wanted>) -> Result<(), Failure> {
        let mut queue = Queue::new(wanted);
        let mut loads = JoinSet::new();
        let (mut taken_over, mut outcome) = (vec![], Ok(()));
        let began_at = Instant::now();
        let mut stayed_at = began_at;
        loop {
            queue.put_first(&self.lanes.missed());
            while loads.len() < LOADS
                && outcome.is_ok()
                && let Some(batch) = queue.next()
            {
                let (node, key, clock) = (self.node.clone(), self.key.clone(), self.clock);
                loads.spawn(async move {
                    let loaded = load(&node, &key, clock, &batch).await;
                    (batch, loaded)
                });
            }
            match loads.join_next().await {
                None => break,
                Some(Ok((_, Ok(loaded)))) => taken_over.extend(self.hand_over(loaded).await),
                Some(Ok((_, Err(failure)))) if failure.is_away() => outcome = Err(failure),
                Some(Ok((batch, Err(failure)))) => match batch.as_slice() {
                    [Wanted { tenant, version, .. }] => {
                        warn!(%tenant, version, %failure, "a configuration cannot be taken over");
                        self.unfit.insert(*tenant, *version);
                    }
                    _ => queue.put_back_singly(batch),
                },
                // It has panicked, which has been told; the tenants are tried again.
                Some(Err(_)) => {}
            }
            // However much there is to load, others must not take us for dead.
            if outcome.is_ok() && stayed_at.elapsed() >= ASK_EVERY {
                outcome = self.node.stay().await;
                stayed_at = Instant::now();
            }
        }
        if !taken_over.is_empty() {
            self.wait_for_lanes().await;
            let (tenants, took) = (taken_over.len(), began_at.elapsed());
            debug!(tenants, ?took, "tenants are served");
            nodes::serves(self.node.database(), &self.node.shown.name, &taken_over).await?;
        }
        outcome
    }

    /// Gives lanes what was loaded together; the answer is which versions they have now.
    async fn hand_over(&mut self, loaded: Vec<Loaded>) -> Vec<(TenantId, i64)> {
        let (mut news, mut taken_over) = (News::default(), vec![]);
        for loaded in loaded {
            taken_over.push(self.place(loaded, &mut news));
        }
        // Its own lane first: no message may come there before the tenant does.
        for (lane, orders) in news.of_homes {
            self.lanes.order_many(lane, orders).await;
        }
        for (tenant, lane) in news.homes {
            self.links.set_home(tenant, Some(lane));
        }
        for (lane, orders) in news.of_doors {
            self.lanes.order_many(lane, orders).await;
        }
        taken_over
    }

    /// Decides where a tenant lives, and what each lane must be told of it.
    fn place(&mut self, loaded: Loaded, news: &mut News) -> (TenantId, i64) {
        let Loaded { wanted, directory, bindings, live, lost } = loaded;
        let tenant = directory.tenant;
        let (version, weight) = (directory.version, directory.users.len() + 1);
        let numbers: Vec<String> = directory.numbers.keys().cloned().collect();
        let served = served(&directory);
        let before = self.known.remove(&tenant);
        let lane_before = before.as_ref().and_then(|known| match known.home {
            Home::Lane(lane) => Some(lane),
            Home::Node(_) | Home::Nowhere => None,
        });
        let home = match wanted.elsewhere {
            Some(elsewhere) => elsewhere,
            None => Home::Lane(lane_before.unwrap_or_else(|| self.lightest())),
        };
        debug!(%tenant, version, ?home, "configuration taken over");
        if let Home::Lane(lane) = home {
            let input = match wanted.scope {
                Scope::Configuration => Input::Configured(directory),
                Scope::Whole => Input::Arrived { directory, bindings, live, lost },
            };
            news.of_homes.entry(lane).or_default().push(Order::Tell(Box::new(input)));
            news.homes.push((tenant, lane));
            self.links.boards().come_home(tenant);
            let weight_before = lane_before.and(before.as_ref()).map_or(0, |known| known.weight);
            self.weigh(lane, weight, weight_before);
        }
        let numbers_before = before.map_or(vec![], |before| before.numbers);
        for lane in self.lanes.ids() {
            let orders = news.of_doors.entry(lane).or_default();
            orders.push(Order::Learn(Box::new(served.clone()), home));
            if numbers_before != numbers {
                let numbers = Input::Numbers { tenant, numbers: numbers.clone() };
                orders.push(Order::Tell(Box::new(numbers)));
            }
        }
        self.known.insert(tenant, Known { version, home, weight, numbers, served });
        (tenant, version)
    }

    async fn remove(&mut self, tenant: TenantId) {
        let known = self.known.remove(&tenant);
        self.links.set_home(tenant, None);
        for lane in self.lanes.ids() {
            self.lanes.order(lane, Order::Forget(tenant)).await;
            let numbers = Input::Numbers { tenant, numbers: vec![] };
            self.lanes.order(lane, Order::Tell(Box::new(numbers))).await;
        }
        if let Some(Known { home: Home::Lane(lane), weight, .. }) = known {
            self.lanes.order(lane, Order::Tell(Box::new(Input::Removed(tenant)))).await;
            self.weigh(lane, 0, weight);
        }
        self.node.forget(tenant);
    }

    /// Until every lane has done what it was ordered so far.
    async fn wait_for_lanes(&self) {
        for lane in self.lanes.ids() {
            let (done, wait) = oneshot::channel();
            self.lanes.order(lane, Order::Report(done)).await;
            // A lane that has ended reports nothing.
            let _ = wait.await;
        }
    }

    fn lightest(&self) -> LaneId {
        let lightest = self.weights.iter().min_by_key(|(_, weight)| **weight);
        lightest.map_or(LaneId(0), |(lane, _)| *lane)
    }

    fn weigh(&mut self, lane: LaneId, now: usize, before: usize) {
        let weight = self.weights.entry(lane).or_default();
        *weight = (*weight + now).saturating_sub(before);
    }

    fn tell(&self, outcome: &Result<(), Failure>) {
        match outcome {
            Ok(()) => self.lanes.set_storage(Witness::Reader, Storage::Here, ""),
            Err(failure) if failure.is_away() => {
                self.lanes.set_storage(Witness::Reader, Storage::Away, &failure.to_string());
            }
            Err(failure) => warn!(%failure, "postgres does not tell what was changed"),
        }
    }
}

/// Waits for a notification, and for those that come right after it.
async fn hear(listener: &mut Option<Listener>) -> Option<Heard> {
    let Some(ear) = listener else { return std::future::pending().await };
    let mut heard = None;
    let mut next = ear.next().await;
    loop {
        match next {
            Ok(change) => heard = Some(change),
            Err(_) => {
                *listener = None;
                return heard;
            }
        }
        match timeout(GATHER_FOR, ear.next()).await {
            Ok(another) => next = another,
            Err(_) => return heard,
        }
    }
}

/// Where each node that did not leave can be called.
fn peers(nodes: &[Seen]) -> BTreeMap<NodeId, SocketAddr> {
    let called = |seen: &Seen| Some((seen.number, seen.shown.link.as_ref()?.parse().ok()?));
    nodes.iter().filter_map(called).collect()
}

/// Where a tenant lives that is not at home here.
fn home_of(holder: Option<&str>, nodes: &[Seen]) -> Home {
    let holder = nodes.iter().find(|seen| Some(seen.shown.name.as_str()) == holder);
    holder.map_or(Home::Nowhere, |seen| Home::Node(seen.number))
}
