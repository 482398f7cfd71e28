//! A caller in a conference, or before its door: it dials the PIN, mutes itself, holds and comes back.
//!
//! It is answered as announcements are (`attend`). Its sound has a seat in the conference's session
//! instead of a session of the call's own.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::leg::{Ports, State};
use super::pick_up::read_description;
use super::verdict::Fate;
use super::{Call, Phase};
use crate::board::{Member, Presence, What};
use crate::id::{CallId, ConferenceId};
use crate::media::{Cue, Digit, Part, Side, Tones, Wish};
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::message::Message;
use crate::sip::sdp::Direction;
use crate::story::Event;

/// How long somebody may look for the next digit of a PIN.
const DIAL_FOR: Duration = Duration::from_secs(15);
/// Wrong PINs, or none in time, before we hang up.
const MOST_WRONG: u8 = 3;
/// No PIN is longer.
const LONGEST_PIN: usize = 16;

/// Where a caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Visit {
    conference: ConferenceId,
    number: String,
    stage: Stage,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Its call is not answered yet: its sound has no port.
    Arriving,
    /// It dials the PIN.
    Dialling {
        #[serde(skip)]
        dialled: Dialled,
        wrong: u8,
        until: Moment,
    },
    /// It is a member.
    Inside {
        voice: Audible,
        #[serde(skip)]
        star: Star,
    },
}

/// Digits of a PIN. Debug shows none.
#[derive(Clone, Default, PartialEq, Eq)]
struct Dialled(String);

/// Whether a member wants to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Audible {
    Yes,
    No,
}

/// Whether the last key was the one that codes begin with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Star {
    #[default]
    No,
    Pressed,
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} digits", self.0.len())
    }
}

impl Visit {
    /// Nobody knows how long we were away: whoever dials begins anew.
    pub(super) fn revive(&mut self, now: Moment) {
        if let Stage::Dialling { until, .. } = &mut self.stage {
            *until = now + DIAL_FOR;
        }
    }
}

impl Call {
    /// Its seat in a conference's session, while it has one.
    pub fn seat(&self) -> Option<Side> {
        self.legs.first()?.voice.seat
    }

    /// The caller dialled a conference: its sound gets a seat there, and then it is answered.
    pub(super) fn visit(&mut self, desk: &mut Desk<'_>, conference: ConferenceId) {
        let Some(found) = desk.tenant.conferences.get(&conference) else { return };
        let number = found.number.clone();
        let members = u16::try_from(desk.rooms.members(conference)).unwrap_or(u16::MAX);
        self.tell(desk, Event::DialledConference { number: number.clone(), members });
        // Forwarded to from a phone whose ringing was heard already: sound cannot move by then.
        let is_settled = !self.legs[0].voice.pact.said.text.is_empty() || self.visit.is_some();
        if is_settled {
            return self.fates.push(Fate::Refused(488));
        }
        let session = CallId(desk.office.chance.uuid(desk.now));
        let Ok(seat) = desk.rooms.sit(conference, self.number, session) else {
            self.tell(desk, Event::ConferenceFull { number });
            return self.fates.push(Fate::Refused(486));
        };
        let id = self.id;
        let caller = &mut self.legs[0];
        caller.close_sound(desk, id);
        (caller.voice.seat, caller.voice.port) = (Some(seat), None);
        caller.open_sound(desk, id);
        self.visit = Some(Visit { conference, number, stage: Stage::Arriving });
    }

    /// The number of the conference that the caller is in, or at whose door.
    pub(super) fn visited(&self) -> Option<String> {
        self.visit.as_ref().map(|visit| visit.number.clone())
    }

    /// Whether it is not a member of its conference yet.
    pub(super) fn is_before_door(&self) -> bool {
        let stage = self.visit.as_ref().map(|visit| &visit.stage);
        matches!(stage, Some(Stage::Arriving | Stage::Dialling { .. }))
    }

    /// Whether it is us who answer the caller.
    pub(super) fn is_attended(&self) -> bool {
        self.attendant.is_some() || self.visit.is_some()
    }

    /// The caller is answered and its sound has its port, perhaps after a restart: it is let in, asked
    /// for the PIN, or goes on.
    pub(super) fn handle_seated(&mut self, desk: &mut Desk<'_>) {
        let (Some(visit), Phase::Attended { .. }) = (&self.visit, self.phase) else { return };
        match &visit.stage {
            Stage::Arriving => {
                let conference = desk.tenant.conferences.get(&visit.conference);
                match conference.is_some_and(|conference| conference.pin.is_some()) {
                    true => self.ask_pin(desk),
                    false => self.enter(desk),
                }
            }
            Stage::Dialling { .. } => {
                self.mix(desk);
                self.cue(desk, Cue::AskPin);
            }
            Stage::Inside { .. } => self.mix(desk),
        }
    }

