//! Which tenants this node should take: those that are free, and those of nodes that are lost.
//!
//! All nodes decide alike, each for itself, so that they do not race: a free tenant is for the node
//! whose name and the tenant's id give the highest number ("rendezvous hashing"), which spreads
//! them evenly and moves none that has a home. If that node does not take it within a moment,
//! anybody does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pbx::id::{NodeId, TenantId};
use store::node::feed::Tenancy;
use store::node::nodes::{Life, Myself, Seen};
use tokio::time::Instant;

use crate::nodes::HOLD_FOR;

/// How long the node for which a tenant is meant has to take it.
const FIRST_CHOICE_FOR: Duration = Duration::from_millis(1_500);

/// What this node knows of others, beside what Postgres says.
#[derive(Debug)]
pub struct Homes {
    me: Myself,
    /// Since when Postgres has answered without a break; nobody can have been heard before.
    steady_since: Option<Instant>,
    free_since: BTreeMap<TenantId, Instant>,
    takes: Takes,
}

/// What this node takes of what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Tenants,
    /// It is about to stop.
    Nothing,
}

/// What Postgres and links say at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Every tenant, and who has it.
    pub tenancies: &'a [Tenancy],
    /// Every node that did not leave.
    pub nodes: &'a [Seen],
    /// Those whose links are up.
    pub linked: &'a BTreeSet<NodeId>,
}

impl Homes {
    /// Nothing is known yet.
    pub fn new(me: Myself) -> Self {
        Self { me, steady_since: None, free_since: BTreeMap::new(), takes: Takes::Tenants }
    }

    /// This node is about to stop: whatever is free is left to others, or it would move twice.
    pub fn drain(&mut self) {
        self.takes = Takes::Nothing;
        self.free_since.clear();
    }

    /// Postgres does not answer: when it is back, others get the time to say that they live.
    pub fn lose_sight(&mut self) {
        self.steady_since = None;
        self.free_since.clear();
    }

    /// The tenants to take now. `ours` are at home here.
    pub fn wanted(
        &mut self,
        now: Instant,
        sight: Sight<'_>,
        ours: &BTreeMap<TenantId, i64>,
    ) -> Vec<TenantId> {
        if self.takes == Takes::Nothing {
            return vec![];
        }
        let steady_for = now - *self.steady_since.get_or_insert(now);
        let patience = steady_for >= HOLD_FOR;
        let free: Vec<TenantId> = sight
            .tenancies
            .iter()
            .filter(|tenancy| !ours.contains_key(&tenancy.tenant))
            .filter(|tenancy| self.is_free(tenancy, sight, patience))
            .map(|tenancy| tenancy.tenant)
            .collect();
        let before = std::mem::take(&mut self.free_since);
        let mut wanted = vec![];
        for tenant in free {
            let since = before.get(&tenant).copied().unwrap_or(now);
            self.free_since.insert(tenant, since);
            let is_left_over = now - since >= FIRST_CHOICE_FOR;
            if is_left_over || self.is_first_choice(tenant, sight.nodes) {
                wanted.push(tenant);
            }
        }
        wanted
    }

    /// Whether nothing will be wanted until something changes: nothing is free, and nobody silent.
    pub fn is_settled(&self, nodes: &[Seen]) -> bool {
        self.free_since.is_empty() && nodes.iter().all(|node| node.life == Life::Alive)
    }

    fn is_free(&self, tenancy: &Tenancy, sight: Sight<'_>, patience: bool) -> bool {
        let Some(holder) = &tenancy.holder else { return true };
        if *holder == self.me.name {
            // An earlier process of ours had it.
            return true;
        }
        match sight.nodes.iter().find(|node| node.shown.name == *holder) {
            // It has left in good order.
            None => true,
            Some(Seen { life: Life::Alive, .. }) => false,
            // A node that is cut off from Postgres serves on, and its link says so.
            Some(Seen { life: Life::Silent, number, .. }) => {
                patience && !sight.linked.contains(number)
            }
        }
    }

    fn is_first_choice(&self, tenant: TenantId, nodes: &[Seen]) -> bool {
        if self.me.link.is_none() {
            // Nobody could bring us another's messages, or ours to another.
            return true;
        }
        let ours = rank(tenant, &self.me.name);
        let others = nodes.iter().filter(|node| {
            node.life == Life::Alive && node.shown.link.is_some() && node.shown.name != self.me.name
        });
        others.map(|node| rank(tenant, &node.shown.name)).all(|theirs| theirs < ours)
    }
}

