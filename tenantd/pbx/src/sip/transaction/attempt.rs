//! An INVITE that we sent, with the CANCEL that may follow it.
//!
//! RFC 3261 §9.1: nobody may know the INVITE before its first provisional response, so a CANCEL
//! waits for that; and once there is a final response nothing is left to cancel.
//!
//! One thing more than the RFC says: when an INVITE is given up that nobody seems to have heard, a
//! CANCEL follows. A bad line may have lost no INVITE but every answer, and then a phone rings that
//! nobody would stop. After 64 times T1 it can overtake no INVITE, which is what §9.1 forbids it for.

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
    /// The INVITE was given up: this goes out next.
    Due {
        invite: Bytes,
        cancel: Bytes,
        at: Moment,
    },
    /// It went out after the INVITE was given up.
    Late {
        invite: Bytes,
        client: Client,
    },
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
            Cancel::Waiting(_) | Cancel::Sent(_) | Cancel::Due { .. } | Cancel::Late { .. } => None,
        }
    }

    /// A response to the INVITE came; `None` if it is unreadable.
    pub(super) fn handle_response(
        &mut self,
        now: Moment,
        status: u16,
        response: &Message,
    ) -> Option<Reaction> {
        if let (300.., Cancel::Late { invite, .. }) = (status, &self.cancel) {
            let ack = hop::ack(invite, response)?;
            return Some(Reaction { send: Some(ack), heard: client::Heard::Old });
        }
        let heard = match (status, self.invite.request()) {
            (300.., Some(request)) => {
                let ack = hop::ack(request, response)?;
                self.invite.handle_refusal(now, ack)
            }
            (300.., None) => self.invite.handle_repeated_refusal(),
            (..=299, _) => self.invite.handle_response(now, status),
        };
        if self.invite.request().is_none() && !self.invite.is_terminated() {
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
            Cancel::Sent(client) | Cancel::Late { client, .. } => {
                let _heard = client.handle_response(now, status);
            }
            Cancel::NotWished | Cancel::Waiting(_) | Cancel::Due { .. } => {}
        }
    }

    /// A deadline has come. Where two are due, the other is so still.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<client::Step> {
        let unheard = self.invite.request().filter(|_| !self.invite.is_proceeding()).cloned();
        match self.invite.handle_deadline(now) {
            Some(invite_client::Step::Send(bytes)) => return Some(client::Step::Send(bytes)),
            Some(invite_client::Step::TimedOut) => {
                self.cancel = unheard.map_or(Cancel::NotWished, |invite| self.late(now, invite));
                return Some(client::Step::TimedOut);
            }
            None => {}
        }
        match &mut self.cancel {
            Cancel::NotWished | Cancel::Waiting(_) => None,
            Cancel::Due { invite, cancel, .. } => {
                let (invite, bytes) = (std::mem::take(invite), std::mem::take(cancel));
                let client = Client::new(now, self.delivery, bytes.clone());
                self.cancel = Cancel::Late { invite, client };
                Some(client::Step::Send(bytes))
            }
            Cancel::Sent(client) | Cancel::Late { client, .. } => {
                match client.handle_deadline(now) {
                    Some(client::Step::Send(bytes)) => Some(client::Step::Send(bytes)),
                    // The INVITE gives up at the same time, or has done so before, and says so.
                    Some(client::Step::TimedOut) | None => None,
                }
            }
        }
    }

    /// The CANCEL of an INVITE that is given up; within a call the BYE says enough.
    fn late(&self, now: Moment, invite: Bytes) -> Cancel {
        let cancel = match &self.cancel {
            Cancel::Waiting(bytes) => Some(bytes.clone()),
            Cancel::NotWished => hop::cancel(&invite, None),
            Cancel::Sent(_) | Cancel::Due { .. } | Cancel::Late { .. } => None,
        };
        match cancel.filter(|_| hop::begins(&invite)) {
            Some(cancel) => Cancel::Due { invite, cancel, at: now },
            None => Cancel::NotWished,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let cancel = match &self.cancel {
            Cancel::NotWished | Cancel::Waiting(_) => None,
            Cancel::Due { at, .. } => Some(*at),
            Cancel::Sent(client) | Cancel::Late { client, .. } => client.deadline(),
        };
        self.invite.deadline().into_iter().chain(cancel).min()
    }

    /// Whether the INVITE still waits for a final response.
    pub(super) fn is_unfinished(&self) -> bool {
        self.invite.request().is_some()
    }

    /// Whether both can be forgotten.
    pub(super) fn is_terminated(&self) -> bool {
        let late = match &self.cancel {
            Cancel::NotWished | Cancel::Waiting(_) | Cancel::Sent(_) => false,
            Cancel::Due { .. } => true,
            Cancel::Late { client, .. } => !client.is_terminated(),
        };
        self.invite.is_terminated() && !late
    }

    fn send_cancel(&mut self, now: Moment) -> Option<Bytes> {
        match &mut self.cancel {
            Cancel::Waiting(bytes) if self.invite.is_proceeding() => {
                let bytes = std::mem::take(bytes);
                self.invite.handle_cancel(now);
                self.cancel = Cancel::Sent(Client::new(now, self.delivery, bytes.clone()));
                Some(bytes)
            }
            Cancel::NotWished
            | Cancel::Waiting(_)
            | Cancel::Sent(_)
            | Cancel::Due { .. }
            | Cancel::Late { .. } => None,
        }
    }
}
