//! What a simulated phone answers: calls, changes of a call, and everything else it is asked.
//!
//! RFC 3261 §8.2, §13.3 and §14.2, written out by hand.

use bytes::Bytes;
use pbx::moment::Moment;
use pbx::sip::Draft;
use pbx::sip::answer::Unacknowledged2xx;
use pbx::sip::message::Message;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::sip::transaction::{Arrival, Cancelled, ServerId};

use super::skills::Rings;
use super::talk::{Change, Talk};
use super::{Asked, Habit, Phone, State, answering, contact_of, direction, with};

impl Phone {
    pub(super) fn handle_request(&mut self, now: Moment, request: Message) {
        self.last_request = Some(request.clone());
        let flow = self.flow();
        match self.transactions.receive_request(now, flow, &request) {
            Arrival::Ack => {
                let cseq = request.cseq().map(|cseq| cseq.number).unwrap_or_default();
                if self.talk.unacked.as_ref().is_some_and(|(number, _)| *number == cseq) {
                    self.talk.unacked = None;
                    if !request.body().is_empty() {
                        self.hears = direction(&request);
                    }
                }
            }
            Arrival::Cancel { server, invite } => {
                let bytes = Draft::response(&request, 200, None).to_tag("phone").finish();
                self.transactions.respond(now, server, 200, bytes);
                if let Cancelled::Invite(..) = invite {
                    self.finish_invite(now, 487);
                }
            }
            Arrival::New(server) if request.method() == Method::Invite => {
                self.handle_invite(now, server, request);
            }
            Arrival::New(server) => {
                let known = request.call_id().is_ok_and(|id| id == self.talk.call_id);
                let within = request.to().is_ok_and(|to| to.tag().is_some());
                let status = match request.method() {
                    Method::Bye if !known => 481,
                    Method::Bye => 200,
                    _ if within && !known => 481,
                    method => self.skills.refusal(method).unwrap_or(200),
                };
                if request.method() == Method::Bye && known {
                    self.end(now);
                    self.talk.unacked = None;
                }
                let bytes = match (request.method(), status) {
                    (Method::Update, 200) => self.answer_update(&request),
                    (Method::Prack, _) => return self.confirmed(now, server, &request),
                    _ => Draft::response(&request, status, None).to_tag("phone").finish(),
                };
                self.transactions.respond(now, server, status, bytes);
            }
            Arrival::Absorbed | Arrival::Merged | Arrival::Full | Arrival::Unreadable => {}
        }
    }

    fn handle_invite(&mut self, now: Moment, server: ServerId, invite: Message) {
        let within = invite.to().is_ok_and(|to| to.tag().is_some());
        self.transactions.own(server, Asked::Invite);
        if let Some((status, name, value)) = self.skills.first_refusal.take().filter(|_| !within) {
            let draft = Draft::response(&invite, status, None).to_tag("no");
            let bytes = draft.header(name, value).finish();
            return self.transactions.respond(now, server, status, bytes);
        }
        if within {
            let known = invite.call_id().is_ok_and(|id| id == self.talk.call_id);
            let refusal = match (self.state, &self.talk.change) {
                (State::Talking, Change::None | Change::Again { .. }) if known => None,
                // RFC 3261 §14.2: it waits for an answer of its own.
                (State::Talking, Change::Asked) | (State::Calling, _) if known => Some(491),
                _ => Some(481),
            };
            if let Some(status) = refusal.or(self.skills.refusal(Method::Invite)) {
                let bytes = Draft::response(&invite, status, None).finish();
                return self.transactions.respond(now, server, status, bytes);
            }
            self.hears = direction(&invite);
            let sdp = self.answer(&invite, answering(&self.hears));
            let bytes = self.write_answer(&invite, 200, &sdp);
            self.expect_ack(now, &invite, &bytes);
            return self.transactions.respond(now, server, 200, bytes);
        }
        if matches!(self.state, State::Talking | State::Ringing | State::Calling) {
            let bytes = Draft::response(&invite, 486, None).to_tag("busy").finish();
            return self.transactions.respond(now, server, 486, bytes);
        }
        let offer = String::from_utf8_lossy(&invite.body()).into_owned();
        if self.skills.sound.demands.is_some_and(|demanded| !offer.contains(demanded)) {
            let bytes = Draft::response(&invite, 488, None).to_tag("no").finish();
            return self.transactions.respond(now, server, 488, bytes);
        }
        let tag = self.chance.number();
        self.hears = direction(&invite);
        self.talk = Talk {
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            local: format!("{};tag={tag:x}", invite.first(Name::To).unwrap_or_default()),
            remote: invite.first(Name::From).unwrap_or_default().to_owned(),
            target: contact_of(&invite),
            invite: Some((server, invite.clone())),
            cseq: self.talk.cseq,
            ..Talk::default()
        };
        self.state = State::Ringing;
        match self.habit.clone() {
            Habit::Answer(after) => {
                self.provisional(now, 180);
                self.talk.answer_at = Some(now + after);
            }
            Habit::Early(after) => {
                self.provisional(now, 183);
                self.talk.answer_at = Some(now + after);
            }
            Habit::Ring => self.provisional(now, 180),
            Habit::Refuse(status) => self.finish_invite(now, status),
            Habit::Forward(_) => self.finish_invite(now, 302),
            Habit::Silent => self.state = State::Idle,
        }
    }

