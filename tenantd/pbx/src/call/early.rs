//! What is agreed before anybody answers: ringing that must arrive, and early sound.
//!
//! RFC 3262. Our INVITEs say that we know it. A called phone that rings reliably gets its PRACK; if
//! it makes the offer there, because the caller made none, the PRACK holds our answer: all that it
//! offers, until the caller's own answer comes with the ACK and is told it. A caller is told
//! reliably only if it requires that; then a description that it has not confirmed holds back its
//! 2xx, and is not repeated there. To a caller that requires this but made no offer nothing is said
//! before the answer: the first thing said reliably would have to be an offer (§5).

use super::desk::{Desk, SDP, finish};
use super::leg::{Agreed, State};
use super::pick_up::read_description;
use super::verdict::{Fate, Verdict};
use super::within::{Within, refuse};
use super::{Call, Owner, Phase, Task};
use crate::record::Ending;
use crate::sip::answer::Unacknowledged2xx;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::reliable::{Brings, Due, Later, rseq_of};
use crate::sip::sdp::Description;

/// What a provisional response of a called phone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something new.
    New,
    /// A reliable one that came before, or too early.
    Again,
}

impl Call {
    /// A called phone rings: its early dialog is known from now on, and confirmed if it asks for it.
    pub(super) fn hear_early(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        response: &Message,
    ) -> Heard {
        let leg = &mut self.legs[index];
        leg.timer.learn(response);
        let has_tag = response.to().is_ok_and(|to| to.tag().is_some());
        if has_tag && leg.dialog.remote_tag.is_empty() {
            // What cannot be read now is read from the 2xx, or the phone is hung up then.
            let _unread = leg.dialog.handle_answer(response);
        }
        let description = read_description(response).ok().flatten();
        if rseq_of(response).is_none() {
            leg.early.description = description.map(Box::new).or(leg.early.description.take());
            return Heard::New;
        }
        let Some(rseq) = leg.early.sequence.take(response) else { return Heard::Again };
        let mut body = None;
        if let Some(description) = description {
            if self.offer.is_none() && leg.early.agreed == Agreed::No {
                leg.voice.take(&description.sound());
                body = self.answer(desk, index, &description, &description.mirrored());
                self.legs[index].aim(desk, self.id);
            }
            let leg = &mut self.legs[index];
            leg.early.description = Some(Box::new(description));
            leg.early.agreed = Agreed::Reliably;
        }
        let unfit = matches!(body, Some(Err(_)));
        self.confirm(desk, index, response, rseq, body.and_then(Result::ok));
        if unfit {
            self.cancel_one(desk, index, None);
        }
        Heard::New
    }

    /// Sends the PRACK, in the early dialog of whoever rings.
    fn confirm(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        response: &Message,
        rseq: u32,
        body: Option<String>,
    ) {
        let leg = &mut self.legs[index];
        let (branch, text) = desk.branch();
        let via = desk.office.via(&leg.flow, &text);
        let mut early = leg.dialog.clone();
        if early.handle_answer(response).is_err() {
            return;
        }
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let rack = format_args!("{rseq} {cseq} INVITE").to_string();
        let draft = early.request(Method::Prack, &via).header(Name::RAck, rack);
        leg.dialog.local_cseq = early.local_cseq;
        let bytes = finish(draft, body.as_ref().map(|body| (SDP, body.as_bytes())));
        let (tenant, call) = (desk.tenant.tenant, self.number);
        let owner = Owner { tenant, call, leg: leg.number, task: Task::Prack, branch };
        // With no room for another transaction the phone rings again, and is confirmed then.
        let _no_room = desk.request(leg.flow, Method::Prack, bytes, owner);
    }

    /// Tells the caller how far it is, as surely as it wishes.
    pub(super) fn pass_provisional(
        &mut self,
        desk: &mut Desk<'_>,
        status: u16,
        body: Option<String>,
    ) {
        let State::Asking { invite, .. } = &self.legs[0].state else { return };
        match (requires_reliable(invite), self.offer.is_some()) {
            (true, true) => {
                let early = &self.legs[0].early;
                let told =
                    early.agreed == Agreed::Reliably || early.announcements.brings_description();
                self.announce(desk, Later { status, body: body.filter(|_| !told) });
            }
            (true, false) => {}
            (false, _) => self.say_provisional(desk, status, body, None),
        }
    }

    fn announce(&mut self, desk: &mut Desk<'_>, later: Later) {
        let announcements = &mut self.legs[0].early.announcements;
        if announcements.is_open() {
            return announcements.keep(later);
        }
        let first = u32::try_from(desk.office.chance.below(1 << 31)).unwrap_or(1);
        let rseq = announcements.number(first);
        self.say_provisional(desk, later.status, later.body, Some(rseq));
    }

