//! From bytes to the right tenant's lane, or node: what the door says of a message is carried out
//! here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use media::stun;
use pbx::edge::{Dropped, Edge, Placed};
use pbx::flow::{Delivery, Flow, InnerPath, Link, Path};
use pbx::id::{NodeId, TenantId};
use pbx::input::{Input, Placement};
use pbx::moment::Moment;
use pbx::sip::Method;
use pbx::sip::message::Message;
use tracing::{info, warn};

use crate::journal::Room;
use crate::lanes::inbox::{Mail, Order, Report};
use crate::lanes::{Fair, Home, LaneId, Lanes};
use crate::metrics::{Count, Tally};
use crate::net::link::frame::{Frame, Letter};
use crate::net::link::{Links, Unsent};

/// Messages of a lane's own that wait to be served.
pub const WAITING: usize = 8_192;

/// Messages between tenants that wait for room on another lane; beyond it one is lost and counted.
const HELD: usize = 1_024;

/// One lane's dispatch.
#[derive(Debug)]
pub struct Dispatch {
    me: LaneId,
    edge: Edge,
    homes: HashMap<TenantId, Home>,
    lanes: Arc<Lanes>,
    links: Arc<Links>,
    room: Arc<Room>,
    tally: Arc<Tally>,
    waiting: Fair,
    answers: Vec<(Path, Bytes)>,
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
        links: Arc<Links>,
        room: Arc<Room>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            me,
            edge,
            homes: HashMap::new(),
            lanes,
            links,
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
            Order::Learn(served, home) => {
                self.homes.insert(served.tenant, home);
                self.edge.learn(*served);
            }
            Order::Forget(tenant) => {
                self.homes.remove(&tenant);
                self.edge.forget(tenant);
            }
            Order::Advertise(advertised) => self.edge.advertise(advertised),
            // The feed waits for it, unless it has ended.
            Order::Report(done) => drop(done.send(())),
        }
        None
    }

    /// Bytes came over a flow.
    pub fn receive(&mut self, now: Moment, flow: Flow, bytes: Bytes) {
        if let Flow::Net(path @ Path { link: Link::Udp, .. }) = flow
            && stun::is_stun(&bytes)
        {
            if let Some(tenant) = self.edge.keeps_open(now, &flow) {
                self.tell_kept_open(tenant, &flow);
            }
            return self.answer_stun(path, &bytes);
        }
        match self.edge.place(now, &flow, bytes) {
            Placed::Drop(why) => self.count_dropped(why),
            Placed::KeepsOpen(tenant) => self.tell_kept_open(tenant, &flow),
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

    /// RFC 5626 §3.5.2: a phone keeps its path open, and sees if its router has moved it.
    fn answer_stun(&mut self, path: Path, question: &[u8]) {
        self.tally.count(Count::StunReceived);
        match stun::answer(question, path.peer, stun::Place::Alone) {
            Some(answer) => {
                self.tally.count(Count::StunAnswered);
                self.answers.push((path, answer.bytes.into()));
            }
            None => self.tally.count(Count::StunDropped),
        }
    }

    /// A phone keeps its way open by itself: its tenant's switch need not ask it.
    fn tell_kept_open(&mut self, tenant: TenantId, flow: &Flow) {
        let Some(peer) = flow.peer() else { return };
        match self.homes.get(&tenant).copied() {
            Some(Home::Lane(lane)) => {
                let post = self.lanes.post(lane);
                if post.is_some_and(|post| post.report(Report::KeptOpen(tenant, peer)))
                    && !self.to_wake.contains(&lane)
                {
                    self.to_wake.push(lane);
                }
            }
            Some(Home::Node(node)) => {
                // If it gets lost, the phone is asked once more than it need be.
                let _ = self.links.send(node, Frame::KeptOpen { tenant, peer });
            }
            Some(Home::Nowhere) | None => {}
        }
    }

    /// One of our tenants writes to another.
    pub fn receive_inner(&mut self, path: InnerPath, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            return self.tally.count(Count::DroppedMalformed);
        };
        let flow = Flow::Inner(path.reversed());
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
    pub fn answers(&mut self) -> impl Iterator<Item = (Path, Bytes)> {
        self.answers.drain(..)
    }

    /// Gives back what is of no use any more; to be called now and then.
    pub fn tidy(&mut self, now: Moment) {
        self.edge.tidy(now);
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
        match self.homes.get(&mail.tenant).copied() {
            Some(Home::Lane(lane)) if lane == self.me => self.take_in(mail),
            Some(Home::Lane(lane)) => self.deliver_to(lane, mail),
            Some(Home::Node(node)) => self.forward(node, mail),
            Some(Home::Nowhere) => self.miss(mail),
            None => self.tally.count(Count::DroppedUnknownDomain),
        }
    }

    fn deliver_to(&mut self, lane: LaneId, mail: Mail) {
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

    /// Gives a message to another node.
    fn forward(&mut self, node: NodeId, mail: Mail) {
        let (tenant, by, flow) = (mail.tenant, mail.by, mail.flow);
        let letter = Letter { tenant, by, flow, bytes: mail.message.bytes().clone() };
        match self.links.send(node, Frame::Mail(letter)) {
            Ok(()) => {}
            Err(Unsent::Full) => self.turn_away(mail),
            Err(Unsent::Unlinked) => self.miss(mail),
        }
    }

    /// The tenant's home is lost, and another will take it within seconds: what is repeated until
    /// then is not refused.
    fn miss(&mut self, mail: Mail) {
        self.lanes.miss(mail.tenant);
        match mail.flow.delivery() {
            Delivery::Unreliable => self.tally.count(Count::DroppedUnlinked),
            Delivery::Reliable => self.turn_away(mail),
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
            Flow::Net(path) => {
                self.tally.count(Count::AnsweredStateless);
                self.answers.push((path, answer));
            }
            // Only a request is answered here, so this goes on no further.
            Flow::Inner(path) => self.receive_inner(path, answer),
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

#[cfg(test)]
mod tests {
    use pbx::edge::{Served, Setup, UnknownDomain};
    use pbx::flow::Advertised;
    use pbx::sip::digest::Algorithm;
    use uuid::Uuid;

    use super::*;
    use crate::lanes::inbox::{Inbox, MAIL, inbox};
    use crate::metrics::Metrics;
    use crate::net::link::{Me, Reception};

    #[test]
    fn a_request_for_a_lane_without_room_is_answered_here_and_another_is_dropped() {
        let mut rig = Rig::new();
        for _ in 0..MAIL {
            rig.dispatch.receive(Moment::EPOCH, udp(), invite());
        }
        assert_eq!(rig.dispatch.answers().count(), 0);
        rig.dispatch.receive(Moment::EPOCH, udp(), invite());
        let answers: Vec<_> = rig.dispatch.answers().collect();
        assert_eq!(answers.len(), 1);
        assert!(answers[0].1.starts_with(b"SIP/2.0 503"));
        let cancel = String::from_utf8(invite().to_vec()).unwrap().replace("INVITE", "ACK");
        rig.dispatch.receive(Moment::EPOCH, udp(), cancel.into());
        assert_eq!(rig.dispatch.answers().count(), 0);
        assert_eq!(rig.tally.counted(Count::DroppedOverload), 2);
    }

    #[test]
    fn what_goes_from_tenant_to_tenant_waits_for_room_in_order() {
        let mut rig = Rig::new();
        let path = InnerPath { here: tenant(1), there: tenant(2) };
        let total = MAIL + HELD;
        (0..total).for_each(|n| rig.dispatch.receive_inner(path, numbered(n)));
        assert!(rig.dispatch.holds());
        let mut came = vec![];
        while came.len() < total {
            while let Some(mail) = rig.there.next_mail() {
                assert_eq!(mail.flow, Flow::Inner(path.reversed()));
                came.push(mail.message.call_id().unwrap().parse::<usize>().unwrap());
            }
            rig.dispatch.wake();
        }
        assert_eq!(came, (0..total).collect::<Vec<_>>());
        assert!(!rig.dispatch.holds());
    }

    #[test]
    fn with_no_room_to_wait_either_the_other_tenant_hears_503() {
        let mut rig = Rig::new();
        let path = InnerPath { here: tenant(1), there: tenant(2) };
        (0..=MAIL + HELD).for_each(|n| rig.dispatch.receive_inner(path, numbered(n)));
        assert_eq!(rig.tally.counted(Count::MailLost), 1);
        let refusal = rig.dispatch.take().unwrap();
        assert_eq!((refusal.tenant, refusal.message.status()), (tenant(1), Some(503)));
        assert_eq!(refusal.flow, Flow::Inner(path));
    }

    #[test]
    fn what_is_for_a_tenant_of_this_lane_makes_no_hop() {
        let mut rig = Rig::new();
        let path = InnerPath { here: tenant(2), there: tenant(1) };
        rig.dispatch.receive_inner(path, numbered(7));
        assert_eq!(rig.dispatch.take().unwrap().tenant, tenant(1));
        assert!(rig.there.next_mail().is_none());
    }

    #[test]
    fn while_a_home_is_lost_what_is_repeated_waits_and_what_is_not_is_refused() {
        let mut rig = Rig::new();
        for home in [Home::Node(NodeId(2)), Home::Nowhere] {
            rig.learn(2, "x.test", home);
            rig.dispatch.receive(Moment::EPOCH, udp(), invite());
            assert_eq!(rig.dispatch.answers().count(), 0);
            let path = InnerPath { here: tenant(1), there: tenant(2) };
            rig.dispatch.receive_inner(path, numbered(7));
            let refusal = rig.dispatch.take().unwrap();
            assert_eq!((refusal.tenant, refusal.message.status()), (tenant(1), Some(503)));
        }
        assert_eq!(rig.tally.counted(Count::DroppedUnlinked), 2);
    }

    #[test]
    fn stun_is_answered_beside_sip_and_troubles_nobody() {
        let mut rig = Rig::new();
        let question = Bytes::from_static(b"\0\x01\0\0\x21\x12\xa4\x42ABCDEFGHIJKL");
        rig.dispatch.receive(Moment::EPOCH, udp(), question.clone());
        // An answer is no question: two servers would talk for ever.
        let echo = [&b"\x01\x01"[..], &question[2..]].concat();
        rig.dispatch.receive(Moment::EPOCH, udp(), echo.into());
        let answers: Vec<_> = rig.dispatch.answers().collect();
        assert_eq!(answers.len(), 1);
        assert_eq!((Flow::Net(answers[0].0), &answers[0].1[..2]), (udp(), &[1, 1][..]));
        let counted = |what| rig.tally.counted(what);
        assert_eq!(counted(Count::StunReceived), 2);
        assert_eq!((counted(Count::StunAnswered), counted(Count::StunDropped)), (1, 1));
        assert_eq!((counted(Count::RequestsReceived), counted(Count::DroppedNotSip)), (0, 0));
    }

    #[test]
    fn what_keeps_a_phones_way_open_is_told_to_the_lane_of_its_tenant() {
        let now = Moment::from_secs(1_000);
        for knock in [&b"\r\n\r\n"[..], b"\0\x01\0\0\x21\x12\xa4\x42ABCDEFGHIJKL"] {
            let mut rig = Rig::new();
            let knock = Bytes::from_static(knock);
            rig.dispatch.receive(now, udp(), knock.clone());
            assert!(rig.there.next_report().is_none(), "nobody knows whose it is");
            let invite = String::from_utf8(invite().to_vec()).unwrap();
            rig.dispatch.receive(now, udp(), Bytes::from(invite.replace("INVITE", "REGISTER")));
            assert!(rig.there.next_mail().is_some());
            rig.dispatch.receive(now, udp(), knock.clone());
            rig.dispatch.receive(now, udp(), knock);
            let told = rig.there.next_report();
            assert!(matches!(told, Some(Report::KeptOpen(whose, peer))
                if whose == tenant(2) && Some(peer) == udp().peer()));
            assert!(rig.there.next_report().is_none(), "not each time");
        }
    }

    /// The first of two lanes; the second one's tenant has the domain `x.test`.
    struct Rig {
        dispatch: Dispatch,
        there: Inbox,
        tally: Arc<Tally>,
    }

    impl Rig {
        fn new() -> Self {
            let ((_, here), (inbox_there, there)) = (inbox().unwrap(), inbox().unwrap());
            let lanes = Arc::new(Lanes::new(vec![here, there]));
            let door = || {
                Edge::new(Setup {
                    token_key: [1; 16],
                    nonce_key: [2; 16],
                    boot: 1,
                    seed: [3; 32],
                    advertised: Advertised::default(),
                    unknown_domain: UnknownDomain::Drop,
                })
            };
            let (room, tally) = (Arc::new(Room::new(1 << 20)), Metrics::new().tally());
            let me = Me { node: NodeId(1), boot: 1 };
            let reception = Reception::new(lanes.clone(), tally.clone(), door());
            let links = Arc::new(Links::new(me, None, Advertised::default(), reception));
            let dispatch = Dispatch::new(LaneId(0), door(), lanes, links, room, tally.clone());
            let mut rig = Self { dispatch, there: inbox_there, tally };
            rig.learn(1, "own.test", Home::Lane(LaneId(0)));
            rig.learn(2, "x.test", Home::Lane(LaneId(1)));
            rig
        }

        fn learn(&mut self, number: u64, domain: &str, home: Home) {
            let served = Served {
                tenant: tenant(number.into()),
                route: number,
                realm: domain.to_owned(),
                domains: vec![domain.to_owned()],
                label: None,
                trusted: vec![],
                offered: vec![Algorithm::Md5],
                exceptions: Default::default(),
            };
            let order = Order::Learn(Box::new(served), home);
            assert!(self.dispatch.handle_order(order).is_none());
        }
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn udp() -> Flow {
        let local = "127.0.0.1:5060".parse().unwrap();
        Flow::udp(NodeId(1), local, "127.0.0.1:5099".parse().unwrap())
    }

    fn invite() -> Bytes {
        numbered(1)
    }

    fn numbered(number: usize) -> Bytes {
        format!(
            "INVITE sip:101@x.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bK1\r\n\
             Max-Forwards: 70\r\nFrom: <sip:101@x.test>;tag=1\r\nTo: <sip:101@x.test>\r\n\
             Call-ID: {number}\r\nCSeq: 1 INVITE\r\nContact: <sip:101@127.0.0.1:5099>\r\n\
             Authorization: Digest x=1\r\nContent-Length: 0\r\n\r\n"
        )
        .into()
    }
}
