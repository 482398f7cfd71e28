//! Two phones talk: when one changes its sound, the other is told.
//!
//! RFC 3261 §14 (re-INVITE, glare), RFC 3311 (UPDATE), RFC 3264 §8 (hold). Each side sees one dialog
//! with us; an offer goes over as our own offer, and its answer comes back as ours. An offer that
//! would tell the other phone nothing new is answered here. An INVITE without an offer is never a
//! keepalive: the other phone makes the offer.

use super::desk::{Desk, SDP};
use super::leg::{Ack, Leg, Question, State, Way};
use super::pact::Said;
use super::pick_up::read_description;
use super::within::{Reply, Within, refuse};
use super::{CROSS_FOR, Call, Phase, Task};
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::answer::Unacknowledged2xx;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::sdp::Description;
use crate::sip::session_timer::{Means, Retry};
use crate::sip::transaction::ServerId;
use crate::story::Event;

/// An offer on its way to the other phone.
#[derive(Debug)]
pub(super) struct Crossing {
    from: u16,
    to: u16,
    asked: Within,
    branch: u64,
    offer: Option<Description>,
    /// What the other phone was told before: it still holds if the offer is refused.
    before: Said,
    /// When the other phone must have answered.
    pub(super) give_up_at: Moment,
}

impl Call {
    /// The phone that asked takes its re-INVITE back (RFC 3261 §9.2).
    pub fn handle_cancel_within(&mut self, desk: &mut Desk<'_>, server: ServerId) {
        if let Some(crossing) = self.crossing.as_ref().filter(|c| c.asked.server == server) {
            desk.office.transactions.cancel(desk.now, crossing.branch, None);
        }
    }

    /// Whether this request of ours carries an offer across.
    pub(super) fn is_crossing(&self, branch: u64) -> bool {
        self.crossing.as_ref().is_some_and(|crossing| crossing.branch == branch)
    }

    /// Whether an offer is on its way to this leg.
    pub(super) fn is_crossing_to(&self, leg: u16) -> bool {
        self.crossing.as_ref().is_some_and(|crossing| crossing.to == leg)
    }

    /// The other phone did not answer an offer: it is gone, and so is the call.
    pub(super) fn give_up_crossing(&mut self, desk: &mut Desk<'_>) {
        if let Some(crossing) = self.crossing.take() {
            let Within { server, flow, request } = &crossing.asked;
            desk.respond_plainly(*server, flow, request, 408);
            self.lose_leg(desk, crossing.to);
        }
    }

    /// The other phone's connection broke while it was asked: the one who asked tries again.
    pub(super) fn lose_crossing_to(&mut self, desk: &mut Desk<'_>, leg: u16) {
        if let Some(crossing) = self.crossing.take_if(|crossing| crossing.to == leg) {
            self.reject(desk, crossing, 500);
        }
    }

    /// The call ends while an offer is open: it is answered all the same (RFC 3261 §15.1.2).
    pub(super) fn drop_crossing(&mut self, desk: &mut Desk<'_>) {
        if let Some(Crossing { asked, .. }) = self.crossing.take() {
            desk.respond_plainly(asked.server, &asked.flow, &asked.request, 487);
        }
        self.drop_passing(desk);
    }

