//! What is seen live: a tenant's phones and calls as plain data, kept current by small changes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::flow::Peer;
use crate::id::{BindingId, CallId, TenantId};
use crate::moment::Moment;

/// A tenant's live picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Board {
    /// Phones that are registered, by binding. Boxed: they are many, and trees are half empty.
    pub phones: BTreeMap<BindingId, Box<Phone>>,
    /// Calls under way.
    pub calls: BTreeMap<CallId, LiveCall>,
}

/// A registered phone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phone {
    /// The extension's number.
    pub extension: Box<str>,
    /// What the phone calls itself (User-Agent), at most 100 characters.
    pub user_agent: Box<str>,
    /// Where its REGISTER came from, shown as `udp 198.51.100.7:5060`.
    pub path: Peer,
    /// When the registration ends unless it is refreshed.
    pub expires_at: Moment,
    /// What its owner should know and do something about.
    pub trouble: Option<Trouble>,
}

/// What can be wrong with a registered phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Trouble {
    /// It no longer answers, and is not called until it does.
    NotAnswering,
    /// Its router rewrites its messages (SIP ALG).
    SipAlg,
}

/// A call under way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveCall {
    /// Who calls: an extension's number, or a public number.
    pub caller: String,
    /// What was dialled.
    pub dialled: String,
    /// Who answered, as an extension's number; empty while it rings.
    pub answered_by: String,
    /// How far it is.
    pub stage: Stage,
    /// When it began.
    pub began_at: Moment,
    /// When it was answered.
    pub answered_at: Option<Moment>,
}

/// How far a live call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Phones ring, or are about to.
    Ringing,
    /// Two people talk.
    Talking,
    /// One side holds the other.
    Held,
}

/// A change of one tenant's board.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Whose board.
    pub tenant: TenantId,
    /// What changed.
    pub what: What,
}

/// What changed on a board.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A phone came, or its registration was refreshed.
    Phone(BindingId, Box<Phone>),
    /// A phone left.
    PhoneGone(BindingId),
    /// A call began or went on.
    Call(CallId, LiveCall),
    /// A call ended.
    CallEnded(CallId),
    /// The tenant left this switch.
    Cleared,
}

impl Board {
    /// Takes a change over.
    pub fn apply(&mut self, what: What) {
        match what {
            What::Phone(id, phone) => self.show(id, phone),
            What::PhoneGone(id) => drop(self.phones.remove(&id)),
            What::Call(id, call) => drop(self.calls.insert(id, call)),
            What::CallEnded(id) => drop(self.calls.remove(&id)),
            What::Cleared => *self = Self::default(),
        }
    }

    /// A refresh changes when a phone ends and hardly ever more: what stays is kept where it is, or
    /// each storm of refreshes would leave new pieces all over the memory that it needed.
    fn show(&mut self, id: BindingId, phone: Box<Phone>) {
        let Some(shown) = self.phones.get_mut(&id) else {
            self.phones.insert(id, phone);
            return;
        };
        shown.expires_at = phone.expires_at;
        if *shown != phone {
            *shown = phone;
        }
    }
}
