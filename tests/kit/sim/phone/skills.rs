//! What a simulated phone knows beyond a plain call: session timers, UPDATE, and how to be gone.

use pbx::moment::Moment;
use pbx::sip::Draft;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::sip::reliable::{Brings, Due};
use pbx::sip::transaction::ServerId;

use super::{Asked, Phone, contact_of, direction};

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
    /// How it says that it rings.
    pub rings: Rings,
    /// How it confirms that it heard the other side ring.
    pub pracks: Pracks,
    /// The direction in the answer that its ACK brings.
    pub acks_with: Option<&'static str>,
    /// What it says of its sound.
    pub sound: Tongue,
    /// Whether it still does anything at all.
    pub power: Power,
}

/// What a phone says of its sound: its stream as `m=` and `a=` lines, `{ip}` for its address. Without
/// any it has PCMA and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Tongue {
    /// What it offers.
    pub offers: Option<String>,
    /// What it answers.
    pub answers: Option<String>,
    /// What an offer must hold, or it is refused with 488.
    pub demands: Option<&'static str>,
}

/// How a phone says that it rings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rings {
    /// Once.
    #[default]
    Plainly,
    /// Until it is confirmed (RFC 3262).
    Reliably,
}

/// How a phone confirms what it is told reliably.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pracks {
    /// As it should.
    #[default]
    Rightly,
    /// Never.
    Never,
    /// With another number first.
    WronglyFirst,
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
    pub fn ask_within(
        &mut self,
        now: Moment,
        method: Method<'static>,
        with: &[(Name, &str)],
        sdp: &str,
    ) {
        self.talk.cseq += 1;
        let head = self.head(method);
        let before = std::mem::take(&mut self.skills.asks_with);
        self.skills.asks_with = with.iter().map(|(name, text)| (*name, text.to_string())).collect();
        self.send_request(now, &head, Asked::Other, None, sdp);
        self.skills.asks_with = before;
    }

    /// Sends an INVITE within its call and lets the other side make the offer.
    pub fn offer_nothing(&mut self, now: Moment) {
        self.change(now, "");
    }

    /// A description with this direction, as it would say it.
    pub fn describes(&self, direction: &str) -> String {
        self.description(direction)
    }

    /// Rings until the caller has confirmed it.
    pub(super) fn announce(
        &mut self,
        now: Moment,
        server: ServerId,
        invite: &Message,
        status: u16,
        sdp: &str,
    ) {
        let rseq = self.talk.announcements.number(4_711);
        self.skills.answers_with.push((Name::Require, "100rel".to_owned()));
        self.skills.answers_with.push((Name::RSeq, rseq.to_string()));
        let bytes = self.write_answer(invite, status, sdp);
        self.skills.answers_with.truncate(self.skills.answers_with.len() - 2);
        let brings = if sdp.is_empty() { Brings::News } else { Brings::Description };
        self.talk.described |= brings == Brings::Description;
        let cseq = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        self.talk.announcements.sent(now, cseq, brings, bytes.clone());
        self.transactions.respond(now, server, status, bytes);
    }

    pub(super) fn announce_again(&mut self, now: Moment) {
        match self.talk.announcements.handle_deadline(now) {
            Some(Due::Repeat(bytes)) => self.outbox.push_back(bytes),
            Some(Due::GiveUp) => self.finish_invite(now, 504),
            None => {}
        }
    }

    /// A PRACK came.
    pub(super) fn confirmed(&mut self, now: Moment, server: ServerId, prack: &Message) {
        let status = if self.talk.announcements.confirm(prack).is_ok() { 200 } else { 481 };
        if !prack.body().is_empty() {
            self.hears = direction(prack);
        }
        let bytes = Draft::response(prack, status, None).finish();
        self.transactions.respond(now, server, status, bytes);
        if self.talk.answers_once_confirmed {
            self.talk.answers_once_confirmed = false;
            self.finish_invite(now, 200);
        }
    }

    /// The other side rings reliably.
    pub(super) fn confirm(&mut self, now: Moment, response: &Message) {
        let Some(rseq) = self.talk.sequence.take(response) else { return };
        self.talk.remote = response.first(Name::To).unwrap_or_default().to_owned();
        self.talk.target = contact_of(response);
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        if !response.body().is_empty() {
            self.hears = direction(response);
        }
        let wrong = format!("{} {cseq} INVITE", rseq + 1);
        let right = format!("{rseq} {cseq} INVITE");
        match self.skills.pracks {
            Pracks::Rightly => self.ask_within(now, Method::Prack, &[(Name::RAck, &right)], ""),
            Pracks::Never => {}
            Pracks::WronglyFirst => {
                self.ask_within(now, Method::Prack, &[(Name::RAck, &wrong)], "");
                self.ask_within(now, Method::Prack, &[(Name::RAck, &right)], "");
            }
        }
    }

    pub(super) fn note_answer(&mut self, response: &Message) {
        let status = response.status().unwrap_or_default();
        self.answers.push(format!("{status} {}", response.method().as_str()));
        self.last_answer = Some(response.clone());
    }
}