    /// An offer goes across. One at a time: whoever is second tries again (RFC 3261 §14.1, RFC 3311
    /// §5.2).
    pub(super) fn handle_offer(&mut self, desk: &mut Desk<'_>, index: usize, asked: Within) {
        if let (Phase::Attended { .. }, 0) = (self.phase, index) {
            return match is_unsettled(&self.legs[0]) {
                true => refuse(desk, &asked, 491),
                false => self.answer_alone(desk, &asked),
            };
        }
        let from = self.legs[index].number;
        let refusal = match (&self.crossing, self.other(index)) {
            (Some(crossing), _) if crossing.from == from => Some(500),
            (Some(_), _) => Some(491),
            (None, Some(_)) if self.legs.iter().any(is_unsettled) => Some(491),
            (None, Some(other)) if !self.can_be_offered(other, asked.request.method()) => Some(500),
            (None, Some(_)) => None,
            // Later it can be carried across.
            (None, None) if matches!(self.phase, Phase::Ringing { .. }) => Some(500),
            (None, None) => Some(488),
        };
        let offer = match (refusal, read_description(&asked.request)) {
            (Some(status), _) => Err(status),
            (None, offer) => offer,
        };
        let (Some(other), Ok(offer)) = (self.other(index), offer.as_ref()) else {
            return refuse(desk, &asked, offer.err().unwrap_or(488));
        };
        if self.legs[index].dialog.move_target(&asked.request).is_err() {
            return refuse(desk, &asked, 400);
        }
        if let Some(offer) = offer
            && self.may_offer(desk, index, offer).is_err()
        {
            return refuse(desk, &asked, 488);
        }
        match offer {
            Some(offer) if self.is_known(desk, index, other, offer) => {
                self.answer_here(desk, index, &asked, offer);
            }
            _ => self.carry(desk, (index, other), asked, offer.clone()),
        }
    }

    /// Before the answer only an UPDATE can change the sound, to a phone that knows it.
    fn can_be_offered(&self, other: usize, method: Method<'_>) -> bool {
        match self.phase {
            Phase::Ringing { .. } => {
                method == Method::Update && self.legs[other].timer.means() == Means::Update
            }
            Phase::Talking { .. } | Phase::Attended { .. } | Phase::Ending { .. } => true,
        }
    }

    /// Whether an offer would tell the other phone nothing that it has not heard.
    fn is_known(&self, desk: &Desk<'_>, index: usize, other: usize, offer: &Description) -> bool {
        self.legs[other].knows(desk, &self.with_music(desk, index, offer))
            && !self.legs[index].voice.pact.said.text.is_empty()
    }

    /// A refresh, or a phone that only moved: the answer is what it heard last.
    fn answer_here(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        asked: &Within,
        offer: &Description,
    ) {
        let Ok(body) = self.answer_again(desk, index, offer) else {
            return refuse(desk, asked, 488);
        };
        self.take_direction(desk, index, offer);
        self.legs[index].aim(desk, self.id);
        let bytes = self.accept(desk, index, asked, &body);
        self.keep_facts(desk);
        desk.respond(asked.server, 200, bytes);
        self.tune(desk);
    }

    fn carry(
        &mut self,
        desk: &mut Desk<'_>,
        (index, other): (usize, usize),
        asked: Within,
        offer: Option<Description>,
    ) {
        let is_invite = asked.request.method() == Method::Invite;
        if is_invite {
            let trying = desk.office.reply(&asked.flow, &asked.request, 100);
            desk.respond(asked.server, 100, trying.finish());
        }
        let from = self.legs[index].number;
        let shown = offer.as_ref().map(|offer| self.with_music(desk, index, offer));
        let to = &mut self.legs[other];
        to.find_way(desk);
        if to.way == Way::Gone {
            return refuse(desk, &asked, 500); // it may come back
        }
        let task = match (is_invite, to.timer.means()) {
            (false, Means::Update) => Task::Update,
            (true, _) | (false, Means::ReInvite) => Task::ReInvite,
        };
        let before = to.voice.pact.said.clone();
        let body = shown.as_ref().and_then(|shown| to.offer_sound(desk, shown));
        let sdp = body.as_ref().map(|body| (SDP, body.as_bytes()));
        let Some(branch) = to.request(desk, task, self.number, sdp) else {
            to.voice.pact.said = before;
            return refuse(desk, &asked, 503);
        };
        let (to, give_up_at) = (to.number, desk.now + CROSS_FOR);
        self.crossing = Some(Crossing { from, to, asked, branch, offer, before, give_up_at });
    }

    /// Asks once more: by another method, or with another session interval.
    fn carry_again(&mut self, desk: &mut Desk<'_>, index: usize, task: Task, crossing: Crossing) {
        let leg = &mut self.legs[index];
        let body = crossing.offer.as_ref().map(|_| leg.voice.pact.said.text.clone());
        let sdp = body.as_ref().map(|body| (SDP, body.as_bytes()));
        match leg.request(desk, task, self.number, sdp) {
            Some(branch) => self.crossing = Some(Crossing { branch, ..crossing }),
            None => self.reject(desk, crossing, 503),
        }
    }

