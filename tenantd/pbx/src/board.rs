//! What is seen live: a tenant's phones and calls as plain data, kept current by small changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::Peer;
use crate::id::{BindingId, CallId, ConferenceId, TenantId};
use crate::moment::Moment;

/// A tenant's live picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Board {
    /// Phones that are registered, by binding. Boxed: they are many, and trees are half empty.
    pub phones: BTreeMap<BindingId, Box<Phone>>,
    /// Calls under way.
    pub calls: BTreeMap<CallId, Box<LiveCall>>,
    /// The member's call of each conference who speaks there now.
    pub speakers: BTreeMap<ConferenceId, CallId>,
}

/// A registered phone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trouble {
    /// It no longer answers, and is not called until it does.
    NotAnswering,
    /// Its router rewrites its messages (SIP ALG).
    SipAlg,
}

/// A call under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How its caller takes part in a conference.
    pub member: Option<Member>,
}

/// A caller in a conference, or at its door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which conference.
    pub conference: ConferenceId,
    /// The conference's number.
    pub number: String,
    /// The caller's name; empty: none is known.
    pub name: String,
    /// How it takes part.
    pub presence: Presence,
}

/// How a caller takes part in a conference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// It is not in yet.
    Dialling,
    /// It hears all others, and they hear it.
    Heard,
    /// It does not want to be heard.
    Muted,
    /// Its phone only listens.
    Listening,
    /// Its phone holds the conference.
    Away,
}

/// How far a live call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Phones ring, or are about to.
    Ringing,
    /// Two people talk.
    Talking,
    /// One side holds the other.
    Held,
    /// The caller is in a conference, or dials its PIN.
    Conferring,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// A phone came, or its registration was refreshed.
    Phone(BindingId, Box<Phone>),
    /// A phone left.
    PhoneGone(BindingId),
    /// A call began or went on.
    Call(CallId, Box<LiveCall>),
    /// A call ended.
    CallEnded(CallId),
    /// This member is the one who speaks in this conference.
    Speaks(ConferenceId, CallId),
    /// Nobody speaks in this conference.
    Silent(ConferenceId),
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
            What::CallEnded(id) => {
                self.calls.remove(&id);
                self.speakers.retain(|_, speaker| *speaker != id);
            }
            What::Speaks(conference, id) => drop(self.speakers.insert(conference, id)),
            What::Silent(conference) => drop(self.speakers.remove(&conference)),
            What::Cleared => *self = Self::default(),
        }
    }

    /// What must be told to somebody who sees `before` so that this is seen.
    pub fn changes_since(&self, before: &Self) -> Vec<What> {
        let phones = self.phones.iter().filter(|(id, phone)| before.phones.get(id) != Some(phone));
        let calls = self.calls.iter().filter(|(id, call)| before.calls.get(id) != Some(call));
        let gone = before.phones.keys().filter(|id| !self.phones.contains_key(id));
        let ended = before.calls.keys().filter(|id| !self.calls.contains_key(id));
        let speak = self.speakers.iter().filter(|(room, id)| before.speakers.get(room) != Some(id));
        let silent = before.speakers.keys().filter(|room| !self.speakers.contains_key(room));
        phones
            .map(|(id, phone)| What::Phone(*id, phone.clone()))
            .chain(gone.map(|id| What::PhoneGone(*id)))
            .chain(calls.map(|(id, call)| What::Call(*id, call.clone())))
            .chain(ended.map(|id| What::CallEnded(*id)))
            .chain(silent.map(|room| What::Silent(*room)))
            .chain(speak.map(|(room, id)| What::Speaks(*room, *id)))
            .collect()
    }

    /// How much is seen.
    pub fn len(&self) -> usize {
        self.phones.len() + self.calls.len() + self.speakers.len()
    }

    /// Whether nothing is seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_is_told_the_changes_sees_the_same() {
        let phone = |second| {
            Box::new(Phone {
                extension: "101".into(),
                user_agent: "".into(),
                path: "udp 192.0.2.1:5060".parse().unwrap(),
                expires_at: Moment::from_secs(second),
                trouble: None,
            })
        };
        let call = |stage| {
            Box::new(LiveCall {
                caller: "101".to_owned(),
                dialled: "102".to_owned(),
                answered_by: String::new(),
                stage,
                began_at: Moment::EPOCH,
                answered_at: None,
                member: None,
            })
        };
        let room = |number| ConferenceId(Uuid::from_u128(number));
        let binding = |number| BindingId(Uuid::from_u128(number));
        let (one, two) = (CallId(Uuid::from_u128(1)), CallId(Uuid::from_u128(2)));
        let before = Board {
            phones: [(binding(1), phone(1)), (binding(2), phone(1)), (binding(3), phone(1))].into(),
            calls: [(one, call(Stage::Ringing))].into(),
            speakers: [(room(1), one), (room(2), two), (room(3), two), (room(4), two)].into(),
        };
        let after = Board {
            phones: [(binding(1), phone(1)), (binding(2), phone(9)), (binding(4), phone(1))].into(),
            calls: [(two, call(Stage::Talking))].into(),
            speakers: [(room(1), two), (room(3), two)].into(),
        };
        let changes = after.changes_since(&before);
        assert_eq!(changes.len(), 8, "what is the same is not told: {changes:?}");
        let mut seen = before;
        changes.into_iter().for_each(|what| seen.apply(what));
        assert_eq!(seen, after);
        assert_eq!(after.changes_since(&after), []);
    }
}
