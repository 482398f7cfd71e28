//! A relation between two phones that outlives one message: who, where, and what number comes next.
//!
//! RFC 3261 §12. Each leg of a call has its own; plain data, so that it survives a restart.

use serde::{Deserialize, Serialize};

use super::address::{Address, Contacts};
use super::draft::Draft;
use super::flaw::Flaw;
use super::message::Message;
use super::method::Method;
use super::name::Name;

/// Requests start with this many hops to go (RFC 3261 §8.1.1.6).
pub const HOPS: u8 = 70;

/// What a revived dialog adds to its next request's number: it cannot know the last one it sent.
const LEAP: u32 = 1_000;

/// One leg's dialog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialog {
    /// The Call-ID.
    pub call_id: String,
    /// Our From or To value, tag included.
    pub local: String,
    /// Our tag.
    pub local_tag: String,
    /// Their To or From value, tag included once it is known.
    pub remote: String,
    /// Their tag; empty until they answered.
    pub remote_tag: String,
    /// Where requests are addressed: their Contact.
    pub target: String,
    /// Route values, nearest first.
    pub route: Vec<String>,
    /// The number of our last request.
    pub local_cseq: u32,
    /// The number of their last request.
    pub remote_cseq: Option<u32>,
}

/// A request older than one that was already served (RFC 3261 §12.2.2): answer 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder;

impl Dialog {
    /// The dialog of who is asked: an INVITE came, and we answer with `tag` (§12.1.1).
    pub fn asked(invite: &Message, tag: &str) -> Result<Self, Flaw> {
        let from = invite.first(Name::From).unwrap_or_default();
        let to = invite.first(Name::To).unwrap_or_default();
        Ok(Self {
            call_id: invite.call_id()?.to_owned(),
            local: format!("{to};tag={tag}"),
            local_tag: tag.to_owned(),
            remote: from.to_owned(),
            remote_tag: invite.from()?.tag().unwrap_or_default().to_owned(),
            target: target_of(invite)?.unwrap_or_default(),
            route: invite.record_routes().into_iter().map(str::to_owned).collect(),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.number),
        })
    }

    /// The dialog of who asks, before anybody answered (§12.1.2).
    pub fn asking(call_id: String, local: String, local_tag: String, remote: String) -> Self {
        Self {
            call_id,
            local,
            local_tag,
            remote,
            remote_tag: String::new(),
            target: String::new(),
            route: Vec::new(),
            local_cseq: 0,
            remote_cseq: None,
        }
    }

    /// The other side answered: its tag, its address and the way there are known (§12.1.2).
    pub fn handle_answer(&mut self, response: &Message) -> Result<(), Flaw> {
        if let Some(tag) = response.to()?.tag() {
            tag.clone_into(&mut self.remote_tag);
        }
        if let Some(to) = response.first(Name::To) {
            to.clone_into(&mut self.remote);
        }
        self.route = response.record_routes().into_iter().map(str::to_owned).collect();
        self.route.reverse();
        self.move_target(response)
    }

    /// A target refresh (§12.2.1.2, §12.2.2): the Contact of a re-INVITE or of its 2xx.
    pub fn move_target(&mut self, message: &Message) -> Result<(), Flaw> {
        if let Some(target) = target_of(message)? {
            self.target = target;
        }
        Ok(())
    }

    /// Whether a request continues this dialog; its number is taken over (§12.2.2).
    pub fn accept(&mut self, number: u32) -> Result<(), OutOfOrder> {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Err(OutOfOrder);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// Whether a request's Call-ID and tags are this dialog's.
    pub fn matches(&self, request: &Message) -> bool {
        let tag = |address: Result<Address<'_>, Flaw>, ours: &str| {
            address.is_ok_and(|a| a.tag().unwrap_or_default() == ours)
        };
        request.call_id().is_ok_and(|id| id == self.call_id)
            && tag(request.to(), &self.local_tag)
            && tag(request.from(), &self.remote_tag)
    }

    /// The next request (§12.2.1.1); the caller adds Via, Contact and what else it needs.
    pub fn request(&mut self, method: Method<'_>, via: &str) -> Draft {
        self.local_cseq += 1;
        self.write(method, self.local_cseq, HOPS, via)
    }

    /// The INVITE that asks for a dialog, with the hops that its cause has left (§16.6 step 3).
    pub fn invite(&mut self, via: &str, hops: u8) -> Draft {
        self.local_cseq += 1;
        self.write(Method::Invite, self.local_cseq, hops, via)
    }

    /// The ACK for the 2xx to our INVITE number `cseq` (§13.2.2.4).
    pub fn ack(&self, cseq: u32, via: &str) -> Draft {
        self.write(Method::Ack, cseq, HOPS, via)
    }

    /// Takes the dialog over after a restart, when requests may have been sent that nobody noted.
    pub fn revive(&mut self) {
        self.local_cseq = self.local_cseq.saturating_add(LEAP);
    }

    fn write(&self, method: Method<'_>, cseq: u32, hops: u8, via: &str) -> Draft {
        let mut draft = Draft::request(method, &self.target)
            .header(Name::Via, via)
            .header(Name::MaxForwards, hops)
            .header(Name::From, &self.local)
            .header(Name::To, &self.remote)
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format_args!("{cseq} {}", method.as_str()));
        for route in &self.route {
            draft = draft.header(Name::Route, route);
        }
        draft
    }
}

fn target_of(message: &Message) -> Result<Option<String>, Flaw> {
    Ok(match message.contacts()? {
        Contacts::List(contacts) => contacts.first().map(|contact| contact.uri_text.to_owned()),
        Contacts::None | Contacts::Star => None,
    })
}