    pub(super) fn handle_crossed(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        task: Task,
        reply: Reply<'_>,
    ) {
        let response = reply.response;
        let status = response.status().unwrap_or(0);
        let Some(crossing) = self.crossing.take_if(|_| status >= 200) else { return };
        let description = match read_description(response) {
            Ok(Some(description)) if (200..=299).contains(&status) => {
                let crosses = crossing.offer.is_some();
                self.judge_crossed(desk, index, crosses, &description).map(|()| Some(description))
            }
            Ok(description) => Ok(description),
            Err(status) => Err(status),
        };
        let leg = &mut self.legs[index];
        match (status, description) {
            (200..=299, Ok(Some(description))) => {
                // A Contact that cannot be read leaves the target as it was.
                let _unread = leg.dialog.move_target(response);
                leg.timer.handle_agreed(desk.now, response);
                leg.voice.take(&description.sound());
                if let (State::Up { ack, .. }, Task::ReInvite) = (&mut leg.state, task) {
                    let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                    *ack = Ack::Owed(cseq);
                }
                self.settle(desk, index, crossing, &description);
            }
            (200..=299, Ok(None) | Err(_)) => {
                if task == Task::ReInvite {
                    let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
                    leg.acknowledge(desk, cseq, None);
                }
                self.reject(desk, crossing, 488);
            }
            (481 | 408, _) => {
                let Within { server, flow, request } = &crossing.asked;
                desk.respond_plainly(*server, flow, request, status);
                self.lose_leg(desk, crossing.to);
            }
            (405 | 501, _)
                if task == Task::Update && matches!(self.phase, Phase::Talking { .. }) =>
            {
                leg.timer.handle_refused(desk.now, Some(status), std::time::Duration::ZERO);
                self.carry_again(desk, index, Task::ReInvite, crossing);
            }
            (422, _) if leg.timer.handle_too_brief(response) == Retry::Longer => {
                self.carry_again(desk, index, task, crossing);
            }
            (401 | 407 | 422 | 300..=399, _) => self.reject(desk, crossing, 488),
            (status, _) => self.reject(desk, crossing, status),
        }
    }

    /// Whether the other phone answered as it may; or what it offers, if we offered nothing.
    fn judge_crossed(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        crosses: bool,
        description: &Description,
    ) -> Result<(), u16> {
        let judged = match crosses {
            true => self.take_answer(desk, index, description),
            false => self.may_offer(desk, index, description),
        };
        if !crosses {
            self.legs[index].voice.pact.offered = Some(Box::new(description.clone()));
        }
        judged.map_err(|_told| 488)
    }

    /// The other phone refuses an offer: all is as it was before.
    fn reject(&mut self, desk: &mut Desk<'_>, crossing: Crossing, status: u16) {
        if let Some(index) = self.index_of(crossing.to) {
            self.legs[index].voice.pact.said = crossing.before;
        }
        refuse(desk, &crossing.asked, status);
    }

    /// Both sides agree: sound follows, and the one who asked hears the answer.
    fn settle(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        crossing: Crossing,
        description: &Description,
    ) {
        let Some(from) = self.index_of(crossing.from) else { return };
        let body = match &crossing.offer {
            Some(offer) => {
                self.take_direction(desk, from, offer);
                self.answer(desk, from, offer, description)
            }
            None => self.legs[from].offer_sound(desk, description).map(Ok),
        };
        self.legs[index].aim(desk, self.id);
        self.legs[from].aim(desk, self.id);
        let Some(Ok(body)) = body else {
            self.acknowledge_owed(desk, index);
            return self.reject(desk, crossing, 488);
        };
        let bytes = self.accept(desk, from, &crossing.asked, &body);
        self.keep_facts(desk);
        if crossing.offer.is_some() {
            self.acknowledge_owed(desk, index);
        }
        desk.respond(crossing.asked.server, 200, bytes);
        self.tune(desk);
        self.show(desk);
    }

