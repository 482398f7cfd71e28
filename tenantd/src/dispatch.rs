//! From bytes to the right tenant's lane: what the door says of a message is carried out here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use pbx::edge::{Dropped, Edge, Placed};
use pbx::flow::{Flow, InnerPath, UdpPath};
use pbx::id::TenantId;
use pbx::input::{Input, Placement};
use pbx::moment::Moment;
use pbx::sip::Method;
use pbx::sip::message::Message;
use tracing::{info, warn};

use crate::journal::Room;
use crate::lanes::inbox::{Mail, Order};
use crate::lanes::{Fair, LaneId, Lanes};
use crate::metrics::{Count, Tally};

/// Messages of a lane's own that wait to be served.
pub const WAITING: usize = 8_192;

/// Messages between tenants that wait for room on another lane; beyond it one is lost and counted.
const HELD: usize = 1_024;

/// One lane's dispatch.
#[derive(Debug)]
pub struct Dispatch {
    me: LaneId,
    edge: Edge,
    homes: HashMap<TenantId, LaneId>,
    lanes: Arc<Lanes>,
    room: Arc<Room>,
    tally: Arc<Tally>,
    waiting: Fair,
    answers: Vec<(UdpPath, Bytes)>,
    /// Nobody repeats what goes from tenant to tenant, so it waits for room, in order.
    held: VecDeque<(LaneId, Mail)>,
    door: Door,
    /// Lanes that got mail since they were last woken.
    to_wake: Vec<LaneId>,
}

/// Whether new calls and registrations are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Shut,
}

