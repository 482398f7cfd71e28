//! Whether a phone is still there: asked for when its time has come, or when it fell silent.
//!
//! RFC 4028 §7.4 and §10. Each leg is asked by itself, and what it answers is not told the other.
//! A refresh is an UPDATE without a description, or, for a phone that does not know UPDATE, an
//! INVITE with the description that it was told last, so that a held call stays held. A phone that
//! is asked only because its sound stopped and knows no UPDATE is sent OPTIONS: nothing can change.
//! 408, 481 and silence mean that it is gone; every other answer means that it is there.

use std::time::Duration;

use super::bridge::is_unsettled;
use super::desk::{Desk, SDP};
use super::leg::{Question, State, Way};
use super::pick_up::read_description;
use super::renewal::Renewal;
use super::within::{Within, refuse};
use super::{Call, Phase, Task};
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::message::Message;
use crate::sip::method::ALLOW;
use crate::sip::name::Name;
use crate::sip::sdp::Direction;
use crate::sip::session_timer::{Due, Life, Means, Retry};
use crate::story::Event;

/// A refresh that finds something else under way waits so long.
const POSTPONED_FOR: Duration = Duration::from_secs(4);
/// A phone whose connection broke gets so long to come back before it is asked.
const BACK_AFTER: Duration = Duration::from_secs(30);

impl Call {
    /// When a phone must next be asked, or is given up.
    pub(super) fn pulse_at(&self) -> Option<Moment> {
        let (Phase::Talking { .. } | Phase::Attended { .. }) = self.phase else { return None };
        let up = self.legs.iter().filter(|leg| matches!(leg.state, State::Up { .. }));
        up.filter_map(|leg| leg.timer.deadline()).min()
    }

    /// Asks who must be asked now, and ends the call if somebody did not ask in time.
    pub(super) fn take_pulses(&mut self, desk: &mut Desk<'_>) {
        for index in 0..self.legs.len() {
            let leg = &mut self.legs[index];
            let (Phase::Talking { .. } | Phase::Attended { .. }, State::Up { .. }) =
                (self.phase, &leg.state)
            else {
                continue;
            };
            match leg.timer.handle_deadline(desk.now) {
                Some(Due::Refresh(means)) => self.refresh(desk, index, means),
                Some(Due::Expired) => self.handle_vanished(desk, index),
                None => {}
            }
        }
    }

    /// Sends a refresh, or puts it off while the sound is being changed.
    pub(super) fn refresh(&mut self, desk: &mut Desk<'_>, index: usize, means: Means) {
        let busy = self.crossing.is_some() || self.legs.iter().any(is_unsettled);
        let leg = &mut self.legs[index];
        if busy || leg.question != Question::None {
            return leg.timer.postpone(desk.now, POSTPONED_FOR);
        }
        let branch = match means {
            Means::Update => leg.request(desk, Task::Update, self.number, None),
            Means::ReInvite => {
                let said = leg.said_again();
                leg.request(desk, Task::ReInvite, self.number, Some((SDP, said.as_bytes())))
            }
        };
        match branch {
            Some(branch) => {
                leg.question = match means {
                    Means::Update => Question::Asked(branch),
                    Means::ReInvite => Question::Offered(branch),
                }
            }
            None => leg.timer.postpone(desk.now, POSTPONED_FOR),
        }
    }

    /// A phone that ought to be heard is not: asks whether it is still there. A phone that was
    /// never heard may have nothing to say, and one that shall not send is right to be silent.
    pub(super) fn handle_quiet(&mut self, desk: &mut Desk<'_>, index: usize) {
        let other = self.other(index);
        if other.is_none() && !self.is_visitor_heard() {
            return;
        }
        let leg = &self.legs[index];
        let sends = matches!(leg.voice.direction, Direction::SendRecv | Direction::SendOnly);
        let hears = |other: usize| {
            matches!(self.legs[other].voice.direction, Direction::SendRecv | Direction::RecvOnly)
        };
        let is_heard = other.is_none_or(hears);
        let idle = leg.question == Question::None && !self.is_crossing_to(leg.number);
        // What it sends is not opened before it has new keys.
        let is_deaf = leg.voice.pact.renewal != Renewal::None;
        if !sends || !is_heard || !idle || is_deaf || !matches!(leg.state, State::Up { .. }) {
            return;
        }
        let number = leg.party.number.clone();
        self.tell(desk, Event::FellSilent { number });
        self.probe(desk, index);
    }

    /// Nothing comes from a phone, and the other one is heard. Where both should be, the story says
    /// so, once; on hold, and before the call is answered, it means nothing.
    pub(super) fn handle_one_way(&mut self, desk: &mut Desk<'_>, index: usize) {
        let Some(other) = self.other(index) else { return };
        let talks = |index: usize| {
            let leg = &self.legs[index];
            leg.voice.direction == Direction::SendRecv
                && leg.voice.pact.renewal == Renewal::None
                && matches!(leg.state, State::Up { .. })
        };
        if !talks(index) || !talks(other) {
            return;
        }
        let event = Event::OneWay { number: self.legs[index].party.number.clone() };
        if !self.ledger.is_told(&event) {
            self.tell(desk, event);
        }
    }

