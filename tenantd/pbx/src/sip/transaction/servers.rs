//! The requests that we answer.
//!
//! RFC 3261 §17.2.3 (which one a request belongs to) and §8.2.2.2 (the same one by two ways).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::agenda::{Agenda, Due, Map, Output, SMALL, give_back};
use super::invite_server::{self, Acknowledged, InviteServer};
use super::key::{Key, Keys, Matching, Realm};
use super::server::{self, Server};
use super::timers::T2;
use crate::flow::Flow;
use crate::moment::Moment;
use crate::sip::deadlines::Alarm;
use crate::sip::draft::Draft;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// An answered request is not forgotten for want of room before its asker had two more chances to
/// repeat it.
const KEPT_FOR: Duration = Duration::from_secs(2 * T2.as_secs());

/// A request that we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u64);

/// What a request that came is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<O> {
    /// New: answer it with [`super::Transactions::respond`].
    New(ServerId),
    /// A CANCEL: answer it, and stop what it cancels.
    Cancel {
        /// The CANCEL itself.
        server: ServerId,
        /// What it cancels.
        invite: Cancelled<O>,
    },
    /// An ACK that no transaction waits for: a dialog may, for its 2xx.
    Ack,
    /// A repeat, or an ACK to a refusal: all is done.
    Absorbed,
    /// The same request came by another way and is being served: 482, without a transaction.
    Merged,
    /// There is no room: 503, without a transaction.
    Full,
    /// It cannot be told which transaction it belongs to: 400, without one.
    Unreadable,
}

/// What a CANCEL cancels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled<O> {
    /// Nothing that we know: 481.
    Nothing,
    /// An INVITE that is answered, or that nobody owns: 200, and no more.
    Finished,
    /// This INVITE: 200, then 487 to it.
    Invite(ServerId, O),
}

/// All requests that we answer, or have answered a moment ago.
///
/// Entries are boxed: in a storm there are a million, and a table that grows moves all it holds.
#[derive(Debug)]
pub(super) struct Servers<O> {
    matching: Matching,
    limit: usize,
    last: u64,
    by_id: Map<ServerId, Box<Entry<O>>>,
    by_key: Map<Key, ServerId>,
    any_way: Map<Key, ServerId>,
    /// What may be forgotten when there is no room, oldest first.
    answered: VecDeque<(Moment, ServerId)>,
}

#[derive(Debug)]
struct Entry<O> {
    key: Key,
    any_way: Option<Key>,
    flow: Flow,
    owner: Option<O>,
    alarm: Alarm,
    machine: Machine,
}

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    Other(Server),
}

/// What a machine wishes.
enum Step {
    Send(Bytes),
    SayTrying(Bytes),
    NeverAcknowledged,
}

impl<O: Copy> Servers<O> {
    pub(super) fn new(key: [u8; 16], limit: usize) -> Self {
        Self {
            matching: Matching::new(key),
            limit,
            last: 0,
            by_id: Map::default(),
            by_key: Map::default(),
            any_way: Map::default(),
            answered: VecDeque::new(),
        }
    }

    pub(super) fn receive(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        (realm, flow): (Realm, Flow),
        request: &Message,
    ) -> Arrival<O> {
        let Ok(keys) = self.matching.keys(realm, request) else { return Arrival::Unreadable };
        let known = self.by_key.get(&keys.own).copied();
        match (request.method(), known) {
            (Method::Ack, Some(invite)) => self.receive_ack(agenda, now, invite),
            (Method::Ack, None) => Arrival::Ack,
            (_, Some(id)) => self.receive_repeat(agenda, flow, id),
            (Method::Cancel, None) => self.receive_cancel(agenda, now, flow, keys, request),
            (_, None) => self.receive_new(agenda, now, flow, keys, request),
        }
    }

    fn receive_ack(&mut self, agenda: &mut Agenda<O>, now: Moment, id: ServerId) -> Arrival<O> {
        let acknowledged = self.by_id.get_mut(&id).map(|entry| match &mut entry.machine {
            Machine::Invite(invite) => invite.handle_ack(now),
            Machine::Other(_) => Acknowledged::Refusal,
        });
        self.settle(agenda, id);
        match acknowledged {
            Some(Acknowledged::Refusal) => Arrival::Absorbed,
            Some(Acknowledged::Answer) | None => Arrival::Ack,
        }
    }