    fn acknowledge_owed(&mut self, desk: &mut Desk<'_>, index: usize) {
        if let State::Up { ack: Ack::Owed(cseq), .. } = self.legs[index].state {
            self.legs[index].acknowledge(desk, cseq, None);
        }
    }

    /// Our 2xx to an offer, or to an INVITE without one.
    pub(super) fn accept(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        asked: &Within,
        body: &str,
    ) -> bytes::Bytes {
        let Within { flow, request, .. } = asked;
        let leg = &mut self.legs[index];
        let draft = desk
            .office
            .reply(flow, request, 200)
            .header(Name::Contact, desk.office.contact(flow, &leg.party.number))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, "timer");
        let draft = leg.timer.answer(desk.now, request, draft);
        let bytes = draft.body(SDP, body.as_bytes()).finish();
        if let (State::Up { unacked, .. }, Method::Invite) = (&mut leg.state, request.method()) {
            *unacked = Some(Unacknowledged2xx::new(desk.now, bytes.clone()));
        }
        bytes
    }

    /// A phone does not answer within the call any more.
    fn lose_leg(&mut self, desk: &mut Desk<'_>, leg: u16) {
        match self.index_of(leg) {
            Some(index) => self.handle_vanished(desk, index),
            None => self.end(desk, Ending::Vanished),
        }
    }

    /// Takes over what a side says about its sound, and tells whether it holds the other.
    pub(super) fn take_direction(&mut self, desk: &mut Desk<'_>, index: usize, said: &Description) {
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
    pub(super) fn hand_over_answer(
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
        let offered = self.legs[to].voice.pact.offered.take();
        let taken = self.take_answer(desk, from, &answer);
        let body = offered
            .filter(|_| taken.is_ok())
            .map(|offered| self.answer(desk, to, &offered, &answer));
        let Some(Some(Ok(body))) = body else {
            return self.end(desk, Ending::NoCommonMedia);
        };
        self.take_direction(desk, from, &answer);
        self.legs[to].aim(desk, self.id);
        self.legs[from].aim(desk, self.id);
        self.legs[to].acknowledge(desk, cseq, Some(&body));
        self.keep_facts(desk);
        self.tune(desk);
        self.say_notices(desk);
        self.show(desk);
    }

    /// The called phone made its offer while it rang and has our answer; now the caller's own is
    /// known, and is told it.
    pub(super) fn hand_over_late(
        &mut self,
        desk: &mut Desk<'_>,
        from: usize,
        to: usize,
        ack: &Message,
    ) {
        let Ok(Some(answer)) = read_description(ack) else { return };
        if self.take_answer(desk, from, &answer).is_err() {
            return self.end(desk, Ending::NoCommonMedia);
        }
        self.take_direction(desk, from, &answer);
        self.legs[from].aim(desk, self.id);
        if !self.legs[to].knows(desk, &answer) && self.legs[to].offer_sound(desk, &answer).is_some()
        {
            self.refresh(desk, to, Means::ReInvite);
        }
        self.keep_facts(desk);
        self.tune(desk);
        self.say_notices(desk);
    }

    /// A 2xx that comes again: its ACK was lost.
    pub(super) fn handle_late_answer(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        response: &Message,
    ) {
        let leg = &self.legs[index];
        if let (Some(200..=299), State::Up { ack: Ack::Sent(ack), .. }) =
            (response.status(), &leg.state)
        {
            desk.send(leg.flow, ack.clone());
        }
    }
}

/// Whether an offer still waits for its answer, or an answer for its ACK.
pub(super) fn is_unsettled(leg: &Leg) -> bool {
    match (&leg.state, leg.question) {
        (_, Question::Offered(_)) | (State::Answering { .. }, _) => true,
        (State::Up { unacked: Some(_), .. } | State::Up { ack: Ack::Owed(_), .. }, _) => true,
        (
            State::Up { unacked: None, ack: Ack::None | Ack::Sent(_) }
            | State::Asking { .. }
            | State::Opening
            | State::Invited { .. }
            | State::Leaving { .. }
            | State::Gone(_),
            Question::None | Question::Asked(_),
        ) => false,
    }
}
