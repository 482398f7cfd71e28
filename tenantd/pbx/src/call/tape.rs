//! Whether a call is recorded: by a rule from its answer on, or when somebody presses the code for it.
//!
//! The stricter rule of the two who talk counts; where the house answers, the caller's. Pressed once, the code begins a recording; each time
//! after that it pauses it or goes on. What a rule records nobody stops.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::notice::Notice;
use super::{Call, Phase};
use crate::id::RecordingId;
use crate::media::{Channel, Digit, Kept, Recording, Side, Tones, Wish};
use crate::moment::Moment;
use crate::story::Event;
use crate::tenant::directory::{Record, User};

/// Keys that belong to a code follow each other within this time.
const KEYS_WITHIN: Duration = Duration::from_secs(3);
/// The longest code, in keys.
pub const LONGEST_CODE: usize = 8;

/// What is kept of a call's sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tape {
    id: RecordingId,
    /// The number of the extension that asked for it; empty: the company's rule.
    asked_by: String,
    why: Why,
    keeping: Keeping,
    /// Who has still to hear of it.
    pub(super) notices: Vec<Notice>,
}

/// Why a call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    Rule,
    Demand,
}

/// Whether what is said is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Keeping {
    Yes,
    Paused,
}

/// The keys that a phone pressed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pressed {
    leg: u16,
    keys: String,
    at: Moment,
}

impl Call {
    /// Whether there is somebody to talk to. Who still dials a PIN is not recorded: it would be heard.
    fn can_be_recorded(&self) -> bool {
        match self.phase {
            Phase::Talking { .. } => true,
            Phase::Attended { .. } => !self.is_before_door(),
            Phase::Ringing { .. } | Phase::Ending { .. } => false,
        }
    }

    /// Somebody answered: records what is always recorded, and listens for codes of who may press one.
    pub(super) fn handle_talk(&mut self, desk: &mut Desk<'_>) {
        if let Some(user) = self.ruled_by(desk) {
            self.begin_tape(desk, user, Why::Rule);
        }
        self.listen_for_codes(desk);
    }

    /// After a restart: what was recorded goes on, in another file of the same recording.
    pub(super) fn take_up_tape(&mut self, desk: &mut Desk<'_>) {
        if let Some(tape) = self.tape.clone() {
            self.roll(desk, &tape);
            if tape.keeping == Keeping::Paused {
                self.wish_both(desk, |side| Wish::Pause { side });
            }
        }
        self.listen_for_codes(desk);
    }

    /// A phone pressed a key.
    pub(super) fn handle_press(&mut self, desk: &mut Desk<'_>, index: usize, digit: Digit) {
        if !self.can_be_recorded() || !self.may_demand(desk, index) {
            return;
        }
        let (leg, at) = (self.legs[index].number, desk.now);
        let before = self.pressed.take().filter(|it| it.leg == leg && at - it.at <= KEYS_WITHIN);
        let mut keys = before.map_or_else(String::new, |it| it.keys);
        keys.push(digit.key());
        if keys.ends_with(&desk.tenant.recording.code) {
            return self.handle_code(desk, index);
        }
        if keys.len() > LONGEST_CODE {
            keys.remove(0);
        }
        self.pressed = Some(Pressed { leg, keys, at });
    }

    fn handle_code(&mut self, desk: &mut Desk<'_>, index: usize) {
        let number = self.legs[index].party.number.clone();
        let keeping = match &mut self.tape {
            None => return self.demand_tape(desk, index),
            Some(Tape { why: Why::Rule, .. }) => return,
            Some(tape) => {
                tape.keeping = match tape.keeping {
                    Keeping::Yes => Keeping::Paused,
                    Keeping::Paused => Keeping::Yes,
                };
                tape.keeping
            }
        };
        match keeping {
            Keeping::Paused => {
                self.wish_both(desk, |side| Wish::Pause { side });
                self.tell(desk, Event::RecordingPaused { number });
            }
            Keeping::Yes => {
                self.wish_both(desk, |side| Wish::Resume { side });
                self.tell(desk, Event::RecordingResumed { number });
            }
        }
        self.keep_facts(desk);
    }