    fn ask_pin(&mut self, desk: &mut Desk<'_>) {
        let until = desk.now + DIAL_FOR;
        let Some(visit) = &mut self.visit else { return };
        visit.stage = Stage::Dialling { dialled: Dialled::default(), wrong: 0, until };
        let number = visit.number.clone();
        self.tell(desk, Event::PinAsked { number });
        self.mix(desk);
        self.cue(desk, Cue::AskPin);
        self.keep_facts(desk);
    }

    fn enter(&mut self, desk: &mut Desk<'_>) {
        let Some(visit) = &mut self.visit else { return };
        visit.stage = Stage::Inside { voice: Audible::Yes, star: Star::No };
        let number = visit.number.clone();
        self.tell(desk, Event::EnteredConference { number });
        self.mix(desk);
        self.handle_talk(desk);
        self.keep_facts(desk);
    }

    /// How the caller takes part, as it is seen.
    pub(super) fn member(&self) -> Option<Member> {
        let Visit { conference, number, stage } = self.visit.as_ref()?;
        let presence = match (stage, self.legs.first()?.voice.direction) {
            (Stage::Arriving | Stage::Dialling { .. }, _) => Presence::Dialling,
            (Stage::Inside { .. }, Direction::SendOnly | Direction::Inactive) => Presence::Away,
            (Stage::Inside { .. }, Direction::RecvOnly) => Presence::Listening,
            (Stage::Inside { voice: Audible::No, .. }, Direction::SendRecv) => Presence::Muted,
            (Stage::Inside { voice: Audible::Yes, .. }, Direction::SendRecv) => Presence::Heard,
        };
        let (number, name) = (number.clone(), self.ledger.caller_name.clone());
        Some(Member { conference: *conference, number, name, presence })
    }

    /// The caller is the one who speaks in its conference now, or is not any more.
    pub(super) fn show_voice(&self, desk: &mut Desk<'_>, what: fn(ConferenceId, CallId) -> What) {
        if let Some(Visit { conference, stage: Stage::Inside { .. }, .. }) = &self.visit {
            desk.show(what(*conference, self.id));
        }
    }

    /// Tells media how the caller takes part now, and shows it.
    pub(super) fn mix(&self, desk: &mut Desk<'_>) {
        let (Some(visit), Phase::Attended { .. }) = (&self.visit, self.phase) else { return };
        let leg = &self.legs[0];
        let part = match (leg.voice.direction, &visit.stage) {
            (Direction::SendOnly | Direction::Inactive, _) => Part::Away,
            (_, Stage::Arriving | Stage::Dialling { .. }) => Part::Waits,
            (Direction::RecvOnly, Stage::Inside { .. }) => Part::Listens,
            (Direction::SendRecv, Stage::Inside { voice: Audible::No, .. }) => Part::Listens,
            (Direction::SendRecv, Stage::Inside { voice: Audible::Yes, .. }) => Part::Speaks,
        };
        let side = leg.side(self.id);
        desk.wish(Wish::Mix { side, part });
        let tones = match leg.voice.pact.terms.as_ref().map(|terms| terms.events) {
            Some(None) => Tones::Heard,
            Some(Some(_)) | None => Tones::Ignored,
        };
        desk.wish(Wish::Listen { side, tones });
        self.show(desk);
    }

    fn cue(&self, desk: &mut Desk<'_>, cue: Cue) {
        desk.wish(Wish::Cue { side: self.legs[0].side(self.id), cue });
    }

    /// A key was pressed.
    pub(super) fn handle_key(&mut self, desk: &mut Desk<'_>, digit: Digit) {
        let (Some(visit), Phase::Attended { .. }) = (&mut self.visit, self.phase) else { return };
        match &mut visit.stage {
            Stage::Arriving => {}
            Stage::Dialling { dialled, until, .. } => {
                *until = desk.now + DIAL_FOR;
                match digit.key() {
                    '*' => dialled.0.clear(),
                    '#' if dialled.0.is_empty() => {}
                    '#' => self.judge_pin(desk),
                    key => {
                        dialled.0.push(key);
                        let pin = desk.tenant.conferences.get(&visit.conference);
                        let pin = pin.and_then(|found| found.pin.as_ref());
                        let long = pin.map_or(LONGEST_PIN, |pin| pin.len().min(LONGEST_PIN));
                        if dialled.0.len() >= long {
                            self.judge_pin(desk);
                        }
                    }
                }
            }
            Stage::Inside { star, .. } => match (*star, digit.key()) {
                (_, '*') => *star = Star::Pressed,
                (Star::Pressed, '6') => {
                    *star = Star::No;
                    self.turn_voice(desk);
                }
                (Star::Pressed | Star::No, _) => *star = Star::No,
            },
        }
    }