    fn say_provisional(
        &mut self,
        desk: &mut Desk<'_>,
        status: u16,
        body: Option<String>,
        rseq: Option<u32>,
    ) {
        let caller = &mut self.legs[0];
        let State::Asking { server, invite } = &caller.state else { return };
        let mut draft = desk
            .office
            .reply(&caller.flow, invite, status)
            .to_tag(&caller.dialog.local_tag)
            .record_route(invite)
            .header(Name::Contact, desk.office.contact(&caller.flow, &self.ledger.dialled));
        if let Some(rseq) = rseq {
            let allow = crate::sip::method::ALLOW;
            draft = draft.header(Name::Require, "100rel").header(Name::RSeq, rseq);
            draft = draft.header(Name::Allow, allow);
        }
        let bytes = finish(draft, body.as_ref().map(|body| (SDP, body.as_bytes())));
        if rseq.is_some() {
            let brings = if body.is_some() { Brings::Description } else { Brings::News };
            let cseq = invite.cseq().map(|cseq| cseq.number).unwrap_or_default();
            caller.early.announcements.sent(desk.now, cseq, brings, bytes.clone());
        }
        desk.respond(*server, status, bytes);
        self.ledger.rang_at.get_or_insert(desk.now);
    }

    /// The caller confirms that it heard (RFC 3262 §3).
    pub(super) fn handle_prack(&mut self, desk: &mut Desk<'_>, index: usize, asked: &Within) {
        let Within { server, flow, request } = asked;
        let leg = &mut self.legs[index];
        let Ok(brings) = leg.early.announcements.confirm(request) else {
            return desk.respond_plainly(*server, flow, request, 481);
        };
        if brings == Brings::Description {
            leg.early.agreed = Agreed::Reliably;
        }
        match read_description(request) {
            Ok(None) => desk.respond_plainly(*server, flow, request, 200),
            Ok(Some(offer)) => self.answer_offer_in_prack(desk, index, asked, &offer),
            Err(status) => refuse(desk, asked, status),
        }
        if let Some(later) = self.legs[index].early.announcements.next_one() {
            self.announce(desk, later);
        }
        if !self.legs[index].early.announcements.holds_answer() {
            self.release_answer(desk);
        }
    }

    /// A second offer may come in the PRACK (§5). One that is new to the other phone would have to
    /// be answered before that phone was asked: the caller can make it again in an UPDATE.
    fn answer_offer_in_prack(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        asked: &Within,
        offer: &Description,
    ) {
        let known = self.other(index).is_some_and(|other| self.legs[other].knows(desk, offer));
        if !known {
            return refuse(desk, asked, 488);
        }
        let Ok(body) = self.answer_again(desk, index, offer) else {
            return refuse(desk, asked, 488);
        };
        let Within { server, flow, request } = asked;
        let leg = &mut self.legs[index];
        leg.voice.take(&offer.sound());
        leg.aim(desk, self.id);
        let draft = desk.office.reply(flow, request, 200);
        let bytes = draft.body(SDP, body.as_bytes()).finish();
        desk.respond(*server, 200, bytes);
    }

    /// Sends the 2xx that waited for the caller's PRACK.
    pub(super) fn release_answer(&mut self, desk: &mut Desk<'_>) {
        let caller = &mut self.legs[0];
        let State::Answering { server, answer, .. } = &caller.state else { return };
        let (server, answer) = (*server, answer.clone());
        caller.early.announcements.stop();
        let unacked = Some(Unacknowledged2xx::new(desk.now, answer.clone()));
        caller.state = State::Up { unacked, ack: super::leg::Ack::None };
        self.keep_facts(desk);
        desk.respond(server, 200, answer);
    }

    /// Says again what the caller has not confirmed, or gives the call up.
    pub(super) fn repeat_announcement(&mut self, desk: &mut Desk<'_>) {
        let caller = &mut self.legs[0];
        match caller.early.announcements.handle_deadline(desk.now) {
            Some(Due::Repeat(bytes)) => desk.send(caller.flow, bytes),
            Some(Due::GiveUp) => match self.phase {
                Phase::Ringing { .. } => {
                    let verdict = Verdict { status: 504, ending: Ending::Vanished, q850: 102 };
                    self.refuse(desk, verdict);
                }
                Phase::Talking { .. } | Phase::Attended { .. } => {
                    self.refuse_answered(desk, 504);
                    self.end(desk, Ending::Vanished);
                }
                Phase::Ending { .. } => {}
            },
            None => {}
        }
    }

    /// The call ends for a caller who was never sent the 2xx that waited for it.
    pub(super) fn refuse_answered(&mut self, desk: &mut Desk<'_>, status: u16) {
        let caller = &mut self.legs[0];
        let State::Answering { server, invite, .. } = &caller.state else { return };
        let draft = desk.office.reply(&caller.flow, invite, status);
        let bytes = draft.to_tag(&caller.dialog.local_tag).finish();
        desk.respond(*server, status, bytes);
        caller.early.announcements.stop();
        caller.marks.status = Some(status);
        // Whoever answered, the caller never heard of it.
        self.ledger.answered_at = None;
        caller.leave(desk.now, Fate::Refused(status));
    }
}

/// Whether a caller wants to confirm what it is told before the answer.
fn requires_reliable(invite: &Message) -> bool {
    invite.values(Name::Require).any(|tag| tag.eq_ignore_ascii_case("100rel"))
}
