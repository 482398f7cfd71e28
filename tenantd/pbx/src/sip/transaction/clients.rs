//! The requests that we send.
//!
//! RFC 3261 §17.1.3: the key in our own branch says which of them an answer belongs to.

use bytes::Bytes;

use super::agenda::{Agenda, Due, Map, Output, give_back};
use super::attempt::{Attempt, Reaction};
use super::client::{Client, Heard, Step};
use super::servers::with_reserve;
use crate::flow::{Flow, FlowId};
use crate::moment::Moment;
use crate::sip::deadlines::Alarm;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// There is no room for one more request: treat it as one that nobody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are under way")]
pub struct Full;

/// A request to send.
#[derive(Debug)]
pub(super) struct Request<O> {
    pub(super) flow: Flow,
    /// Which transaction: the key of the token in its branch.
    pub(super) branch_key: u64,
    pub(super) owner: O,
    pub(super) bytes: Bytes,
}

/// An answer that is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<O> {
    /// Who asked.
    pub owner: O,
    /// Its status code. A 2xx to an INVITE is passed on each time it comes, because its ACK may
    /// have been lost.
    pub status: u16,
}

/// All requests that we have sent and may hear of.
#[derive(Debug)]
pub(super) struct Clients<O> {
    limit: usize,
    by_key: Map<u64, Box<Entry<O>>>,
    /// Which of them went over a connection.
    by_stream: Map<FlowId, Vec<u64>>,
}

#[derive(Debug)]
struct Entry<O> {
    flow: Flow,
    owner: O,
    alarm: Alarm,
    machine: Machine,
}

#[derive(Debug)]
enum Machine {
    Invite(Attempt),
    Other(Client),
}

impl<O: Copy> Clients<O> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, by_key: Map::default(), by_stream: Map::default() }
    }

    pub(super) fn request(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        method: Method<'_>,
        request: Request<O>,
    ) -> Result<(), Full> {
        let Request { flow, branch_key, owner, bytes } = request;
        // What ends a call may use a reserve: it must be able to when all is full.
        let (limit, machine) = match method {
            Method::Invite => {
                let attempt = Attempt::new(now, flow.delivery(), bytes.clone());
                (self.limit, Machine::Invite(attempt))
            }
            _ => {
                let client = Client::new(now, flow.delivery(), bytes.clone());
                (with_reserve(self.limit), Machine::Other(client))
            }
        };
        if self.by_key.len() >= limit {
            return Err(Full);
        }
        let entry = Entry { flow, owner, alarm: Alarm::default(), machine };
        let earlier = self.by_key.insert(branch_key, Box::new(entry));
        debug_assert!(earlier.is_none(), "each branch has a key of its own");
        if let Some(stream) = flow.stream() {
            self.by_stream.entry(stream).or_default().push(branch_key);
        }
        agenda.send(flow, bytes);
        self.settle(agenda, branch_key);
        Ok(())
    }

    /// A connection is gone: what nobody has answered on it never will be.
    pub(super) fn lose(&mut self, agenda: &mut Agenda<O>, stream: FlowId) {
        for branch_key in self.by_stream.remove(&stream).into_iter().flatten() {
            if let Some(entry) = self.by_key.remove(&branch_key)
                && entry.machine.is_unfinished()
            {
                agenda.outputs.push_back(Output::TimedOut { owner: entry.owner });
            }
        }
    }

    pub(super) fn receive(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        branch_key: u64,
        response: &Message,
    ) -> Option<Answer<O>> {
        let entry = self.by_key.get_mut(&branch_key)?;
        let status = response.status()?;
        let heard = match (&mut entry.machine, response.cseq().ok()?.method) {
            (Machine::Invite(attempt), Method::Invite) => {
                let Reaction { send, heard } = attempt.handle_response(now, status, response)?;
                if let Some(bytes) = send {
                    agenda.send(entry.flow, bytes);
                }
                heard
            }
            (Machine::Invite(attempt), Method::Cancel) => {
                attempt.handle_response_to_cancel(now, status);
                Heard::Old
            }
            (Machine::Invite(_), _) | (Machine::Other(_), Method::Invite | Method::Cancel) => {
                return None;
            }
            (Machine::Other(client), _) => client.handle_response(now, status),
        };
        let owner = entry.owner;
        self.settle(agenda, branch_key);
        match heard {
            Heard::News => Some(Answer { owner, status }),
            Heard::Old => None,
        }
    }

    pub(super) fn cancel(
        &mut self,
        agenda: &mut Agenda<O>,
        now: Moment,
        branch_key: u64,
        reason: Option<&str>,
    ) {
        let entry = self.by_key.get_mut(&branch_key).map(|entry| &mut **entry);
        let Some(Entry { machine: Machine::Invite(attempt), flow, .. }) = entry else { return };
        if let Some(bytes) = attempt.cancel(now, reason) {
            agenda.send(*flow, bytes);
        }
        self.settle(agenda, branch_key);
    }

    /// Its alarm has rung.
    pub(super) fn handle_deadline(&mut self, agenda: &mut Agenda<O>, now: Moment, branch_key: u64) {
        let Some(entry) = self.by_key.get_mut(&branch_key) else { return };
        if !entry.alarm.rings(now) {
            return;
        }
        let step = match &mut entry.machine {
            Machine::Invite(attempt) => attempt.handle_deadline(now),
            Machine::Other(client) => client.handle_deadline(now),
        };
        match step {
            Some(Step::Send(bytes)) => agenda.send(entry.flow, bytes),
            Some(Step::TimedOut) => {
                agenda.outputs.push_back(Output::TimedOut { owner: entry.owner });
            }
            None => {}
        }
        self.settle(agenda, branch_key);
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn unfinished(&self) -> usize {
        self.by_key.values().filter(|entry| entry.machine.is_unfinished()).count()
    }

    /// Sets the alarm anew, or forgets what has ended.
    fn settle(&mut self, agenda: &mut Agenda<O>, branch_key: u64) {
        let Some(entry) = self.by_key.get_mut(&branch_key) else { return };
        if entry.machine.is_terminated() {
            let stream = self.by_key.remove(&branch_key).and_then(|entry| entry.flow.stream());
            give_back(&mut self.by_key);
            if let Some(stream) = stream
                && let Some(keys) = self.by_stream.get_mut(&stream)
            {
                keys.retain(|key| *key != branch_key);
                if keys.is_empty() {
                    self.by_stream.remove(&stream);
                }
            }
            return;
        }
        agenda.alarms.set(&mut entry.alarm, entry.machine.deadline(), Due::Client(branch_key));
    }
}

impl Machine {
    fn deadline(&self) -> Option<Moment> {
        match self {
            Self::Invite(attempt) => attempt.deadline(),
            Self::Other(client) => client.deadline(),
        }
    }

    fn is_unfinished(&self) -> bool {
        match self {
            Self::Invite(attempt) => attempt.is_unfinished(),
            Self::Other(client) => client.is_unfinished(),
        }
    }

    fn is_terminated(&self) -> bool {
        match self {
            Self::Invite(attempt) => attempt.is_terminated(),
            Self::Other(client) => client.is_terminated(),
        }
    }
}