    /// The 2xx to an UPDATE, with a description if it brought one.
    fn answer_update(&mut self, update: &Message) -> Bytes {
        if update.body().is_empty() {
            return self.write_answer(update, 200, "");
        }
        self.hears = direction(update);
        let sdp = self.answer(update, answering(&self.hears));
        self.write_answer(update, 200, &sdp)
    }

    fn provisional(&mut self, now: Moment, status: u16) {
        let Some((server, invite)) = self.talk.invite.clone() else { return };
        let sdp = if status == 183 { self.answer(&invite, "sendrecv") } else { String::new() };
        if self.skills.rings == Rings::Reliably {
            return self.announce(now, server, &invite, status, &sdp);
        }
        let bytes = self.write_answer(&invite, status, &sdp);
        self.transactions.respond(now, server, status, bytes);
    }

    pub(super) fn finish_invite(&mut self, now: Moment, status: u16) {
        if status == 200 && self.talk.announcements.holds_answer() {
            self.talk.answers_once_confirmed = true;
            return;
        }
        let Some((server, invite)) = self.talk.invite.take() else { return };
        self.talk.announcements.stop();
        self.talk.answer_at = None;
        self.state = if status == 200 { State::Talking } else { State::Ended(status) };
        let describes = status == 200 && !self.talk.described;
        let sdp = if describes { self.answer(&invite, "sendrecv") } else { String::new() };
        let bytes = self.write_answer(&invite, status, &sdp);
        if status == 200 {
            self.expect_ack(now, &invite, &bytes);
        }
        self.transactions.respond(now, server, status, bytes);
    }

    pub(super) fn expect_ack(&mut self, now: Moment, invite: &Message, answer: &Bytes) {
        let cseq = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
        self.talk.unacked = Some((cseq, Unacknowledged2xx::new(now, answer.clone())));
    }

    pub(super) fn write_answer(&self, invite: &Message, status: u16, sdp: &str) -> Bytes {
        let tag = self.talk.local.rsplit(";tag=").next().unwrap_or_default();
        let draft = Draft::response(invite, status, None).to_tag(tag);
        let draft = match (&self.habit, status) {
            (Habit::Forward(to), 302) => draft.header(Name::Contact, format_args!("<{to}>")),
            _ => draft.header(Name::Contact, self.contact()),
        };
        let draft = match status {
            101..=299 => with(draft, &self.skills.answers_with),
            _ => draft,
        };
        match sdp.is_empty() {
            true => draft.finish(),
            false => draft.body("application/sdp", sdp.as_bytes()).finish(),
        }
    }
}