    fn judge_pin(&mut self, desk: &mut Desk<'_>) {
        let Some(Visit { conference, stage: Stage::Dialling { dialled, .. }, .. }) = &self.visit
        else {
            return;
        };
        match desk.tenant.conferences.get(conference) {
            None => self.end(desk, Ending::NobodyThere),
            Some(found) if found.pin.as_ref().is_none_or(|pin| *pin == dialled.0) => {
                self.enter(desk);
            }
            Some(_) => self.note_wrong_pin(desk),
        }
    }

    /// A PIN was wrong, or none came in time.
    fn note_wrong_pin(&mut self, desk: &mut Desk<'_>) {
        let Some(visit) = &mut self.visit else { return };
        let Stage::Dialling { dialled, wrong, until } = &mut visit.stage else { return };
        dialled.0.clear();
        *wrong += 1;
        *until = desk.now + DIAL_FOR;
        let (wrong, number) = (*wrong, visit.number.clone());
        self.tell(desk, Event::PinWrong { number });
        if wrong >= MOST_WRONG {
            return self.end(desk, Ending::Forbidden);
        }
        self.cue(desk, Cue::WrongPin);
        self.keep_facts(desk);
    }

    /// `*6`: a member does not want to be heard, or wants to again.
    fn turn_voice(&mut self, desk: &mut Desk<'_>) {
        let number = self.legs[0].party.number.clone();
        let Some(Visit { stage: Stage::Inside { voice, .. }, .. }) = &mut self.visit else {
            return;
        };
        let (next, event, cue) = match voice {
            Audible::Yes => (Audible::No, Event::Muted { number }, Cue::Muted),
            Audible::No => (Audible::Yes, Event::Unmuted { number }, Cue::Unmuted),
        };
        *voice = next;
        self.tell(desk, event);
        self.mix(desk);
        self.cue(desk, cue);
        self.keep_facts(desk);
    }

    /// When a PIN must have come.
    pub(super) fn visit_at(&self) -> Option<Moment> {
        match (&self.visit, self.phase) {
            (Some(Visit { stage: Stage::Dialling { until, .. }, .. }), Phase::Attended { .. }) => {
                Some(*until)
            }
            (Some(_) | None, _) => None,
        }
    }

    /// No PIN came in time: it is asked for again.
    pub(super) fn take_visit(&mut self, desk: &mut Desk<'_>) {
        if self.visit_at().is_some_and(|at| at <= desk.now) {
            self.note_wrong_pin(desk);
        }
    }

    /// The answer to an offer that we made in a 2xx comes in the ACK (RFC 3261 §13.2.1).
    pub(super) fn hear_visitor(&mut self, desk: &mut Desk<'_>, ack: &Message) {
        let Ok(Some(answer)) = read_description(ack) else { return };
        if self.take_answer(desk, 0, &answer).is_err() {
            return self.end(desk, Ending::NoCommonMedia);
        }
        self.take_direction(desk, 0, &answer);
        self.legs[0].aim(desk, self.id);
        self.mix(desk);
        self.say_notices(desk);
        self.keep_facts(desk);
    }

    /// The caller's sound is gone, and its seat is free.
    pub(super) fn give_up_seat(&mut self, desk: &mut Desk<'_>) {
        let voice = &mut self.legs[0].voice;
        if matches!(voice.ports, Ports::Closed | Ports::None)
            && let Some(seat) = voice.seat.take()
        {
            desk.rooms.leave(seat);
        }
    }

    /// After a restart: the seat that it had. Without it the call cannot go on.
    pub(super) fn take_seat_back(&mut self, desk: &mut Desk<'_>) -> bool {
        let Some(visit) = &mut self.visit else { return true };
        visit.revive(desk.now);
        let (seat, conference) = (self.legs[0].voice.seat, visit.conference);
        let taken = seat.map(|seat| desk.rooms.take_back(conference, self.number, seat));
        if !matches!(taken, Some(Ok(()))) {
            self.legs[0].voice.seat = None;
            return false;
        }
        true
    }

    /// Whether a phone that fell silent should be heard.
    pub(super) fn is_visitor_heard(&self) -> bool {
        let inside = self.visit.as_ref().map(|visit| &visit.stage);
        let is_up = matches!(self.legs[0].state, State::Up { .. });
        is_up && matches!(inside, Some(Stage::Inside { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_neither_shown_nor_kept() {
        let until = Moment::from_secs(1);
        let dialled = Dialled("1234".to_owned());
        let stage = Stage::Dialling { dialled, wrong: 1, until };
        assert!(!format!("{stage:?}").contains("1234"));
        let kept = postcard::to_stdvec(&stage).unwrap();
        assert!(!kept.windows(4).any(|four| four == b"1234"));
        let read: Stage = postcard::from_bytes(&kept).unwrap();
        assert_eq!(read, Stage::Dialling { dialled: Dialled::default(), wrong: 1, until });
    }
}
