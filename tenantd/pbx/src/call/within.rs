//! What is asked within a dialog, by a phone or by us, and where it is taken.
//!
//! RFC 3261 §12.2.2. Requests that change the sound go to `bridge`, messages beside it to `aside`,
//! and what only asks whether somebody is there is answered here.

use super::desk::Desk;
use super::leg::{Ack, Agreed, State};
use super::verdict::Fate;
use super::{Call, Phase, Task};
use crate::flow::Flow;
use crate::media::{Digit, Wish};
use crate::record::Ending;
use crate::sip::keypress::keypress;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::session_timer::{SHORTEST_S, SessionTimer};
use crate::sip::transaction::ServerId;

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

/// A response to a request of ours within a call.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The request's transaction.
    pub branch: u64,
    /// The response.
    pub response: &'a Message,
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
        let silent = asked.request.body().is_empty();
        match asked.request.method() {
            Method::Bye => self.handle_bye(desk, index, &asked),
            Method::Invite | Method::Update if SessionTimer::check(&asked.request).is_err() => {
                refuse(desk, &asked, 422);
            }
            Method::Update if silent => self.answer_refresh(desk, index, &asked),
            Method::Invite | Method::Update => self.handle_offer(desk, index, asked),
            // Without a body they only ask whether the call is still there.
            Method::Info | Method::Message | Method::Options if silent => {
                desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
            }
            Method::Prack => self.handle_prack(desk, index, &asked),
            Method::Info => self.handle_info(desk, index, asked),
            Method::Message => self.pass(desk, index, asked, Task::Message),
            Method::Options => {
                desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
            }
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Refer
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Other(_) => {
                desk.respond_plainly(asked.server, &asked.flow, &asked.request, 405);
            }
        }
    }

    /// A key that a phone presses by a message is heard by the other one in its sound. A phone of whose
    /// sound we know nothing gets the message, as it gets all others.
    fn handle_info(&mut self, desk: &mut Desk<'_>, index: usize, asked: Within) {
        let other = self.other(index).filter(|it| self.legs[*it].voice.pact.terms.is_some());
        let pressed = keypress(&asked.request);
        let key = pressed.and_then(|it| Some((Digit::from_key(it.key)?, it.for_ms)));
        if let Some((digit, _)) = key {
            self.handle_press(desk, index, digit);
        }
        if let (Phase::Attended { .. }, Some((digit, _))) = (self.phase, key) {
            self.handle_key(desk, digit);
            return desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
        }
        let (Some(other), Some((digit, for_ms))) = (other, key) else {
            return self.pass(desk, index, asked, Task::Info);
        };
        desk.wish(Wish::Press { side: self.legs[other].side(self.id), digit, for_ms });
        desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
    }

    /// The ACK for a 2xx of ours.
    pub fn handle_ack(&mut self, desk: &mut Desk<'_>, leg: u16, ack: &Message) {
        let Some(index) = self.index_of(leg) else { return };
        if !self.legs[index].dialog.matches(ack) {
            return;
        }
        match &mut self.legs[index].state {
            State::Up { unacked, .. } if unacked.is_some() => *unacked = None,
            State::Leaving { .. } => return self.legs[index].bye(desk, self.number),
            State::Up { .. }
            | State::Asking { .. }
            | State::Answering { .. }
            | State::Opening
            | State::Invited { .. }
            | State::Gone(_) => return,
        }
        if let Phase::Attended { .. } = self.phase {
            return self.handle_own_ack(desk, ack);
        }
        let Some(other) = self.other(index) else { return };
        if let State::Up { ack: Ack::Owed(cseq), .. } = self.legs[other].state {
            self.hand_over_answer(desk, index, other, cseq, ack);
        } else if !ack.body().is_empty() {
            self.hand_over_late(desk, index, other, ack);
        }
    }

    /// A response to something that was asked within a dialog.
    pub fn handle_response(&mut self, desk: &mut Desk<'_>, leg: u16, task: Task, reply: Reply<'_>) {
        let Some(index) = self.index_of(leg) else { return };
        match task {
            Task::Invite => self.handle_invite_response(desk, index, reply.response),
            Task::ReInvite | Task::Update | Task::Options => {
                if self.is_crossing(reply.branch) {
                    self.handle_crossed(desk, index, task, reply);
                } else if self.legs[index].is_asked(reply.branch) {
                    self.handle_refreshed(desk, index, task, reply.response);
                } else if task == Task::ReInvite {
                    self.handle_late_answer(desk, index, reply.response);
                }
            }
            Task::Info | Task::Message => self.handle_passed(desk, reply),
            Task::Bye | Task::Prack | Task::Probe => {}
        }
    }

    /// Nothing came back in time.
    pub fn handle_timeout(&mut self, desk: &mut Desk<'_>, leg: u16, task: Task, branch: u64) {
        let Some(index) = self.index_of(leg) else { return };
        match task {
            Task::Invite => self.handle_silence(desk, index),
            Task::ReInvite | Task::Update | Task::Options => {
                if self.is_crossing(branch) {
                    self.give_up_crossing(desk);
                } else if self.legs[index].is_asked(branch) {
                    self.handle_unanswered(desk, index);
                }
            }
            Task::Info | Task::Message => self.finish_passing(desk, branch, 408),
            // What was not confirmed is said again, and gives up by itself.
            Task::Bye | Task::Prack | Task::Probe => {}
        }
    }

    fn handle_bye(&mut self, desk: &mut Desk<'_>, index: usize, asked: &Within) {
        desk.respond_plainly(asked.server, &asked.flow, &asked.request, 200);
        let leg = self.legs[index].number;
        match (self.phase, leg) {
            (Phase::Ringing { .. }, 0) => self.handle_cancel(desk),
            (Phase::Ringing { .. }, _) => self.handle_silence(desk, index),
            (Phase::Talking { .. } | Phase::Attended { .. }, 0) => {
                self.part(desk, Ending::CallerHungUp, Some(0))
            }
            (Phase::Talking { .. } | Phase::Attended { .. }, _) => {
                self.part(desk, Ending::CalleeHungUp, Some(leg))
            }
            (Phase::Ending { .. }, _) => self.legs[index].leave(desk.now, Fate::Rang),
        }
    }

    /// The leg that talks with this one.
    pub(super) fn other(&self, index: usize) -> Option<usize> {
        let callee = match self.phase {
            Phase::Talking { callee, .. } => callee,
            // Before the answer only who has agreed reliably can be told more (RFC 3311 §5.1).
            Phase::Ringing { early: Some(early), .. } => {
                let agreed =
                    |leg: &super::Leg| leg.early.agreed == Agreed::Reliably && !leg.is_gone();
                let both = agreed(&self.legs[0]) && agreed(&self.legs[self.index_of(early)?]);
                both.then_some(early)?
            }
            Phase::Ringing { early: None, .. } | Phase::Attended { .. } | Phase::Ending { .. } => {
                return None;
            }
        };
        match index {
            0 => self.index_of(callee),
            _ if self.legs[index].number == callee => Some(0),
            _ => None,
        }
    }
}

/// Refuses a request within a dialog, and says what would help.
pub(super) fn refuse(desk: &mut Desk<'_>, asked: &Within, status: u16) {
    let mut draft = desk.office.reply(&asked.flow, &asked.request, status);
    match status {
        500 => draft = draft.header(Name::RetryAfter, 1 + desk.office.chance.below(10)),
        415 => draft = draft.header(Name::Accept, super::desk::SDP),
        422 => draft = draft.header(Name::MinSe, SHORTEST_S),
        _ => {}
    }
    desk.respond(asked.server, status, draft.finish());
}
