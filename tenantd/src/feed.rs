//! Keeps the lanes' knowledge of tenants as new as Postgres: who is there, and what was published.
//!
//! A notification says at once that something changed; asking each second makes up for those that
//! were missed. A tenant is loaded whole, off the lanes, and handed over as one fact.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pbx::edge::Served;
use pbx::id::TenantId;
use pbx::input::{Input, Storage};
use pbx::record::Binding;
use pbx::tenant::directory::{Algorithm, Directory, User};
use store::node::feed::{Heard, Listener, versions};
use store::node::{bindings, calls, directory, nodes, upkeep};
use store::{ClusterKey, Failure};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::lanes::inbox::Order;
use crate::lanes::{LaneId, Lanes, Witness};
use crate::nodes::{Node, RENEW_EVERY};

/// How often Postgres is asked for what no notification told.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Notifications that come close together are answered by one question.
const GATHER_FOR: Duration = Duration::from_millis(10);

/// Tenants loaded at once; each takes a connection.
const LOADS: usize = 4;

/// How often what grows is kept within its limits.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// A lane whose ring of orders is full is tried again this soon.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What keeps lanes up to date.
pub struct Feed {
    node: Arc<Node>,
    key: Arc<ClusterKey>,
    lanes: Arc<Lanes>,
    clock: Clock,
    known: BTreeMap<TenantId, Known>,
    /// What is at home on each lane, in extensions.
    weights: BTreeMap<LaneId, usize>,
    /// Versions that cannot be loaded: told once, and not tried again before the next.
    unfit: BTreeMap<TenantId, i64>,
}

/// What the lanes know of a tenant.
#[derive(Debug, Clone)]
struct Known {
    version: i64,
    home: LaneId,
    /// Its part of the lane's work: its extensions.
    weight: usize,
    numbers: Vec<String>,
}

/// A tenant as it was loaded.
struct Loaded {
    tenant: TenantId,
    /// `None` if it is gone again.
    directory: Option<Box<Directory>>,
    bindings: Vec<Binding>,
    live: Vec<Vec<u8>>,
}

/// Whether a tenant's registrations and calls are needed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// It comes to this node.
    Whole,
    /// It is here, and its configuration changed.
    Configuration,
}

impl Feed {
    /// Nobody is known yet.
    pub fn new(node: Arc<Node>, key: Arc<ClusterKey>, lanes: Arc<Lanes>, clock: Clock) -> Self {
        let weights = lanes.ids().map(|lane| (lane, 0)).collect();
        let (known, unfit) = (BTreeMap::new(), BTreeMap::new());
        Self { node, key, lanes, clock, known, weights, unfit }
    }

    /// Brings the lanes up to date, for as long as it is let.
    pub async fn run(mut self) {
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listener = None;
        let (mut renewed, mut tidied) = (Instant::now(), Instant::now());
        loop {
            if listener.is_none() {
                listener = Listener::new(self.node.database()).await.ok();
            }
            tokio::select! {
                _ = tick.tick() => {}
                heard = hear(&mut listener) => debug!(?heard, "a change was told"),
            }
            let mut outcome = self.catch_up().await;
            if outcome.is_ok() && renewed.elapsed() >= RENEW_EVERY {
                outcome = self.renew().await;
                renewed = Instant::now();
            }
            if outcome.is_ok() && tidied.elapsed() >= TIDY_EVERY {
                outcome = upkeep::tidy(self.node.database(), self.clock.now()).await;
                tidied = Instant::now();
            }
            self.tell(&outcome);
        }
    }

