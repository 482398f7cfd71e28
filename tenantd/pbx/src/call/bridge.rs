//! Two phones talk: what one asks of the other is carried across.
//!
//! RFC 3261 §14 (re-INVITE, glare), §15 (BYE), RFC 3264 §8 (hold), RFC 6086 (INFO). Each side sees
//! one dialog with us; an offer goes over as our own offer, and its answer comes back as ours.

use super::desk::{Desk, SDP};
use super::leg::{Ack, State};
use super::pick_up::read_description;
use super::verdict::Fate;
use super::{CROSS_FOR, Call, Phase, Task};
use crate::flow::Flow;
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::answer::Unacknowledged2xx;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::sdp::Description;
use crate::sip::transaction::ServerId;
use crate::story::Event;

/// INFOs that may be on their way across at once.
const MOST_PASSING: usize = 8;

/// A request within a dialog, with its transaction.
#[derive(Debug)]
pub struct Within {
    /// Its transaction.
    pub server: ServerId,
    /// The way back.
    pub flow: Flow,
    /// The message.
    pub request: Message,
}

/// A re-INVITE on its way to the other phone.
#[derive(Debug)]
pub(super) struct Crossing {
    from: u16,
    asked: Within,
    branch: u64,
    offer: Option<Description>,
    /// When the other phone must have answered.
    pub(super) give_up_at: Moment,
}

/// An INFO on its way to the other phone.
#[derive(Debug)]
pub(super) struct Passing {
    asked: Within,
    branch: u64,
}

impl Call {
    /// A request within one of the call's dialogs, other than ACK and CANCEL.
    pub fn handle_request(&mut self, desk: &mut Desk<'_>, leg: u16, asked: Within) {
        let index = self.index_of(leg).filter(|i| self.legs[*i].dialog.matches(&asked.request));
        let number = asked.request.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let Some(index) = index.filter(|index| !self.legs[*index].is_gone()) else {
            return desk.respond_plainly(asked.server, &asked.flow, &asked.request, 481);
        };
        if self.legs[index].dialog.accept(number).is_err() {
            return desk.respond_plainly(asked.server, &asked.flow, &asked.request, 500);
        }
        match asked.request.method() {
            Method::Bye => self.handle_bye(desk, index, &asked),
            Method::Invite => self.handle_reinvite(desk, index, asked),
            Method::Info if !asked.request.body().is_empty() => self.pass(desk, index, asked),
            Method::Info | Method::Options => {
                desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
            }
            _ => desk.respond_plainly(asked.server, &asked.flow, &asked.request, 405),
        }
    }

    /// The ACK for a 2xx of ours.
    pub fn handle_ack(&mut self, desk: &mut Desk<'_>, leg: u16, ack: &Message) {
        let Some(index) = self.index_of(leg) else { return };
        if !self.legs[index].dialog.matches(ack) {
            return;
        }
        match &mut self.legs[index].state {
            State::Up { unacked, .. } => *unacked = None,
            State::Leaving { .. } => return self.legs[index].bye(desk, self.number),
            State::Asking { .. } | State::Opening | State::Invited { .. } | State::Gone(_) => {
                return;
            }
        }
        let Some(other) = self.other(index) else { return };
        if let State::Up { ack: Ack::Owed(cseq), .. } = self.legs[other].state {
            self.hand_over_answer(desk, index, other, cseq, ack);
        }
    }

    /// A response to something that was asked within a dialog.
    pub fn handle_response(&mut self, desk: &mut Desk<'_>, leg: u16, task: Task, reply: Reply<'_>) {
        let Some(index) = self.index_of(leg) else { return };
        match task {
            Task::Invite => self.handle_invite_response(desk, index, reply.response),
            Task::ReInvite => self.handle_crossed(desk, index, reply),
            Task::Info => self.handle_passed(desk, reply),
            Task::Bye | Task::Probe => {}
        }
    }

    /// Nothing came back in time.
    pub fn handle_timeout(&mut self, desk: &mut Desk<'_>, leg: u16, task: Task, branch: u64) {
        let Some(index) = self.index_of(leg) else { return };
        match task {
            Task::Invite => self.handle_silence(desk, index),
            Task::ReInvite => {
                if self.crossing.as_ref().is_some_and(|crossing| crossing.branch == branch) {
                    self.give_up_crossing(desk);
                }
            }
            Task::Info => self.finish_passing(desk, branch, 408),
            Task::Bye | Task::Probe => {}
        }
    }

    /// The phone that asked takes its re-INVITE back (RFC 3261 §9.2).
    pub fn handle_cancel_within(&mut self, desk: &mut Desk<'_>, server: ServerId) {
        if let Some(crossing) = self.crossing.as_ref().filter(|c| c.asked.server == server) {
            desk.office.transactions.cancel(desk.now, crossing.branch, None);
        }
    }