    /// Nothing can be written: the story says so, and the code may try again.
    pub(super) fn handle_unrecorded(&mut self, desk: &mut Desk<'_>) {
        if let Some(tape) = self.tape.take() {
            self.tell(desk, Event::Unrecorded);
            self.keep_facts(desk);
            self.hush_notices(desk, &tape.notices);
        }
    }

    /// The extension by whose rule, or by the company's, this call is recorded.
    fn ruled_by<'d>(&self, desk: &Desk<'d>) -> Option<&'d User> {
        let always = |user: &&User| user.record == Record::Always;
        self.talkers(desk).into_iter().flatten().find(always)
    }

    fn demand_tape(&mut self, desk: &mut Desk<'_>, index: usize) {
        let user = self.legs[index].party.user.and_then(|user| desk.tenant.users.get(&user));
        if let Some(user) = user {
            self.begin_tape(desk, user, Why::Demand);
        }
    }

    fn begin_tape(&mut self, desk: &mut Desk<'_>, by: &User, why: Why) {
        let id = RecordingId(desk.office.chance.uuid(desk.now));
        let asked_by = match (why, desk.tenant.recording.rule) {
            (Why::Rule, Record::Always) => String::new(),
            (Why::Rule, Record::Off | Record::OnDemand) | (Why::Demand, _) => by.number.clone(),
        };
        let notices = self.notices(desk, by);
        let tape = Tape { id, asked_by: asked_by.clone(), why, keeping: Keeping::Yes, notices };
        self.roll(desk, &tape);
        self.tape = Some(tape);
        self.tell(desk, Event::Recorded { number: asked_by });
        self.say_notices(desk);
        self.keep_facts(desk);
    }

    fn roll(&self, desk: &mut Desk<'_>, tape: &Tape) {
        let recording = Recording {
            id: tape.id,
            tenant: desk.tenant.tenant,
            call: self.id,
            asked_by: tape.asked_by.clone(),
        };
        let record = |index: usize, kept, channel| {
            let recording = Box::new(recording.clone());
            Wish::Record { side: self.legs[index].side(self.id), kept, channel, recording }
        };
        desk.wish(record(0, Kept::Said, Channel::Left));
        match (self.other(0), self.phase) {
            (Some(other), _) => desk.wish(record(other, Kept::Said, Channel::Right)),
            // It is we whom the caller hears.
            (None, Phase::Attended { .. }) => desk.wish(record(0, Kept::Heard, Channel::Right)),
            (None, Phase::Ringing { .. } | Phase::Talking { .. } | Phase::Ending { .. }) => {}
        }
    }

    fn listen_for_codes(&self, desk: &mut Desk<'_>) {
        // A conference listens for keys of its own (`visit`).
        if self.visited().is_some() {
            return;
        }
        for index in [Some(0), self.other(0)].into_iter().flatten() {
            if self.may_demand(desk, index) {
                let side = self.legs[index].side(self.id);
                desk.wish(Wish::Listen { side, tones: Tones::Heard });
            }
        }
    }

    fn wish_both(&self, desk: &mut Desk<'_>, wish: impl Fn(Side) -> Wish) {
        for index in [Some(0), self.other(0)].into_iter().flatten() {
            desk.wish(wish(self.legs[index].side(self.id)));
        }
    }

    /// The extensions of the two who talk, as far as they are this company's.
    fn talkers<'d>(&self, desk: &Desk<'d>) -> [Option<&'d User>; 2] {
        [Some(0), self.other(0)].map(|index| {
            let user = self.legs[index?].party.user?;
            desk.tenant.users.get(&user)
        })
    }

    fn may_demand(&self, desk: &Desk<'_>, index: usize) -> bool {
        let user = self.legs[index].party.user.and_then(|user| desk.tenant.users.get(&user));
        user.is_some_and(|user| user.record == Record::OnDemand)
    }
}