    /// Asks whether a phone is there, and nothing else.
    fn probe(&mut self, desk: &mut Desk<'_>, index: usize) {
        let task = match self.legs[index].timer.means() {
            Means::Update => Task::Update,
            Means::ReInvite => Task::Options,
        };
        let leg = &mut self.legs[index];
        if let Some(branch) = leg.request(desk, task, self.number, None) {
            leg.question = Question::Asked(branch);
        }
    }

    /// The phone answered nothing. If our question went down with its connection, and it has come
    /// back since, it is asked again; else it is gone.
    pub(super) fn handle_unanswered(&mut self, desk: &mut Desk<'_>, index: usize) {
        let leg = &mut self.legs[index];
        leg.question = Question::None;
        leg.ask_keys_again(desk.now);
        let was_gone = leg.way == Way::Gone;
        leg.find_way(desk);
        match (was_gone, leg.way) {
            (true, Way::Open) if leg.timer.is_asking() => {
                let means = leg.timer.means();
                self.refresh(desk, index, means);
            }
            (true, Way::Open) => self.probe(desk, index),
            (true, Way::Gone) | (false, _) => self.handle_vanished(desk, index),
        }
    }

    /// The phone answered what we asked.
    pub(super) fn handle_refreshed(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        task: Task,
        response: &Message,
    ) {
        let status = response.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let leg = &mut self.legs[index];
        leg.question = Question::None;
        match (status, task) {
            (200..=299, Task::Options) => {}
            (200..=299, _) => {
                leg.timer.handle_agreed(desk.now, response);
                // A Contact that cannot be read leaves the target as it was.
                let _unread = leg.dialog.move_target(response);
                if task == Task::ReInvite {
                    self.take_refreshed_sound(desk, index, response);
                }
                self.keep_facts(desk);
            }
            (422, Task::Update | Task::ReInvite)
                if leg.timer.handle_too_brief(response) == Retry::Longer =>
            {
                let means = match leg.voice.pact.renewal {
                    Renewal::Asked { .. } => Means::ReInvite,
                    Renewal::None | Renewal::Due { .. } => leg.timer.means(),
                };
                self.refresh(desk, index, means);
            }
            (status, Task::Options) if !matches!(status, 408 | 481) => {}
            (status, _) => {
                let after = Duration::from_millis(desk.office.chance.below(4_000));
                if leg.timer.handle_refused(desk.now, Some(status), after) == Life::Gone {
                    self.handle_vanished(desk, index);
                } else if task == Task::ReInvite {
                    self.handle_keys_refused(desk, index, status);
                }
            }
        }
    }

    fn take_refreshed_sound(&mut self, desk: &mut Desk<'_>, index: usize, response: &Message) {
        let leg = &mut self.legs[index];
        let cseq = response.cseq().map(|cseq| cseq.number).unwrap_or_default();
        leg.acknowledge(desk, cseq, None);
        let still_up = matches!(leg.state, State::Up { .. });
        if let (true, Ok(Some(description))) = (still_up, read_description(response)) {
            if self.take_answer(desk, index, &description).is_err() {
                return self.end(desk, Ending::NoCommonMedia);
            }
            let leg = &mut self.legs[index];
            leg.voice.take(&description.sound());
            leg.aim(desk, self.id);
        }
    }

    /// A refresh or keepalive of the phone: an UPDATE that says nothing of sound.
    pub(super) fn answer_refresh(&mut self, desk: &mut Desk<'_>, index: usize, asked: &Within) {
        let Within { server, flow, request } = asked;
        let leg = &mut self.legs[index];
        let target = leg.dialog.target.clone();
        if leg.dialog.move_target(request).is_err() {
            return refuse(desk, asked, 400);
        }
        let draft = desk
            .office
            .reply(flow, request, 200)
            .header(Name::Contact, desk.office.contact(flow, &leg.party.number))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, "timer");
        let draft = match &leg.state {
            State::Up { .. } => leg.timer.answer(desk.now, request, draft),
            State::Asking { .. }
            | State::Answering { .. }
            | State::Opening
            | State::Invited { .. }
            | State::Leaving { .. }
            | State::Gone(_) => draft,
        };
        desk.respond(*server, 200, draft.finish());
        // A keepalive that changes nothing need not be written down.
        if request.first(Name::SessionExpires).is_some() || leg.dialog.target != target {
            self.keep_facts(desk);
        }
    }

    /// A phone is gone without a word, and so is the call.
    pub(super) fn handle_vanished(&mut self, desk: &mut Desk<'_>, index: usize) {
        let leg = &mut self.legs[index];
        leg.question = Question::None;
        if let Phase::Talking { .. } | Phase::Attended { .. } = self.phase {
            let number = leg.party.number.clone();
            self.tell(desk, Event::Vanished { number });
            self.end(desk, Ending::Vanished);
        }
    }

    /// A leg's connection is gone, and what we asked over it says nothing about the phone.
    pub(super) fn lose_way(&mut self, desk: &mut Desk<'_>, index: usize) {
        let leg = &mut self.legs[index];
        leg.way = Way::Gone;
        if leg.question != Question::None {
            leg.question = Question::None;
            leg.timer.postpone(desk.now, BACK_AFTER);
            leg.ask_keys_again(desk.now);
        }
        let number = leg.number;
        self.lose_crossing_to(desk, number);
    }
}