    /// The other phone did not answer a re-INVITE: it is gone, and so is the call.
    pub(super) fn give_up_crossing(&mut self, desk: &mut Desk<'_>) {
        if let Some(crossing) = self.crossing.take() {
            let Within { server, flow, request } = &crossing.asked;
            desk.respond_plainly(*server, flow, request, 408);
            self.end(desk, Ending::Vanished);
        }
    }

    /// The call ends while a re-INVITE is open: it is answered all the same (RFC 3261 §15.1.2).
    pub(super) fn drop_crossing(&mut self, desk: &mut Desk<'_>) {
        if let Some(Crossing { asked, .. }) = self.crossing.take() {
            desk.respond_plainly(asked.server, &asked.flow, &asked.request, 487);
        }
        for Passing { asked, .. } in self.passing.drain(..) {
            desk.respond_plainly(asked.server, &asked.flow, &asked.request, 487);
        }
    }

    fn handle_bye(&mut self, desk: &mut Desk<'_>, index: usize, asked: &Within) {
        desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
        let leg = self.legs[index].number;
        match (self.phase, leg) {
            (Phase::Ringing { .. }, 0) => self.handle_cancel(desk),
            (Phase::Ringing { .. }, _) => self.handle_silence(desk, index),
            (Phase::Talking { .. }, 0) => self.part(desk, Ending::CallerHungUp, Some(0)),
            (Phase::Talking { .. }, _) => self.part(desk, Ending::CalleeHungUp, Some(leg)),
            (Phase::Ending { .. }, _) => self.legs[index].leave(desk.now, Fate::Rang),
        }
    }

    /// An offer goes across. One at a time: whoever is second tries again (RFC 3261 §14.1).
    fn handle_reinvite(&mut self, desk: &mut Desk<'_>, index: usize, asked: Within) {
        let from = self.legs[index].number;
        let refusal = match (&self.crossing, self.other(index)) {
            (Some(crossing), _) if crossing.from == from => Some(500),
            (Some(_), _) => Some(491),
            (None, Some(_)) if self.legs.iter().any(is_unsettled) => Some(491),
            (None, Some(_)) => None,
            (None, None) => Some(488),
        };
        let offer = match (refusal, read_description(&asked.request)) {
            (Some(status), _) => Err(status),
            (None, offer) => offer,
        };
        let (Some(other), Ok(offer)) = (self.other(index), &offer) else {
            return refuse(desk, &asked, offer.err().unwrap_or(488));
        };
        let trying = desk.office.reply(&asked.flow, &asked.request, 100);
        desk.respond(asked.server, 100, trying.finish());
        if self.legs[index].dialog.move_target(&asked.request).is_err() {
            return refuse(desk, &asked, 400);
        }
        let to = &mut self.legs[other];
        let body = offer.as_ref().and_then(|offer| to.tell_sound(desk, offer));
        let sdp = body.as_ref().map(|body| (SDP, body.as_bytes()));
        let Some(branch) = to.request(desk, Task::ReInvite, self.number, sdp) else {
            return refuse(desk, &asked, 503);
        };
        let give_up_at = desk.now + CROSS_FOR;
        let offer = offer.clone();
        self.crossing = Some(Crossing { from, asked, branch, offer, give_up_at });
    }

    fn handle_crossed(&mut self, desk: &mut Desk<'_>, index: usize, reply: Reply<'_>) {
        let Reply { branch, response } = reply;
        let status = response.status().unwrap_or(0);
        if self.crossing.as_ref().is_none_or(|crossing| crossing.branch != branch) {
            return self.handle_late_answer(desk, index, response);
        }
        if status < 200 {
            return;
        }
        let Some(crossing) = self.crossing.take() else { return };
        let leg = &mut self.legs[index];
        let description = read_description(response);
        match (status, description) {
            (200..=299, Ok(Some(description))) => {
                let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                // A Contact that cannot be read leaves the target as it was.
                let _unread = leg.dialog.move_target(response);
                leg.voice.take(&description.sound());
                if let State::Up { ack, .. } = &mut leg.state {
                    *ack = Ack::Owed(cseq);
                }
                self.settle(desk, index, cseq, crossing, &description);
            }
            (200..=299, Ok(None) | Err(_)) => {
                let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                leg.acknowledge(desk, cseq, None);
                refuse(desk, &crossing.asked, 488);
            }
            (481 | 408, _) => {
                desk.respond_plainly(
                    crossing.asked.server,
                    &crossing.asked.flow,
                    &crossing.asked.request,
                    status,
                );
                self.end(desk, Ending::Vanished);
            }
            (401 | 407 | 300..=399, _) => refuse(desk, &crossing.asked, 488),
            (status, _) => refuse(desk, &crossing.asked, status),
        }
    }

