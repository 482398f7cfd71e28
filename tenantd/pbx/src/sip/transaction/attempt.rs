//! An INVITE that we sent, with the CANCEL that may follow it.
//!
//! RFC 3261 §9.1: nobody may know the INVITE before its first provisional response, so a CANCEL
//! waits for that; and once there is a final response nothing is left to cancel.

use bytes::Bytes;

use super::client::{self, Client};
use super::hop;
use super::invite_client::{self, InviteClient};
use crate::flow::Delivery;
use crate::moment::Moment;
use crate::sip::message::Message;

/// Both transactions.
#[derive(Debug)]
pub(super) struct Attempt {
    delivery: Delivery,
    invite: InviteClient,
    cancel: Cancel,
}

/// What a response leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reaction {
    /// Put this on the wire.
    pub(super) send: Option<Bytes>,
    /// Whether the call shall hear of it.
    pub(super) heard: client::Heard,
}

#[derive(Debug)]
enum Cancel {
    NotWished,
    Waiting(Bytes),
    Sent(Client),
}

impl Attempt {
    /// Starts when the INVITE is first sent over `delivery`.
    pub(super) fn new(now: Moment, delivery: Delivery, request: Bytes) -> Self {
        let invite = InviteClient::new(now, delivery, request);
        Self { delivery, invite, cancel: Cancel::NotWished }
    }

    /// The call wants no answer any more. Gives the CANCEL if it can go out at once.
    pub(super) fn cancel(&mut self, now: Moment, reason: Option<&str>) -> Option<Bytes> {
        match self.cancel {
            Cancel::NotWished => {
                self.cancel = Cancel::Waiting(hop::cancel(self.invite.request()?, reason)?);
                self.send_cancel(now)
            }
            Cancel::Waiting(_) | Cancel::Sent(_) => None,
        }
    }

    /// A response to the INVITE came; `None` if it is unreadable.
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        status: u16,
        response: &Message,
    ) -> Option<Reaction> {
        let heard = match (status, self.invite.request()) {
            (300.., Some(request)) => {
                let ack = hop::ack(request, response)?;
                self.invite.handle_refusal(now, ack)
            }
            (300.., None) => self.invite.handle_repeated_refusal(),
            (..=299, _) => self.invite.handle_response(now, status),
        };
        if self.invite.request().is_none() {
            self.cancel = Cancel::NotWished;
        }
        Some(match heard {
            invite_client::Heard::News => {
                Reaction { send: self.send_cancel(now), heard: client::Heard::News }
            }
            invite_client::Heard::Refusal(ack) => {
                Reaction { send: Some(ack), heard: client::Heard::News }
            }
            invite_client::Heard::RefusalAgain(ack) => {
                Reaction { send: Some(ack), heard: client::Heard::Old }
            }
            invite_client::Heard::Old => Reaction { send: None, heard: client::Heard::Old },
        })
    }

    /// A response to the CANCEL came.
    pub(super) fn handle_response_to_cancel(&mut self, now: Moment, status: u16) {
        match &mut self.cancel {
            Cancel::Sent(client) => drop(client.handle_response(now, status)),
            Cancel::NotWished | Cancel::Waiting(_) => {}
        }
    }

    /// A deadline has come. Where two are due, the other is so still.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<client::Step> {
        match self.invite.handle_deadline(now) {
            Some(invite_client::Step::Send(bytes)) => return Some(client::Step::Send(bytes)),
            Some(invite_client::Step::TimedOut) => return Some(client::Step::TimedOut),
            None => {}
        }
        match &mut self.cancel {
            Cancel::NotWished | Cancel::Waiting(_) => None,
            Cancel::Sent(client) => match client.handle_deadline(now) {
                Some(client::Step::Send(bytes)) => Some(client::Step::Send(bytes)),
                // The INVITE gives up at the same time, and says so.
                Some(client::Step::TimedOut) | None => None,
            },
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let cancel = match &self.cancel {
            Cancel::NotWished | Cancel::Waiting(_) => None,
            Cancel::Sent(client) => client.deadline(),
        };
        self.invite.deadline().into_iter().chain(cancel).min()
    }

    /// Whether the INVITE still waits for a final response.
    pub(super) fn is_unfinished(&self) -> bool {
        self.invite.request().is_some()
    }

    /// Whether both can be forgotten.
    pub(super) fn is_terminated(&self) -> bool {
        self.invite.is_terminated()
    }

    fn send_cancel(&mut self, now: Moment) -> Option<Bytes> {
        match &mut self.cancel {
            Cancel::Waiting(bytes) if self.invite.is_proceeding() => {
                let bytes = std::mem::take(bytes);
                self.invite.handle_cancel(now);
                self.cancel = Cancel::Sent(Client::new(now, self.delivery, bytes.clone()));
                Some(bytes)
            }
            Cancel::NotWished | Cancel::Waiting(_) | Cancel::Sent(_) => None,
        }
    }
}
