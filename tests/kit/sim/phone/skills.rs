//! What a simulated phone knows beyond a plain call: session timers, UPDATE, and how to be gone.

use pbx::moment::Moment;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;

use super::{Asked, Phone};

/// What it can, and what it does when it is asked within a call.
#[derive(Debug, Clone, Default)]
pub struct Skills {
    /// Headers of its INVITEs.
    pub asks_with: Vec<(Name, String)>,
    /// Headers of its 2xx to INVITE and UPDATE.
    pub answers_with: Vec<(Name, String)>,
    /// What it refuses within a dialog, by method.
    pub refuses: Vec<(&'static str, u16)>,
    /// What it refuses its first call with, and with which header.
    pub first_refusal: Option<(u16, Name, String)>,
    /// Whether it still does anything at all.
    pub power: Power,
}

/// Whether a phone does anything at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Power {
    /// It does.
    #[default]
    On,
    /// Somebody pulled its plug.
    Off,
}

impl Skills {
    /// How it refuses a request within a dialog, if it does.
    pub(super) fn refusal(&self, method: Method<'_>) -> Option<u16> {
        let method = method.as_str();
        self.refuses.iter().find(|(refused, _)| *refused == method).map(|(_, status)| *status)
    }
}

impl Phone {
    /// Asks something within its call; the answer is found in `answers`.
    pub fn ask(&mut self, now: Moment, method: Method<'static>, with: &[(Name, &str)], sdp: &str) {
        self.talk.cseq += 1;
        let head = self.head(method);
        let before = std::mem::take(&mut self.skills.asks_with);
        self.skills.asks_with = with.iter().map(|(name, text)| (*name, text.to_string())).collect();
        self.send_request(now, &head, Asked::Other, None, sdp);
        self.skills.asks_with = before;
    }

    /// Sends an INVITE within its call and lets the other side make the offer.
    pub fn offer_nothing(&mut self, now: Moment) {
        self.talk.cseq += 1;
        self.send_invite(now, Asked::ReInvite, "", None);
    }

    /// A description with this direction, as it would say it.
    pub fn describes(&self, direction: &str) -> String {
        self.description(direction)
    }

    pub(super) fn note_answer(&mut self, response: &Message) {
        let status = response.status().unwrap_or_default();
        self.answers.push(format!("{status} {}", response.method().as_str()));
        self.last_answer = Some(response.clone());
    }
}
