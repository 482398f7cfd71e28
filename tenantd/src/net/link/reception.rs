//! What a peer brings is taken to the right lane: a message to its tenant's, bytes for a phone to
//! one that puts them out.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use pbx::board::What;
use pbx::edge::Edge;
use pbx::flow::{Delivery, Flow, FlowId, Path};
use pbx::id::{NodeId, TenantId};
use pbx::input::{Input, Placement};
use pbx::sip::message::Message;

use tokio::time::Instant;
use web::boards::Boards;

use super::frame::{Frame, Letter};
use crate::boards::Watchers;
use crate::lanes::inbox::{Mail, Order, Report};
use crate::lanes::{LaneId, Lanes};
use crate::metrics::{Count, Tally};

/// Where a node's links lead within it.
#[derive(Debug)]
pub struct Reception {
    lanes: Arc<Lanes>,
    tally: Arc<Tally>,
    homes: Arc<RwLock<HashMap<TenantId, LaneId>>>,
    boards: Boards,
    watchers: Watchers,
    /// Writes the refusal when a lane has no room.
    door: Mutex<Edge>,
}

impl Reception {
    /// Nobody is at home yet.
    pub fn new(lanes: Arc<Lanes>, tally: Arc<Tally>, door: Edge) -> Self {
        let homes = Arc::<RwLock<HashMap<TenantId, LaneId>>>::default();
        let residents = homes.clone();
        let boards = Boards::among_nodes(move |tenant| {
            residents.read().unwrap_or_else(PoisonError::into_inner).contains_key(&tenant)
        });
        let (watchers, door) = (Watchers::default(), Mutex::new(door));
        Self { lanes, tally, homes, boards, watchers, door }
    }

    pub(super) fn set_home(&self, tenant: TenantId, lane: Option<LaneId>) {
        let mut homes = self.homes.write().unwrap_or_else(PoisonError::into_inner);
        match lane {
            Some(lane) => drop(homes.insert(tenant, lane)),
            None => drop(homes.remove(&tenant)),
        }
    }

    pub(super) fn boards(&self) -> &Boards {
        &self.boards
    }

    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Somebody at a peer looks at a tenant; if it does not live here, another is asked as well.
    pub(super) fn watch(&self, tenant: TenantId, node: NodeId, seen: u32) {
        if self.home_of(tenant).is_some() {
            self.watchers.watch(Instant::now(), tenant, node, seen);
        }
    }

    /// A peer shows what somebody looks at here.
    pub(super) fn show(&self, tenant: TenantId, changes: Vec<What>) {
        self.boards.hear(tenant, changes);
    }

    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a message to its tenant's lane. If it cannot be taken, the answer goes back.
    pub(super) fn take_letter(&self, letter: Letter, to_wake: &mut Vec<LaneId>) -> Option<Frame> {
        let Letter { tenant, by, flow, bytes } = letter;
        let Ok(message) = Message::parse(bytes) else {
            self.tally.count(Count::DroppedMalformed);
            return None;
        };
        let mail = Mail { tenant, by, flow, message };
        let Some(lane) = self.home_of(tenant) else {
            // The peer will soon know better. What is repeated until then is not refused.
            self.tally.count(Count::DroppedUnlinked);
            return match mail.flow.delivery() {
                Delivery::Reliable => self.refuse(&mail),
                Delivery::Unreliable => None,
            };
        };
        let refused = self.lanes.post(lane).and_then(|post| post.mail(mail));
        note(to_wake, lane);
        let refused = refused?;
        self.tally.count(match refused.by {
            Placement::Inner => Count::MailLost,
            Placement::Known | Placement::Domain | Placement::From => Count::DroppedOverload,
        });
        self.refuse(&refused)
    }

    /// Has a lane put bytes on a path of this node; a peer's phone is always served by the same.
    pub(super) fn put_out(&self, path: Path, bytes: Bytes, to_wake: &mut Vec<LaneId>) {
        let lanes = self.lanes.ids().count().max(1);
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(path.peer);
        let lane = usize::try_from(hash % lanes as u64).unwrap_or(0);
        let lane = LaneId(u16::try_from(lane).unwrap_or(0));
        let Some(post) = self.lanes.post(lane) else { return };
        match post.put_out(path, bytes) {
            true => note(to_wake, lane),
            false => self.tally.count(Count::SendFailed),
        }
    }

    /// A phone keeps its way to a peer open itself. Losing it costs a question too many.
    pub(super) fn tell_kept_open(
        &self,
        tenant: TenantId,
        phone: SocketAddr,
        to_wake: &mut Vec<LaneId>,
    ) {
        let Some(lane) = self.home_of(tenant) else { return };
        let post = self.lanes.post(lane);
        if post.is_some_and(|post| post.report(Report::KeptOpen(tenant, phone))) {
            note(to_wake, lane);
        }
    }

    /// A connection of a peer is gone.
    pub(super) async fn tell_gone(&self, flow: FlowId) {
        self.lanes.order_all(|| Order::Tell(Box::new(Input::FlowGone(flow)))).await;
    }

    pub(super) fn wake(&self, lanes: Vec<LaneId>) {
        for post in lanes.into_iter().filter_map(|lane| self.lanes.post(lane)) {
            post.wake();
        }
    }

    fn home_of(&self, tenant: TenantId) -> Option<LaneId> {
        self.homes.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied()
    }

    fn refuse(&self, mail: &Mail) -> Option<Frame> {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = door.overloaded(&mail.flow, &mail.message)?;
        Some(match mail.flow {
            Flow::Net(path) => Frame::Send { path, bytes },
            Flow::Inner(path) => {
                let (by, flow) = (Placement::Inner, Flow::Inner(path.reversed()));
                Frame::Mail(Letter { tenant: path.there, by, flow, bytes })
            }
        })
    }
}

fn note(to_wake: &mut Vec<LaneId>, lane: LaneId) {
    if !to_wake.contains(&lane) {
        to_wake.push(lane);
    }
}