    fn receive_repeat(&mut self, agenda: &mut Agenda<O>, flow: Flow, id: ServerId) -> Arrival<O> {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.follow(flow);
            if let Some(Step::Send(bytes)) = entry.machine.handle_repeat() {
                agenda.send(entry.flow, bytes);
            }
        }
        Arrival::Absorbed
    }

    fn receive_cancel(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        flow: Flow,
        keys: Keys,
        request: &Message,
    ) -> Arrival<O> {
        let id = self.by_key.get(&keys.invite).copied();
        let found = id.and_then(|id| Some((id, &**self.by_id.get(&id)?)));
        let invite = match found {
            None => Cancelled::Nothing,
            Some((id, Entry { owner: Some(owner), machine: Machine::Invite(machine), .. }))
                if machine.is_unanswered() =>
            {
                Cancelled::Invite(id, *owner)
            }
            Some(_) => Cancelled::Finished,
        };
        // One that ends an INVITE makes room, so it always finds some: there is one an INVITE.
        if invite_is_unknown(&invite) && !self.has_room(now, self.limit) {
            return Arrival::Full;
        }
        let server = self.insert(agenda, now, flow, keys, request);
        Arrival::Cancel { server, invite }
    }

    fn receive_new(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        flow: Flow,
        keys: Keys,
        request: &Message,
    ) -> Arrival<O> {
        if keys.any_way.is_some_and(|key| self.any_way.contains_key(&key)) {
            return Arrival::Merged;
        }
        // What belongs to a dialog may use a reserve: a call must be able to end when all is full.
        let limit = match request.to().is_ok_and(|to| to.tag().is_some()) {
            true => with_reserve(self.limit),
            false => self.limit,
        };
        if !self.has_room(now, limit) {
            return Arrival::Full;
        }
        Arrival::New(self.insert(agenda, now, flow, keys, request))
    }

    fn insert(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        flow: Flow,
        keys: Keys,
        request: &Message,
    ) -> ServerId {
        self.last += 1;
        let id = ServerId(self.last);
        let (delivery, bytes) = (flow.delivery(), request.bytes().clone());
        let machine = match request.method() {
            Method::Invite => Machine::Invite(InviteServer::new(now, delivery, bytes)),
            _ => Machine::Other(Server::new(now, delivery, bytes)),
        };
        let (key, any_way, alarm) = (keys.own, keys.any_way, Alarm::default());
        let entry = Entry { key, any_way, flow, owner: None, alarm, machine };
        self.by_id.insert(id, Box::new(entry));
        self.by_key.insert(key, id);
        if let Some(key) = any_way {
            self.any_way.insert(key, id);
        }
        self.settle(agenda, id);
        id
    }

    pub(super) fn own(&mut self, id: ServerId, owner: O) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            entry.owner = Some(owner);
        }
    }

    pub(super) fn respond(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        id: ServerId,
        status: u16,
        bytes: Bytes,
    ) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        let unanswered = entry.machine.is_unanswered();
        if let Some(Step::Send(bytes)) = entry.machine.respond(now, status, bytes) {
            agenda.send(entry.flow, bytes);
        }
        // Some phones send the password with the same CSeq as the request that was challenged.
        if matches!(status, 401 | 407)
            && let Some(key) = entry.any_way.take()
        {
            self.any_way.remove(&key);
        }
        if unanswered && matches!(entry.machine, Machine::Other(_)) && status >= 200 {
            self.answered.push_back((now, id));
        }
        self.settle(agenda, id);
    }

    /// Its alarm has rung.
    pub(super) fn handle_deadline(&mut self, agenda: &mut Agenda<O>, now: Moment, id: ServerId) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        if !entry.alarm.rings(now) {
            return;
        }
        match entry.machine.handle_deadline(now) {
            Some(Step::Send(bytes)) => agenda.send(entry.flow, bytes),
            Some(Step::SayTrying(request)) => {
                let Some(trying) = trying(request, entry.flow) else { return self.forget(id) };
                return self.respond(agenda, now, id, 100, trying);
            }
            Some(Step::NeverAcknowledged) => {
                let owner = entry.owner.map(|owner| Output::NeverAcknowledged { owner });
                agenda.outputs.extend(owner);
            }
            None => {}
        }
        self.settle(agenda, id);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn unfinished(&self) -> usize {
        self.by_id.values().filter(|entry| entry.machine.is_unfinished()).count()
    }

    /// Sets the alarm anew, or forgets what has ended.
    fn settle(&mut self, agenda: &mut Agenda<O>, id: ServerId) {
        let Some(entry) = self.by_id.get_mut(&id) else { return };
        if entry.machine.is_terminated() {
            return self.forget(id);
        }
        agenda.alarms.set(&mut entry.alarm, entry.machine.deadline(), Due::Server(id));
    }

    fn forget(&mut self, id: ServerId) {
        let Some(entry) = self.by_id.remove(&id) else { return };
        self.by_key.remove(&entry.key);
        if let Some(key) = entry.any_way {
            self.any_way.remove(&key);
        }
        give_back(&mut self.by_id);
        give_back(&mut self.by_key);
        give_back(&mut self.any_way);
        while self.answered.front().is_some_and(|(_, id)| !self.by_id.contains_key(id)) {
            self.answered.pop_front();
        }
        if self.answered.capacity() > SMALL.max(8 * self.answered.len()) {
            self.answered.shrink_to(2 * self.answered.len());
        }
    }

    /// Whether one more fits below `limit`, if need be in place of the longest answered one.
    fn has_room(&mut self, now: Moment, limit: usize) -> bool {
        while self.by_id.len() >= limit {
            match self.answered.front() {
                Some((at, id)) if now - *at >= KEPT_FOR => {
                    let id = *id;
                    self.answered.pop_front();
                    self.forget(id);
                }
                Some(_) | None => return false,
            }
        }
        true
    }
}