    /// Learns what changed since it last asked, and tells the lanes.
    ///
    /// # Errors
    /// If Postgres is away; the lanes keep what they know.
    pub async fn catch_up(&mut self) -> Result<(), Failure> {
        let database = self.node.database();
        nodes::seen(database, &self.node.name, self.node.boot).await?;
        let now: BTreeMap<_, _> = versions(database).await?.into_iter().collect();
        let gone = self.known.keys().filter(|tenant| !now.contains_key(tenant));
        for tenant in gone.copied().collect::<Vec<_>>() {
            info!(%tenant, "tenant removed");
            self.remove(tenant).await;
        }
        self.unfit.retain(|tenant, version| now.get(tenant) == Some(version));
        let (mut new, mut wanted) = (vec![], vec![]);
        for (tenant, version) in now.into_iter().filter(|(t, _)| !self.unfit.contains_key(t)) {
            match self.known.get(&tenant) {
                Some(known) if version <= known.version => {}
                Some(_) => wanted.push((tenant, version, Scope::Configuration)),
                None => new.push((tenant, version)),
            }
        }
        self.node.take(&new.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>()).await?;
        let epochs = self.node.epochs();
        let arriving = new.into_iter().filter(|(tenant, _)| epochs.contains_key(tenant));
        wanted.extend(arriving.map(|(tenant, version)| (tenant, version, Scope::Whole)));
        self.load_all(wanted).await
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        for tenant in self.node.renew().await? {
            if self.known.contains_key(&tenant) {
                warn!(%tenant, "another node has taken the tenant over");
            }
            self.remove(tenant).await;
        }
        Ok(())
    }

    /// Loads some at a time, and hands each over; one that cannot be loaded holds up no other.
    async fn load_all(&mut self, wanted: Vec<(TenantId, i64, Scope)>) -> Result<(), Failure> {
        let mut wanted = wanted.into_iter();
        let mut loads = JoinSet::new();
        let (mut taken_over, mut outcome) = (vec![], Ok(()));
        loop {
            while loads.len() < LOADS
                && outcome.is_ok()
                && let Some((tenant, version, scope)) = wanted.next()
            {
                let (node, key, clock) = (self.node.clone(), self.key.clone(), self.clock);
                loads.spawn(async move {
                    let loaded = load(&node, &key, clock, tenant, scope).await;
                    loaded.map_err(|failure| (tenant, version, failure))
                });
            }
            match loads.join_next().await {
                None => break,
                Some(Ok(Ok(loaded))) => taken_over.extend(self.hand_over(loaded).await),
                Some(Ok(Err((.., failure)))) if failure.is_away() => outcome = Err(failure),
                Some(Ok(Err((tenant, version, failure)))) => {
                    warn!(%tenant, version, %failure, "a configuration cannot be taken over");
                    self.unfit.insert(tenant, version);
                }
                // It has panicked, which has been told; the tenant is tried again.
                Some(Err(_)) => {}
            }
        }
        if !taken_over.is_empty() {
            self.wait_for_lanes().await;
            nodes::serves(self.node.database(), &self.node.name, &taken_over).await?;
        }
        outcome
    }

    async fn hand_over(&mut self, loaded: Loaded) -> Option<(TenantId, i64)> {
        let tenant = loaded.tenant;
        let directory = loaded.directory?;
        let (version, weight) = (directory.version, directory.users.len() + 1);
        let numbers: Vec<String> = directory.numbers.keys().cloned().collect();
        let served = served(&directory);
        let before = self.known.get(&tenant).cloned();
        let home = before.as_ref().map_or_else(|| self.lightest(), |known| known.home);
        debug!(%tenant, version, lane = home.0, "configuration taken over");
        let input = match before {
            Some(_) => Input::Configured(directory),
            None => {
                let Loaded { bindings, live, .. } = loaded;
                Input::Arrived { directory, bindings, live, lost: vec![] }
            }
        };
        // Its own lane first: no message may come there before the tenant does.
        self.order(home, Order::Tell(Box::new(input))).await;
        for lane in self.lanes.ids() {
            self.order(lane, Order::Learn(Box::new(served.clone()), home)).await;
            if before.as_ref().is_none_or(|before| before.numbers != numbers) {
                let numbers = Input::Numbers { tenant, numbers: numbers.clone() };
                self.order(lane, Order::Tell(Box::new(numbers))).await;
            }
        }
        self.weigh(home, weight, before.map_or(0, |before| before.weight));
        self.known.insert(tenant, Known { version, home, weight, numbers });
        Some((tenant, version))
    }

    async fn remove(&mut self, tenant: TenantId) {
        let known = self.known.remove(&tenant);
        for lane in self.lanes.ids() {
            self.order(lane, Order::Forget(tenant)).await;
            let numbers = Input::Numbers { tenant, numbers: vec![] };
            self.order(lane, Order::Tell(Box::new(numbers))).await;
        }
        if let Some(known) = known {
            self.order(known.home, Order::Tell(Box::new(Input::Removed(tenant)))).await;
            self.weigh(known.home, 0, known.weight);
        }
        self.node.forget(tenant);
    }