    /// Both sides agree: sound follows, and the one who asked hears the answer.
    fn settle(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        cseq: u32,
        crossing: Crossing,
        description: &Description,
    ) {
        let Some(from) = self.index_of(crossing.from) else { return };
        if let Some(offer) = &crossing.offer {
            self.take_direction(desk, from, offer);
        }
        self.legs[index].aim(desk, self.id);
        self.legs[from].aim(desk, self.id);
        let leg = &mut self.legs[from];
        let Some(body) = leg.tell_sound(desk, description) else { return };
        let Within { server, flow, request } = &crossing.asked;
        let bytes = desk
            .office
            .reply(flow, request, 200)
            .header(Name::Contact, desk.office.contact(flow, &leg.party.number))
            .header(Name::Allow, ALLOW)
            .body(SDP, body.as_bytes())
            .finish();
        if let State::Up { unacked, .. } = &mut leg.state {
            *unacked = Some(Unacknowledged2xx::new(desk.now, bytes.clone()));
        }
        self.keep_facts(desk);
        if crossing.offer.is_some() {
            self.legs[index].acknowledge(desk, cseq, None);
        }
        desk.office.transactions.respond(desk.now, *server, 200, bytes);
        self.show(desk);
    }

    /// Takes over what a side says about its sound, and tells whether it holds the other.
    fn take_direction(&mut self, desk: &mut Desk<'_>, index: usize, said: &Description) {
        let voice = &mut self.legs[index].voice;
        let held_before = voice.direction.holds();
        voice.take(&said.sound());
        let number = self.legs[index].party.number.clone();
        match (held_before, self.legs[index].voice.direction.holds()) {
            (false, true) => self.tell(desk, Event::Held { number }),
            (true, false) => self.tell(desk, Event::Resumed { number }),
            (false, false) | (true, true) => {}
        }
    }

    /// The answer to an offer that the other side made in its 2xx comes in the ACK.
    fn hand_over_answer(
        &mut self,
        desk: &mut Desk<'_>,
        from: usize,
        to: usize,
        cseq: u32,
        ack: &Message,
    ) {
        let Ok(Some(answer)) = read_description(ack) else {
            return self.end(desk, Ending::NoCommonMedia);
        };
        self.take_direction(desk, from, &answer);
        self.legs[from].aim(desk, self.id);
        let body = self.legs[to].tell_sound(desk, &answer);
        self.legs[to].acknowledge(desk, cseq, body.as_deref());
        self.keep_facts(desk);
        self.show(desk);
    }

    /// A 2xx that comes again: its ACK was lost.
    fn handle_late_answer(&mut self, desk: &mut Desk<'_>, index: usize, response: &Message) {
        let leg = &self.legs[index];
        if let (Some(200..=299), State::Up { ack: Ack::Sent(ack), .. }) =
            (response.status(), &leg.state)
        {
            desk.send(leg.flow, ack.clone());
        }
    }

    /// Carries an INFO across (RFC 6086): what it means is between the phones.
    fn pass(&mut self, desk: &mut Desk<'_>, index: usize, asked: Within) {
        let Some(other) = self.other(index).filter(|_| self.passing.len() < MOST_PASSING) else {
            return desk.respond_plainly(asked.server, &asked.flow, &asked.request, 500);
        };
        let kind = asked.request.content_type().unwrap_or("application/octet-stream").to_owned();
        let body = asked.request.body().to_vec();
        let sent = Some((kind.as_str(), body.as_slice()));
        match self.legs[other].request(desk, Task::Info, self.number, sent) {
            Some(branch) => self.passing.push(Passing { asked, branch }),
            None => refuse(desk, &asked, 503),
        }
    }

    fn handle_passed(&mut self, desk: &mut Desk<'_>, reply: Reply<'_>) {
        let status = reply.response.status().unwrap_or(0);
        if status >= 200 {
            let status = if matches!(status, 401 | 407) { 500 } else { status };
            self.finish_passing(desk, reply.branch, status);
        }
    }

    fn finish_passing(&mut self, desk: &mut Desk<'_>, branch: u64, status: u16) {
        if let Some(at) = self.passing.iter().position(|passing| passing.branch == branch) {
            let Within { server, flow, request } = self.passing.swap_remove(at).asked;
            desk.respond_plainly(server, &flow, &request, status);
        }
    }

    /// The leg that talks with this one.
    fn other(&self, index: usize) -> Option<usize> {
        let Phase::Talking { callee, .. } = self.phase else { return None };
        match index {
            0 => self.index_of(callee),
            _ if self.legs[index].number == callee => Some(0),
            _ => None,
        }
    }
}

/// A response to a request of ours within a call.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The request's transaction.
    pub branch: u64,
    /// The response.
    pub response: &'a Message,
}

/// Whether an offer of ours still waits for its ACK, or for its answer.
fn is_unsettled(leg: &super::Leg) -> bool {
    matches!(leg.state, State::Up { unacked: Some(_), .. } | State::Up { ack: Ack::Owed(_), .. })
}

fn refuse(desk: &mut Desk<'_>, asked: &Within, status: u16) {
    let mut draft = desk.office.reply(&asked.flow, &asked.request, status);
    match status {
        500 => draft = draft.header(Name::RetryAfter, 1 + desk.office.chance.below(10)),
        415 => draft = draft.header(Name::Accept, SDP),
        _ => {}
    }
    desk.respond(asked.server, status, draft.finish());
}