/// The same on every node and in every release: FNV-1a, and a mixer so that all bits count.
fn rank(tenant: TenantId, node: &str) -> u64 {
    let bytes = tenant.0.as_bytes().iter().chain(node.as_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn free_tenants_are_spread_over_living_nodes_and_none_is_left() {
        let nodes = [node(1, Life::Alive), node(2, Life::Alive), node(3, Life::Alive)];
        let free: Vec<_> = (0..3_000).map(|number| tenancy(number, None)).collect();
        let mut taken = BTreeSet::new();
        for number in 1..=3 {
            let wanted = wanted(&mut homes(number), 0, &free, &nodes, &[]);
            assert!((800..1_200).contains(&wanted.len()), "{}", wanted.len());
            taken.extend(wanted);
        }
        assert_eq!(taken.len(), 3_000);
    }

    #[test]
    fn when_a_node_dies_only_its_tenants_move() {
        let mut homes = homes(1);
        let nodes = [node(1, Life::Alive), node(2, Life::Silent), node(3, Life::Alive)];
        let tenancies = [tenancy(1, Some(1)), tenancy(2, Some(2)), tenancy(3, Some(3))];
        let ours = BTreeMap::from([(tenancies[0].tenant, 1)]);
        let linked = BTreeSet::new();
        let sight = Sight { tenancies: &tenancies, nodes: &nodes, linked: &linked };
        let start = Instant::now();
        homes.wanted(start, sight, &ours);
        let later = start + HOLD_FOR + FIRST_CHOICE_FOR;
        homes.wanted(later, sight, &ours);
        let wanted = homes.wanted(later + FIRST_CHOICE_FOR, sight, &ours);
        assert_eq!(wanted, [tenancies[1].tenant]);
    }

    #[test]
    fn what_its_first_choice_does_not_take_is_taken_by_another() {
        let nodes = [node(1, Life::Alive), node(2, Life::Alive)];
        let free: Vec<_> = (0..50).map(|number| tenancy(number, None)).collect();
        let mut homes = homes(1);
        let start = Instant::now();
        let mut at = |millis| {
            let now = start + Duration::from_millis(millis);
            wanted_at(&mut homes, now, &free, &nodes, &[]).len()
        };
        assert!(at(0) < 50 && at(1_400) < 50);
        assert_eq!(at(1_500), 50);
    }

    #[test]
    fn after_postgres_was_away_others_get_the_time_to_speak_first() {
        let mut homes = homes(1);
        let nodes = [node(1, Life::Alive), node(2, Life::Silent)];
        let held = [tenancy(1, Some(2))];
        let start = Instant::now();
        let at = |homes: &mut Homes, seconds| {
            let now = start + Duration::from_secs(seconds);
            wanted_at(homes, now, &held, &nodes, &[]).len()
        };
        assert_eq!(at(&mut homes, 0), 0);
        assert_eq!(at(&mut homes, 3), 1);
        homes.lose_sight();
        assert_eq!(at(&mut homes, 13), 0);
        assert_eq!(at(&mut homes, 16), 1);
    }

    #[test]
    fn a_silent_node_whose_link_is_up_keeps_its_tenants() {
        let nodes = [node(1, Life::Alive), node(2, Life::Silent)];
        let held = [tenancy(1, Some(2))];
        assert_eq!(wanted(&mut homes(1), 60, &held, &nodes, &[2]), []);
        assert_eq!(wanted(&mut homes(1), 60, &held, &nodes, &[]), [held[0].tenant]);
    }

    #[test]
    fn a_node_that_drains_takes_nothing_and_another_does_soon() {
        let nodes = [node(1, Life::Alive), node(2, Life::Alive)];
        let mut free: Vec<_> = (0..50).map(|number| tenancy(number, None)).collect();
        free.push(tenancy(99, Some(1)));
        let mut draining = homes(1);
        draining.drain();
        assert_eq!(wanted(&mut draining, 60, &free, &nodes, &[]), []);
        assert!(draining.is_settled(&nodes), "it need not look again");
        free.pop();
        let (mut other, start) = (homes(2), Instant::now());
        wanted_at(&mut other, start, &free, &nodes, &[]);
        let later = start + FIRST_CHOICE_FOR;
        assert_eq!(wanted_at(&mut other, later, &free, &nodes, &[]).len(), 50);
    }

    #[test]
    fn an_earlier_process_of_ours_and_a_node_that_left_are_not_waited_for() {
        let nodes = [node(1, Life::Alive)];
        let held = [tenancy(1, Some(1)), tenancy(2, Some(2))];
        assert_eq!(wanted(&mut homes(1), 0, &held, &nodes, &[]).len(), 2);
    }

    #[test]
    fn a_node_without_links_takes_all_that_is_free_and_nothing_else() {
        let nodes = [node(1, Life::Alive), node(2, Life::Alive)];
        let me = Myself { link: None, ..node(1, Life::Alive).shown };
        let mut free: Vec<_> = (0..50).map(|number| tenancy(number, None)).collect();
        free.push(tenancy(99, Some(2)));
        assert_eq!(wanted(&mut Homes::new(me), 60, &free, &nodes, &[]).len(), 50);
    }

    /// What a node takes once Postgres has answered for so many seconds.
    fn wanted(
        homes: &mut Homes,
        seconds: u64,
        tenancies: &[Tenancy],
        nodes: &[Seen],
        linked: &[u16],
    ) -> Vec<TenantId> {
        let start = Instant::now();
        homes.steady_since = Some(start);
        let now = start + Duration::from_secs(seconds);
        wanted_at(homes, now, tenancies, nodes, linked)
    }

    fn wanted_at(
        homes: &mut Homes,
        now: Instant,
        tenancies: &[Tenancy],
        nodes: &[Seen],
        linked: &[u16],
    ) -> Vec<TenantId> {
        let linked = linked.iter().map(|number| NodeId(*number)).collect();
        let sight = Sight { tenancies, nodes, linked: &linked };
        homes.wanted(now, sight, &BTreeMap::new())
    }

    fn homes(number: u16) -> Homes {
        Homes::new(node(number, Life::Alive).shown)
    }

    fn node(number: u16, life: Life) -> Seen {
        let link = Some(format!("192.0.2.{number}:7000"));
        let shown = Myself { name: format!("n{number}"), boot: 1, link };
        Seen { number: NodeId(number), shown, life }
    }

    fn tenancy(number: u128, holder: Option<u16>) -> Tenancy {
        let tenant = TenantId(Uuid::from_u128(number << 64 | 0x8000));
        let holder = holder.map(|number| format!("n{number}"));
        Tenancy { tenant, version: 1, holder, epoch: 1 }
    }
}