    async fn order(&self, lane: LaneId, mut order: Order) {
        let Some(post) = self.lanes.post(lane) else { return };
        while let Err(refused) = post.order(order) {
            post.wake();
            order = refused;
            sleep(TRY_AGAIN_AFTER).await;
        }
        post.wake();
    }

    /// Until every lane has done what it was ordered so far.
    async fn wait_for_lanes(&self) {
        for lane in self.lanes.ids() {
            let (done, wait) = oneshot::channel();
            self.order(lane, Order::Report(done)).await;
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

async fn load(
    node: &Node,
    key: &ClusterKey,
    clock: Clock,
    tenant: TenantId,
    scope: Scope,
) -> Result<Loaded, Failure> {
    let database = node.database();
    let directory = directory::load(database, key, &node.name, tenant).await?.map(Box::new);
    let (bindings, live) = match scope {
        Scope::Whole => (
            bindings::bindings_of(database, tenant, clock.now()).await?,
            calls::live_calls_of(database, tenant).await?,
        ),
        Scope::Configuration => (vec![], vec![]),
    };
    Ok(Loaded { tenant, directory, bindings, live })
}

/// What doors need of a tenant's configuration.
fn served(directory: &Directory) -> Served {
    let mut lists = Vec::<(&[Algorithm], usize)>::new();
    for user in directory.users.values() {
        match lists.iter_mut().find(|(list, _)| *list == user.digest) {
            Some((_, users)) => *users += 1,
            None => lists.push((&user.digest, 1)),
        }
    }
    // Who does not exist is offered what most are, so that nobody learns who does.
    let offered = lists.iter().max_by_key(|(_, users)| *users).map(|(list, _)| list.to_vec());
    let offered = offered.unwrap_or_else(|| vec![Algorithm::Md5]);
    let differs = |user: &&User| user.digest != offered;
    let exceptions = directory.users.values().filter(differs).flat_map(|user| {
        let names = [Some(&user.number), user.username.as_ref()];
        names.into_iter().flatten().map(|name| (name.clone(), user.digest.clone()))
    });
    let exceptions = exceptions.collect();
    Served {
        tenant: directory.tenant,
        route: directory.route,
        realm: directory.domain.clone(),
        domains: directory.aliases.iter().chain([&directory.domain]).cloned().collect(),
        offered,
        exceptions,
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::UserId;
    use pbx::tenant::directory::{Limits, Secrets};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_name_that_does_not_exist_is_offered_what_most_are() {
        let both = vec![Algorithm::Sha256, Algorithm::Md5];
        let users = [
            user(1, "101", None, vec![Algorithm::Md5]),
            user(2, "102", Some("bob"), both.clone()),
            user(3, "103", None, vec![Algorithm::Md5]),
        ];
        let served = served(&directory(users));
        assert_eq!(served.offered, [Algorithm::Md5]);
        let exceptions: Vec<_> = served.exceptions.iter().collect();
        assert_eq!(exceptions, [(&"102".to_owned(), &both), (&"bob".to_owned(), &both)]);
        assert_eq!(served.domains, ["alias.test", "x.test"]);
    }

    #[test]
    fn a_company_without_extensions_is_offered_md5() {
        assert_eq!(served(&directory([])).offered, [Algorithm::Md5]);
    }

    fn directory(users: impl IntoIterator<Item = User>) -> Directory {
        Directory {
            tenant: TenantId(Uuid::from_u128(7)),
            version: 1,
            route: 7,
            name: "X".to_owned(),
            domain: "x.test".to_owned(),
            aliases: vec!["alias.test".to_owned()],
            label: None,
            trusted: vec![],
            limits: Limits::default(),
            users: users.into_iter().map(|user| (user.id, user)).collect(),
            groups: BTreeMap::new(),
            numbers: BTreeMap::new(),
            names: BTreeMap::new(),
            credentials: BTreeMap::new(),
        }
    }

    fn user(id: u128, number: &str, name: Option<&str>, digest: Vec<Algorithm>) -> User {
        User {
            id: UserId(Uuid::from_u128(id)),
            number: number.to_owned(),
            username: name.map(str::to_owned),
            name: String::new(),
            secrets: Secrets::new(number, "x.test", "secret"),
            digest,
            max_contacts: 1,
            limits: Limits::default(),
        }
    }
}
