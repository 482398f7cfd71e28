//! The registrar's promises, each a sentence; time stands still unless a test moves it.

mod connections;
mod expiry;
mod listing;
mod order;
mod removal;
mod restart;
mod room;
mod routers;
mod sameness;

use std::borrow::Cow;
use std::net::SocketAddr;

use smallvec::smallvec;

use super::*;
use crate::chance::Chance;
use crate::flow::Path;
use crate::id::{BindingId, NodeId, UserId};
use crate::moment::Moment;
use crate::record::{Binding, Memory, Wait};
use crate::sip::nat::Reach;
use crate::story::Unregistered;
use crate::tenant::directory::User;
use crate::tenant::sample::{directory, user};

const HOME: &str = "198.51.100.1:40001";
const OFFICE: &str = "203.0.113.9:5060";

/// A registrar with its surroundings.
struct World {
    registrar: Registrar,
    chance: Chance,
    now: Moment,
    policy: Policy,
    users: Vec<User>,
}

impl World {
    fn new() -> Self {
        let mut users: Vec<User> = directory().users.into_values().collect();
        users[1].max_contacts = 2;
        users[2].max_contacts = 3;
        Self {
            registrar: Registrar::default(),
            chance: Chance::from_seed([7; 32]),
            now: Moment::from_secs(10_000),
            policy: Policy::default(),
            users,
        }
    }

    fn register(&mut self, number: u128, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
        let user = self.users.iter().find(|known| known.id == user(number)).unwrap();
        self.registrar.register(self.now, &mut self.chance, user, &self.policy, ask)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += std::time::Duration::from_secs(seconds);
    }

    /// The Contact values that the answer to this user's REGISTER lists.
    fn listed(&self, number: u128) -> Vec<String> {
        self.registrar.listed(self.now, user(number)).map(|listed| listed.to_string()).collect()
    }

    fn reachable(&self, number: u128) -> Vec<&str> {
        let contacts = self.registrar.contacts_of(self.now, user(number));
        contacts.map(|binding| binding.contact.as_str()).collect()
    }
}

fn path(peer: &str) -> Path {
    Path::udp(NodeId(1), "192.0.2.1:5060".parse().unwrap(), peer.parse().unwrap())
}

fn contact(uri: &str) -> AskedContact<'_> {
    AskedContact { uri, q: 1_000, expires: None, instance: None, reg_id: None }
}

fn ask<'a>(call_id: &'a str, cseq: u32, from: &str, contacts: Asked<'a>) -> Ask<'a> {
    let (path, route) = (path(from), vec![]);
    Ask {
        contacts,
        expires: None,
        call_id,
        cseq,
        path,
        route,
        user_agent: "Phone 1.0",
        reach: Reach::BehindNat,
        alg: None,
    }
}

/// A phone at home registers one contact.
fn phone<'a>(call_id: &'a str, cseq: u32, uri: &'a str) -> Ask<'a> {
    ask(call_id, cseq, HOME, Asked::These(smallvec![contact(uri)]))
}

fn from<'a>(peer: &str, ask: Ask<'a>) -> Ask<'a> {
    Ask { path: path(peer), ..ask }
}

fn for_seconds(expires: u32, ask: Ask<'_>) -> Ask<'_> {
    Ask { expires: Some(expires), ..ask }
}

fn with_instance<'a>(instance: &'a str, reg_id: Option<u32>, mut ask: Ask<'a>) -> Ask<'a> {
    if let Asked::These(contacts) = &mut ask.contacts {
        for contact in contacts {
            contact.instance = Some(Cow::Borrowed(instance));
            contact.reg_id = reg_id;
        }
    }
    ask
}

fn added(outcome: &Outcome) -> &Binding {
    match outcome.changes.as_slice() {
        [.., Change::Added(binding)] => binding,
        other => panic!("nothing was added last: {other:?}"),
    }
}

fn kinds(changes: &[Change]) -> Vec<&'static str> {
    let name = |change: &Change| match change {
        Change::Added(_) => "added",
        Change::Moved(_) => "moved",
        Change::Prolonged(_) => "prolonged",
        Change::Refreshed(_) => "refreshed",
        Change::Removed(_, Unregistered::ByPhone) => "removed by phone",
        Change::Removed(_, Unregistered::Expired) => "expired",
        Change::Removed(_, Unregistered::Replaced) => "replaced",
        Change::Removed(_, Unregistered::Removed) => "user removed",
    };
    changes.iter().map(name).collect()
}
