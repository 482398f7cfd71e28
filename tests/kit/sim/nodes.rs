//! Several nodes on one database: who is linked with whom, whose home is where, and what happens
//! when one dies or is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pbx::flow::Advertised;
use pbx::id::{NodeId, TenantId};
use pbx::input::Input;
use pbx::record::{Binding, Memory, Record};

use super::Company;
use super::world::{Stage, World};

/// Whether a node's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Alive,
    /// It says and does nothing.
    Dead,
}

/// What the database knows of homes, and which links are cut.
#[derive(Debug, Default)]
pub struct Leases {
    homes: BTreeMap<TenantId, (usize, u64)>,
    cut: BTreeSet<(usize, usize)>,
    /// Records of those who were no longer at home.
    pub refused: Vec<Record>,
}

impl World {
    /// Where a node's phones reach it; the first node is 0.
    pub fn address_of(&self, node: usize) -> SocketAddr {
        self.stages[node].address
    }

    /// Puts a phone into the world that sends everything to this node.
    pub fn phone_at(&mut self, node: usize, name: &str, domain: &str, user: &str) {
        let address = self.address_of(node);
        self.phone(name, domain, user).account_mut().switch = address;
    }

    /// The node that is a tenant's home, as the database has it.
    pub fn home(&self, tenant: TenantId) -> usize {
        self.leases.homes[&tenant].0
    }

    /// Records that the database refused, because another node had the tenant.
    pub fn refused(&self) -> &[Record] {
        &self.leases.refused
    }

    /// A node's process ends in an instant. Its links are found dead; nobody has its tenants yet.
    pub fn kill(&mut self, node: usize) {
        self.stages[node].life = Life::Dead;
        for side in std::mem::take(&mut self.stages[node].sides) {
            self.sides.remove(&side);
        }
        self.say("pbx -> pbx", format!("node {} killed", node + 1));
        let gone = self.stages[node].node;
        self.tell_others(node, || Input::NodeGone(gone));
        self.settle();
    }

    /// A node runs on, but neither its peers nor the database hear of it.
    pub fn cut_off(&mut self, node: usize) {
        let others: Vec<usize> = (0..self.stages.len()).filter(|other| *other != node).collect();
        for other in others {
            self.leases.cut.insert((node.min(other), node.max(other)));
            let (here, there) = (self.stages[node].node, self.stages[other].node);
            self.stages[node].switch.handle_input(self.now, Input::NodeGone(there));
            self.stages[other].switch.handle_input(self.now, Input::NodeGone(here));
        }
        self.settle();
    }

    /// A node that was killed is started again, or one that was cut off is heard again; it learns
    /// what it no longer has.
    pub fn come_back(&mut self, node: usize) {
        self.leases.cut.retain(|(a, b)| *a != node && *b != node);
        if self.stages[node].life == Life::Dead {
            self.stages[node] = Stage::new(node, self.stages[node].boot + 1, self.unknown_domain);
            for company in self.companies.clone() {
                let (tenant, now) = (company.tenant(), self.now);
                let numbers = company.directory.numbers.keys().cloned().collect();
                let stage = &mut self.stages[node];
                stage.edge.learn(company.served());
                stage.switch.handle_input(now, Input::Numbers { tenant, numbers });
            }
        }
        self.link_all();
        let believed: Vec<TenantId> = self.stages[node].epochs.keys().copied().collect();
        for tenant in believed {
            if self.leases.homes[&tenant].0 != node {
                self.stages[node].epochs.remove(&tenant);
                self.stages[node].switch.handle_input(self.now, Input::Removed(tenant));
            }
        }
        self.settle();
    }

    /// The leases of a silent node have run out, and another takes its tenants over.
    pub fn take_over(&mut self, from: usize, to: usize) {
        for company in self.companies.clone() {
            let tenant = company.tenant();
            if self.leases.homes[&tenant].0 == from {
                let lost = self.facts_of(tenant);
                self.bring_home(company, to, vec![], lost);
            }
        }
        self.settle();
    }

    /// A tenant comes to a node with what is stored of it.
    pub(super) fn bring_home(
        &mut self,
        company: Company,
        node: usize,
        live: Vec<Vec<u8>>,
        lost: Vec<Vec<u8>>,
    ) {
        let tenant = company.tenant();
        let epoch = self.leases.homes.get(&tenant).map_or(1, |(_, epoch)| epoch + 1);
        self.leases.homes.insert(tenant, (node, epoch));
        self.stages[node].epochs.insert(tenant, epoch);
        let users = &company.directory.users;
        let of_tenant = |binding: &&Binding| users.contains_key(&binding.user);
        let stored = self.bindings.values().chain(self.twins.bindings.values());
        let bindings = stored.filter(of_tenant).cloned().collect();
        let directory = Box::new(company.directory);
        let arrived = Input::Arrived { directory, bindings, live, lost };
        self.stages[node].switch.handle_input(self.now, arrived);
    }

    /// The stored facts of a tenant's calls.
    pub(super) fn facts_of(&self, tenant: TenantId) -> Vec<Vec<u8>> {
        let of_tenant = self.live.values().filter(|(whose, _)| *whose == tenant);
        of_tenant.map(|(_, facts)| facts.clone()).collect()
    }

    /// Tells every living node of every other.
    pub(super) fn link_all(&mut self) {
        for node in 0..self.stages.len() {
            let Stage { node: number, boot, life, .. } = self.stages[node];
            if life == Life::Alive {
                let sip = Advertised::default();
                self.tell_others(node, || Input::Node { node: number, boot, sip: sip.clone() });
            }
        }
    }

    /// A message that came to `node` goes to the tenant's home: here, if this node believes so.
    pub(super) fn forward(&mut self, node: usize, tenant: TenantId, input: Input) {
        let home = match self.stages[node].epochs.contains_key(&tenant) {
            true => node,
            false => self.leases.homes[&tenant].0,
        };
        if self.is_linked(node, self.stages[home].node) {
            self.stages[home].switch.handle_input(self.now, input);
        }
    }

    /// Whether what `node` sends to that other gets there.
    pub(super) fn is_linked(&self, node: usize, to: NodeId) -> bool {
        let Some(other) = self.stages.iter().position(|stage| stage.node == to) else {
            return false;
        };
        let is_cut = self.leases.cut.contains(&(node.min(other), node.max(other)));
        self.stages[other].life == Life::Alive && !is_cut
    }

    /// Whether the database takes a record from this node: how a call went is true whoever has the
    /// tenant by now.
    pub(super) fn may_write(&self, node: usize, record: &Record) -> bool {
        let latest = self.leases.homes.get(&record.tenant).map(|(_, epoch)| epoch);
        matches!(record.what, Memory::Ended(_))
            || self.stages[node].epochs.get(&record.tenant) == latest
    }

    fn tell_others(&mut self, node: usize, make: impl Fn() -> Input) {
        let cut = self.leases.cut.clone();
        for other in (0..self.stages.len()).filter(|other| *other != node) {
            if !cut.contains(&(node.min(other), node.max(other))) {
                self.stages[other].switch.handle_input(self.now, make());
            }
        }
    }
}