impl<O> Entry<O> {
    /// A phone behind a NAT may repeat from another port, and wants the answer there; but nobody
    /// shall have another's answers sent to an address of his own.
    fn follow(&mut self, flow: Flow) {
        let same_host = match (self.flow, flow) {
            (Flow::Net(old), Flow::Net(new)) => old.peer.ip() == new.peer.ip(),
            (Flow::Net(_) | Flow::Inner(_), _) => false,
        };
        if same_host {
            self.flow = flow;
        }
    }
}

impl Machine {
    fn respond(&mut self, now: Moment, status: u16, bytes: Bytes) -> Option<Step> {
        match self {
            Self::Invite(invite) => invite.respond(now, status, bytes).map(Step::from),
            Self::Other(server) => server.respond(now, status, bytes).map(Step::from),
        }
    }

    fn handle_repeat(&self) -> Option<Step> {
        match self {
            Self::Invite(invite) => invite.handle_repeat().map(Step::from),
            Self::Other(server) => server.handle_repeat().map(Step::from),
        }
    }

    fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        match self {
            Self::Invite(invite) => invite.handle_deadline(now).map(Step::from),
            Self::Other(server) => server.handle_deadline(now).map(Step::from),
        }
    }

    fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Invite(invite) => invite.deadline(),
            Self::Other(server) => server.deadline(),
        }
    }

    fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(invite) => invite.is_unanswered(),
            Self::Other(server) => server.is_unanswered(),
        }
    }

    fn is_unfinished(&self) -> bool {
        match self {
            Self::Invite(invite) => invite.is_unfinished(),
            Self::Other(server) => server.is_unanswered(),
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(invite) => invite.is_terminated(),
            Self::Other(server) => server.is_terminated(),
        }
    }
}

impl From<invite_server::Step> for Step {
    fn from(step: invite_server::Step) -> Self {
        match step {
            invite_server::Step::Send(bytes) => Self::Send(bytes),
            invite_server::Step::SayTrying(request) => Self::SayTrying(request),
            invite_server::Step::NeverAcknowledged => Self::NeverAcknowledged,
        }
    }
}

impl From<server::Step> for Step {
    fn from(step: server::Step) -> Self {
        match step {
            server::Step::Send(bytes) => Self::Send(bytes),
            server::Step::SayTrying(request) => Self::SayTrying(request),
        }
    }
}

fn invite_is_unknown<O>(cancelled: &Cancelled<O>) -> bool {
    match cancelled {
        Cancelled::Nothing => true,
        Cancelled::Finished | Cancelled::Invite(..) => false,
    }
}

/// Our own 100 to a request.
fn trying(request: Bytes, flow: Flow) -> Option<Bytes> {
    let request = Message::parse(request).ok()?;
    let draft = Draft::response(&request, 100, None);
    Some(match flow.peer() {
        Some(source) => draft.received(source).finish(),
        None => draft.finish(),
    })
}

/// An eighth more than `limit`.
pub(super) fn with_reserve(limit: usize) -> usize {
    limit.saturating_add(limit / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::sip::transaction::timers::GIVE_UP_AFTER;

    #[test]
    fn what_a_storm_needed_is_given_back() {
        let (mut servers, mut agenda) = (Servers::<u32>::new([9; 16], 1_000_000), Agenda::new());
        let address = "192.0.2.1:5060".parse().unwrap();
        let from = (Realm(1), Flow::udp(NodeId(1), address, address));
        let began_at = Moment::from_secs(1_000);
        for number in 0..50_000 {
            let text = format!(
                "REGISTER sip:acme.test SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{number}\r\n\
                 From: <sip:1@acme.test>;tag={number}\r\nTo: <sip:1@acme.test>\r\n\
                 Call-ID: {number}\r\nCSeq: 1 REGISTER\r\n\r\n"
            );
            let request = Message::parse(Bytes::from(text)).unwrap();
            let Arrival::New(id) = servers.receive(&mut agenda, began_at, from, &request) else {
                panic!("request {number} is not new");
            };
            servers.respond(&mut agenda, began_at, id, 200, Bytes::new());
            agenda.outputs.clear();
        }
        assert!(servers.by_id.capacity() >= 50_000);

        let now = began_at + GIVE_UP_AFTER + Duration::from_secs(1);
        while let Some(due) = agenda.alarms.pop_due(now) {
            if let Due::Server(id) = due {
                servers.handle_deadline(&mut agenda, now, id);
            }
        }

        assert_eq!(servers.len(), 0);
        for table in [servers.by_key.capacity(), servers.any_way.capacity()] {
            assert!(table <= SMALL, "{table} places are kept for nobody");
        }
        assert!(servers.by_id.capacity() <= SMALL);
        assert!(servers.answered.is_empty() && servers.answered.capacity() <= SMALL);
    }
}