impl Dispatch {
    /// Knows no tenant yet.
    pub fn new(
        me: LaneId,
        edge: Edge,
        lanes: Arc<Lanes>,
        room: Arc<Room>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            me,
            edge,
            homes: HashMap::new(),
            lanes,
            room,
            tally,
            waiting: Fair::new(WAITING),
            answers: vec![],
            held: VecDeque::new(),
            door: Door::Open,
            to_wake: vec![],
        }
    }

    /// The server is about to stop: the door refuses what is new.
    pub fn drain(&mut self) {
        self.edge.drain();
    }

    /// Takes note of who lives where; what is the switch's comes back.
    pub fn handle_order(&mut self, order: Order) -> Option<Box<Input>> {
        match order {
            Order::Tell(input) => return Some(input),
            Order::Learn(served, lane) => {
                self.homes.insert(served.tenant, lane);
                self.edge.learn(*served);
            }
            Order::Forget(tenant) => {
                self.homes.remove(&tenant);
                self.edge.forget(tenant);
            }
            // The feed waits for it, unless it has ended.
            Order::Report(done) => drop(done.send(())),
        }
        None
    }

    /// Bytes came over a flow.
    pub fn receive(&mut self, now: Moment, flow: Flow, bytes: Bytes) {
        match self.edge.place(now, &flow, bytes) {
            Placed::Drop(why) => self.count_dropped(why),
            Placed::Answer(answer) => {
                self.tally.count(Count::RequestsReceived);
                self.answer(flow, answer);
            }
            Placed::For { tenant, by, message } => {
                self.tally.count(match message.is_request() {
                    true => Count::RequestsReceived,
                    false => Count::ResponsesReceived,
                });
                let mail = Mail { tenant, by, flow, message };
                match self.may_begin() || !is_new(&mail) {
                    true => self.deliver(mail),
                    false => self.turn_away(mail),
                }
            }
        }
    }

    /// One of our tenants writes to another.
    pub fn receive_inner(&mut self, path: InnerPath, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            return self.tally.count(Count::DroppedMalformed);
        };
        let flow = Flow::Inner(path).reversed();
        self.deliver(Mail { tenant: path.there, by: Placement::Inner, flow, message });
    }

    /// Mail that is for a tenant of this lane.
    pub fn take_in(&mut self, mail: Mail) {
        if let Some(refused) = self.waiting.push(mail) {
            self.turn_away(refused);
        }
    }

    /// Takes out what the switch shall have next.
    pub fn take(&mut self) -> Option<Mail> {
        self.waiting.take()
    }

    /// Messages that wait for the switch.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Answers that were given at the door since this was last asked.
    pub fn answers(&mut self) -> impl Iterator<Item = (UdpPath, Bytes)> {
        self.answers.drain(..)
    }

    /// Whether something waits for room on another lane.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Wakes the lanes that got mail.
    pub fn wake(&mut self) {
        while let Some((lane, mail)) = self.held.pop_front() {
            if let Some(mail) = self.post(lane, mail) {
                self.held.push_front((lane, mail));
                break;
            }
        }
        for lane in self.to_wake.drain(..) {
            if let Some(post) = self.lanes.post(lane) {
                post.wake();
            }
        }
    }

    /// Whether there is room in the journal for what is new.
    fn may_begin(&mut self) -> bool {
        let door = if self.room.is_tight() { Door::Shut } else { Door::Open };
        if door != self.door {
            match door {
                Door::Open => info!("the journal has room again: new calls are taken"),
                Door::Shut => warn!("the journal is nearly full: new calls are refused"),
            }
            self.door = door;
        }
        door == Door::Open
    }

    fn deliver(&mut self, mail: Mail) {
        let Some(lane) = self.homes.get(&mail.tenant).copied() else {
            return self.tally.count(Count::DroppedUnknownDomain);
        };
        if lane == self.me {
            return self.take_in(mail);
        }
        let turned_away = match mail.by {
            Placement::Inner if self.held.len() >= HELD => Some(mail),
            Placement::Inner if self.holds() => {
                self.held.push_back((lane, mail));
                None
            }
            Placement::Inner => {
                let given_back = self.post(lane, mail);
                self.held.extend(given_back.map(|mail| (lane, mail)));
                None
            }
            Placement::Known | Placement::Domain | Placement::From => self.post(lane, mail),
        };
        if let Some(mail) = turned_away {
            self.turn_away(mail);
        }
    }

    /// Gives a message to another lane; one that has no room gives it back.
    fn post(&mut self, lane: LaneId, mail: Mail) -> Option<Mail> {
        let given_back = self.lanes.post(lane)?.mail(mail);
        if given_back.is_none() && !self.to_wake.contains(&lane) {
            self.to_wake.push(lane);
        }
        given_back
    }

    /// There is no room: a request hears so, and whoever sent anything else will repeat it.
    fn turn_away(&mut self, mail: Mail) {
        self.tally.count(match mail.by {
            Placement::Inner => Count::MailLost,
            Placement::Known | Placement::Domain | Placement::From => Count::DroppedOverload,
        });
        if let Some(answer) = self.edge.overloaded(&mail.flow, &mail.message) {
            self.answer(mail.flow, answer);
        }
    }

    fn answer(&mut self, flow: Flow, answer: Bytes) {
        match flow {
            Flow::Udp(path) => {
                self.tally.count(Count::AnsweredStateless);
                self.answers.push((path, answer));
            }
            // Only a request is answered here, so this goes on no further.
            Flow::Inner(path) => self.receive_inner(path, answer),
            // There are no connections yet, so nothing came over one.
            Flow::Stream(_) => {}
        }
    }

    fn count_dropped(&self, why: Dropped) {
        match why {
            Dropped::KeepAlive => {}
            Dropped::NotSip => self.tally.count(Count::DroppedNotSip),
            Dropped::Stray => self.tally.count(Count::DroppedStray),
            Dropped::UnknownDomain => self.tally.count(Count::DroppedUnknownDomain),
        }
    }
}

/// Whether a message begins something that will have to be remembered.
fn is_new(mail: &Mail) -> bool {
    let placed = match mail.by {
        Placement::Domain | Placement::From => true,
        Placement::Known | Placement::Inner => false,
    };
    let method = mail.message.method();
    placed && mail.message.is_request() && matches!(method, Method::Invite | Method::Register)
}
