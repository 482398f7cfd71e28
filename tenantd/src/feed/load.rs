//! Loads tenants from Postgres, many at once: what their switch and every door must know of them.
//!
//! A node that follows another one has thousands to load before their phones lose patience. One
//! question for many tenants costs hardly more than one for a single tenant, so they are asked for
//! in batches, several at a time; small ones, so that the first are served while others are loaded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pbx::edge::Served;
use pbx::id::TenantId;
use pbx::record::Binding;
use pbx::tenant::directory::{Algorithm, Directory, User};
use store::node::calls::LiveCall;
use store::node::{bindings, calls, directory};
use store::{ClusterKey, Failure};

use crate::clock::Clock;
use crate::lanes::Home;
use crate::nodes::Node;

/// Batches loaded at once; each takes a connection.
pub(super) const LOADS: usize = 4;

/// Tenants in a batch at most.
const BATCH: usize = 128;

/// What is needed of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// It comes to this node: its registrations and calls too.
    Whole,
    /// It is here, or lives elsewhere, and its configuration changed.
    Configuration,
}

/// A tenant to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tenant: TenantId,
    pub(super) version: i64,
    pub(super) scope: Scope,
    /// Where it lives, if that is not here.
    pub(super) elsewhere: Option<Home>,
}

/// A tenant as it was loaded.
pub(super) struct Loaded {
    pub(super) wanted: Wanted,
    pub(super) directory: Box<Directory>,
    pub(super) bindings: Vec<Binding>,
    /// Calls whose sound is here, and calls whose sound went down with another node.
    pub(super) live: Vec<Vec<u8>>,
    pub(super) lost: Vec<Vec<u8>>,
}

/// Those that are still to be loaded, in turn.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Wanted>,
    batch: usize,
    /// Of a batch of which one cannot be loaded, each is tried by itself.
    singly: Vec<Wanted>,
}

impl Queue {
    /// Few are dealt out evenly, so that all connections have something to do.
    pub(super) fn new(wanted: Vec<Wanted>) -> Self {
        let batch = wanted.len().div_ceil(LOADS * 4).clamp(1, BATCH);
        Self { waiting: wanted.into(), batch, singly: vec![] }
    }

    /// These are asked for right now.
    pub(super) fn put_first(&mut self, asked_for: &BTreeSet<TenantId>) {
        if asked_for.is_empty() || self.waiting.len() <= self.batch {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (first, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|wanted| asked_for.contains(&wanted.tenant));
        self.waiting = first.into_iter().chain(rest).collect();
    }

    /// One of these cannot be loaded.
    pub(super) fn put_back_singly(&mut self, batch: Vec<Wanted>) {
        self.singly.extend(batch);
    }

    /// What to load next, together.
    pub(super) fn next(&mut self) -> Option<Vec<Wanted>> {
        if let Some(wanted) = self.singly.pop() {
            return Some(vec![wanted]);
        }
        let batch: Vec<_> = self.waiting.drain(..self.batch.min(self.waiting.len())).collect();
        (!batch.is_empty()).then_some(batch)
    }
}

/// Loads these; one that is gone again is left out.
pub(super) async fn load(
    node: &Node,
    key: &ClusterKey,
    clock: Clock,
    batch: &[Wanted],
) -> Result<Vec<Loaded>, Failure> {
    let (database, name) = (node.database(), &node.shown.name);
    let all: Vec<TenantId> = batch.iter().map(|wanted| wanted.tenant).collect();
    let mut directories = directory::load(database, key, name, &all).await?;
    let whole = batch.iter().filter(|wanted| wanted.scope == Scope::Whole);
    let whole: Vec<TenantId> = whole.map(|wanted| wanted.tenant).collect();
    let (mut bindings, mut calls) = match whole.is_empty() {
        true => (BTreeMap::new(), BTreeMap::new()),
        false => (
            bindings::bindings_of(database, &whole, clock.now()).await?,
            calls::live_calls_of(database, &whole).await?,
        ),
    };
    let loaded = batch.iter().filter_map(|wanted| {
        let directory = Box::new(directories.remove(&wanted.tenant)?);
        let calls = calls.remove(&wanted.tenant).unwrap_or_default();
        let (live, lost): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.node == *name);
        let facts = |calls: Vec<LiveCall>| calls.into_iter().map(|call| call.facts).collect();
        let bindings = bindings.remove(&wanted.tenant).unwrap_or_default();
        Some(Loaded { wanted: *wanted, directory, bindings, live: facts(live), lost: facts(lost) })
    });
    Ok(loaded.collect())
}

/// What doors need of a tenant's configuration.
pub(super) fn served(directory: &Directory) -> Served {
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
        label: directory.label.as_ref().map(|label| label.to_ascii_lowercase()),
        trusted: directory.trusted.clone(),
        offered,
        exceptions,
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::UserId;
    use pbx::tenant::directory::{Encryption, Limits, Secrets, Srtp};
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
            encryption: Encryption::default(),
            recording: Default::default(),
            users: users.into_iter().map(|user| (user.id, user)).collect(),
            groups: BTreeMap::new(),
            conferences: BTreeMap::new(),
            numbers: BTreeMap::new(),
            names: BTreeMap::new(),
            credentials: BTreeMap::new(),
            sounds: BTreeMap::new(),
            music: None,
            country: Default::default(),
            announcements: BTreeMap::new(),
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
            srtp: Srtp::default(),
            record: Default::default(),
            music: None,
            announce_recording: None,
        }
    }
}
