//! All transactions of a switch: which one a message belongs to, and what is due next.
//!
//! RFC 3261 §17. `O` is who owns one, a small value of the caller's own.

use bytes::Bytes;

use super::agenda::{Agenda, Due, Output};
use super::clients::{Answer, Clients, Full, Request};
use super::servers::{Arrival, ServerId, Servers};
use crate::flow::Flow;
use crate::moment::Moment;
use crate::sip::message::Message;
use crate::sip::method::Method;

/// Both sides of every transaction.
///
/// Take the outputs after each input or deadline: they are the only thing here without a limit of
/// its own, and each input adds two at most.
#[derive(Debug)]
pub struct Transactions<O> {
    servers: Servers<O>,
    clients: Clients<O>,
    agenda: Agenda<O>,
}

impl<O: Copy> Transactions<O> {
    /// How many requests of each side a switch keeps unless told otherwise.
    pub const USUAL_LIMIT: usize = 200_000;

    /// None yet. `key` is secret; at most `limit` requests are kept on each side, and an eighth
    /// more of those that end something. On the answering side those that were answered longest
    /// ago make room first.
    pub fn new(key: [u8; 16], limit: usize) -> Self {
        Self {
            servers: Servers::new(key, limit),
            clients: Clients::new(limit),
            agenda: Agenda::new(),
        }
    }

    /// A request came. What it says was checked before.
    pub fn receive_request(&mut self, now: Moment, flow: Flow, request: &Message) -> Arrival<O> {
        self.servers.receive(&mut self.agenda, now, flow, request)
    }

    /// Says who is told if a request is cancelled, or our refusal never acknowledged.
    pub fn own(&mut self, id: ServerId, owner: O) {
        self.servers.own(id, owner);
    }

    /// Answers a request. What may not be said (any more) is not: a second final response, a 408,
    /// or a provisional response, to anything but an INVITE.
    pub fn respond(&mut self, now: Moment, id: ServerId, status: u16, bytes: Bytes) {
        self.servers.respond(&mut self.agenda, now, id, status, bytes);
    }

    /// Sends a request, again and again if need be. `branch_key` is the key of the token in its
    /// branch, and no other request's. An ACK is no transaction.
    pub fn request(
        &mut self,
        now: Moment,
        flow: Flow,
        method: Method<'_>,
        bytes: Bytes,
        branch_key: u64,
        owner: O,
    ) -> Result<(), Full> {
        let request = Request { flow, branch_key, owner, bytes };
        self.clients.request(&mut self.agenda, now, method, request)
    }

    /// A response came, with this key in the token of its branch. `None`: a repeat, or a stray.
    pub fn receive_response(
        &mut self,
        now: Moment,
        branch_key: u64,
        response: &Message,
    ) -> Option<Answer<O>> {
        self.clients.receive(&mut self.agenda, now, branch_key, response)
    }

    /// Cancels an INVITE, now or as soon as somebody has heard it, with the value of a Reason
    /// header. Its owner still gets a final response, or [`Output::TimedOut`]; it may be a 2xx.
    pub fn cancel(&mut self, now: Moment, branch_key: u64, reason: Option<&str>) {
        self.clients.cancel(&mut self.agenda, now, branch_key, reason);
    }

    /// What shall be done next.
    pub fn poll_output(&mut self) -> Option<Output<O>> {
        self.agenda.outputs.pop_front()
    }

    /// When [`Self::handle_deadline`] is next due. It may then find that nothing is.
    pub fn deadline(&self) -> Option<Moment> {
        self.agenda.alarms.next()
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) {
        self.ring(now);
    }

    /// Transactions that are remembered.
    pub fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Transactions in which somebody still waits: for a final response or the ACK to one. It looks
    /// at all of them; ask when the server is about to stop, not with each message.
    pub fn unfinished(&self) -> usize {
        self.servers.unfinished() + self.clients.unfinished()
    }

    /// Handles the alarms that ring, and says how many.
    fn ring(&mut self, now: Moment) -> usize {
        let mut rung = 0;
        while let Some(due) = self.agenda.alarms.pop_due(now) {
            rung += 1;
            match due {
                Due::Server(id) => self.servers.handle_deadline(&mut self.agenda, now, id),
                Due::Client(key) => self.clients.handle_deadline(&mut self.agenda, now, key),
            }
        }
        rung
    }
}
