//! A call: who rings, who talks to whom, and what is written down about it.
//!
//! A back-to-back user agent (RFC 7092 §3.1.3): each leg is a dialog of its own, so that nothing of
//! one side leaks to the other. `ring` is the time until somebody answers, `within` what phones then
//! ask, `bridge` how it reaches the other one, `pact` what a phone and we agree on, `pulse` whether they are still there, `leg` one phone's
//! side, `visit` a call that the house answers, `ledger` what is written down.

use std::time::Duration;

use crate::board::{LiveCall, Stage, What};
use crate::flow::{Flow, FlowId};
use crate::id::{CallId, TenantId, UserId};
use crate::media::Event as Sound;
use crate::moment::Moment;
use crate::record::{Ending, Memory, Wait};
use crate::sip::answer::Due;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::sdp::Description;
use crate::story::Event;
use crate::tenant::limits::Permit;

mod aside;
mod attend;
mod bridge;
pub mod desk;
mod early;
mod facts;
mod fork;
pub mod ledger;
pub mod leg;
mod music;
mod notice;
mod pact;
mod pick_up;
mod pulse;
mod renewal;
mod ring;
pub mod shown;
pub mod tape;
pub mod verdict;
mod visit;
mod within;

use aside::Passing;
use attend::Attendant;
use bridge::Crossing;
use desk::Desk;
pub use fork::parts;
use ledger::Ledger;
use leg::{Leg, Ports, State, Way};
pub use ring::Asked;
use tape::{Pressed, Tape};
use verdict::{Fate, Verdict};
use visit::Visit;
pub use within::{Reply, Within};

/// How long phones ring before the caller is told that nobody came.
pub const RING_FOR: Duration = Duration::from_secs(60);
/// A phone that answered nothing for so long holds up nobody's verdict.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How long a call that is over waits for its phones' last words and its sound's measurements.
const LINGER_FOR: Duration = Duration::from_secs(40);
/// A re-INVITE must be answered by the other phone within 64·T1.
const CROSS_FOR: Duration = Duration::from_secs(32);
/// What a caller is told whose sound is not encrypted as it must be (RFC 3261 §20.43).
const WARNING: &str = "The encryption of the sound does not fit: see its rules here (SRTP)";
/// Phones called at once, and over a call's life with forwards; more are left out of the ring.
const MOST_LEGS: usize = 64;

/// What a transaction of a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Whose call.
    pub tenant: TenantId,
    /// Which call: its number on this switch.
    pub call: u64,
    /// Which leg.
    pub leg: u16,
    /// What was asked.
    pub task: Task,
    /// Our transaction's key; 0 if it is the phone that asked.
    pub branch: u64,
}

/// What was asked of a phone, or by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The INVITE that begins a leg.
    Invite,
    /// An INVITE within its dialog.
    ReInvite,
    /// A PRACK.
    Prack,
    /// A BYE.
    Bye,
    /// An UPDATE.
    Update,
    /// An INFO.
    Info,
    /// A MESSAGE.
    Message,
    /// An OPTIONS: is the phone still in the call?
    Options,
    /// Not a call's: is this registered phone still there?
    Probe,
}

impl Task {
    /// The method of its request.
    pub fn method(self) -> Method<'static> {
        match self {
            Self::Invite | Self::ReInvite => Method::Invite,
            Self::Prack => Method::Prack,
            Self::Bye => Method::Bye,
            Self::Update => Method::Update,
            Self::Info => Method::Info,
            Self::Message => Method::Message,
            Self::Options | Self::Probe => Method::Options,
        }
    }
}

/// A call of one tenant.
#[derive(Debug)]
pub struct Call {
    /// Its id, in records and stories.
    pub id: CallId,
    /// Its number on this switch, in its tags: 40 bits.
    pub number: u64,
    ledger: Ledger,
    legs: Vec<Leg>,
    phase: Phase,
    /// What the caller does where the house answers.
    visit: Option<Visit>,
    crossing: Option<Crossing>,
    /// Messages on their way across.
    passing: Vec<Passing>,
    permit: Option<Permit>,
    /// Extensions that were tried, so that a forward never comes back.
    tried: Vec<String>,
    /// The caller's offer, until it is answered.
    offer: Option<Description>,
    /// How it went for those who were not called, or not only.
    fates: Vec<Fate>,
    /// What is kept of its sound.
    tape: Option<Tape>,
    /// The keys that may become a code.
    pressed: Option<Pressed>,
    /// How much was played.
    plays: u32,
    /// Who of ours answers, if no phone does.
    attendant: Option<Attendant>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Phones are being called.
    Ringing { give_up_at: Moment, early: Option<u16> },
    /// Somebody answered.
    Talking { callee: u16, ends_at: Option<Moment> },
    /// We speak with the caller ourselves.
    Attended { ends_at: Option<Moment> },
    /// It is over; the last words are awaited.
    Ending { until: Moment, written: Written },
}

/// Whether a call's record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    No,
    Yes,
}

impl Call {
    /// Whether nothing more can come: the call can be forgotten.
    pub fn is_over(&self) -> bool {
        let quiet = |leg: &Leg| leg.is_gone() && leg.voice.ports != Ports::Closing;
        matches!(self.phase, Phase::Ending { written: Written::Yes, .. })
            && self.legs.iter().all(quiet)
    }

    /// The way to a leg's phone, and whose it is: who may speak within its dialog.
    pub fn owner_of(&self, leg: u16) -> Option<(Flow, Option<UserId>)> {
        let leg = &self.legs[self.index_of(leg)?];
        Some((leg.flow, leg.party.user))
    }

    /// A phone that proved itself speaks from elsewhere now: its router gave it another port.
    pub fn move_flow(&mut self, leg: u16, flow: Flow) {
        if let Some(index) = self.index_of(leg) {
            self.legs[index].flow = flow;
            self.legs[index].way = Way::Open;
        }
    }

    /// A phone registered from elsewhere: its router gave it another port, and what we say goes there.
    pub fn handle_phone_moved(&mut self, desk: &mut Desk<'_>, from: Flow, to: Flow) {
        let mut moved = false;
        for leg in self.legs.iter_mut().filter(|leg| leg.flow == from) {
            leg.flow = to;
            moved = true;
        }
        if moved {
            self.keep_facts(desk);
        }
    }

    /// A connection is gone: a caller who waits on it for an answer has hung up. Who talks comes back
    /// over another, or is missed.
    pub fn handle_flow_gone(&mut self, desk: &mut Desk<'_>, stream: FlowId) {
        let caller = &self.legs[0];
        let waits = matches!(caller.state, State::Asking { .. } | State::Answering { .. });
        if waits && caller.flow.stream() == Some(stream) {
            self.handle_cancel(desk);
        }
        for index in 0..self.legs.len() {
            if self.legs[index].flow.stream() == Some(stream) {
                self.lose_way(desk, index);
            }
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Option<Moment> {
        let own = match self.phase {
            Phase::Ringing { give_up_at, .. } => Some(give_up_at),
            Phase::Talking { ends_at, .. } | Phase::Attended { ends_at } => ends_at,
            Phase::Ending { until, .. } => Some(until),
        };
        let unacked = self.legs.iter().filter_map(|leg| match &leg.state {
            State::Up { unacked: Some(unacked), .. } | State::Leaving { unacked } => {
                Some(unacked.deadline())
            }
            State::Up { unacked: None, .. }
            | State::Asking { .. }
            | State::Answering { .. }
            | State::Opening
            | State::Invited { .. }
            | State::Gone(_) => None,
        });
        let silent = self.silence_at();
        let crossing = self.crossing.as_ref().map(|crossing| crossing.give_up_at);
        let announced = self.legs[0].early.announcements.deadline();
        let others = [silent, crossing, self.pulse_at(), self.renewal_at(), announced];
        let others = others.into_iter().chain([self.visit_at()]).flatten();
        own.into_iter().chain(unacked).chain(others).min()
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, desk: &mut Desk<'_>) {
        let now = desk.now;
        for index in 0..self.legs.len() {
            let leg = &mut self.legs[index];
            let due = match &mut leg.state {
                State::Up { unacked: Some(unacked), .. } | State::Leaving { unacked } => {
                    unacked.handle_deadline(now)
                }
                State::Up { unacked: None, .. }
                | State::Asking { .. }
                | State::Answering { .. }
                | State::Opening
                | State::Invited { .. }
                | State::Gone(_) => None,
            };
            match due {
                Some(Due::Repeat(bytes)) => {
                    leg.find_way(desk);
                    desk.send(leg.flow, bytes);
                }
                Some(Due::GiveUp) => {
                    leg.bye(desk, self.number);
                    self.end(desk, Ending::Vanished);
                }
                None => {}
            }
        }
        if self.crossing.as_ref().is_some_and(|crossing| crossing.give_up_at <= now) {
            self.give_up_crossing(desk);
        }
        self.repeat_announcement(desk);
        self.take_pulses(desk);
        self.renew_keys(desk);
        self.take_visit(desk);
        match self.phase {
            Phase::Ringing { give_up_at, .. } if give_up_at <= now => self.give_up_ringing(desk),
            Phase::Ringing { .. } => self.judge(desk),
            Phase::Talking { ends_at: Some(at), .. } | Phase::Attended { ends_at: Some(at) }
                if at <= now =>
            {
                self.run_out(desk);
            }
            Phase::Talking { .. } | Phase::Attended { .. } => {}
            Phase::Ending { until, .. } if until <= now => self.forget_stragglers(desk),
            Phase::Ending { .. } => {}
        }
    }

    /// Something happened to a side's sound.
    pub fn handle_sound(&mut self, desk: &mut Desk<'_>, event: Sound) {
        let side = event.side();
        let index = self.legs.iter().position(|leg| leg.side(self.id) == side);
        let Some(index) = index else { return };
        match event {
            Sound::Opened { port, .. } => {
                self.legs[index].voice.port = Some(port);
                self.handle_open(desk, index);
            }
            Sound::NoPorts { .. } => {
                self.legs[index].voice.ports = Ports::Closed;
                self.give_up_seat(desk);
                self.handle_no_ports(desk, index);
            }
            Sound::Latched { peer, .. } => {
                let number = self.legs[index].party.number.clone();
                self.tell(desk, Event::SoundFound { number, from: peer.to_string() });
            }
            Sound::Quiet { .. } => self.handle_quiet(desk, index),
            Sound::OneWay { .. } => self.handle_one_way(desk, index),
            // Digits of a call between two phones are theirs: media lets the other one hear them.
            Sound::Digit { digit, .. } => {
                self.handle_press(desk, index, digit);
                self.handle_key(desk, digit);
            }
            Sound::Unrecorded { .. } => self.handle_unrecorded(desk),
            Sound::Played { .. } => self.handle_played(desk, index, &event),
            // Who speaks in a conference decides nothing, but is seen.
            Sound::Speaking { .. } => self.show_voice(desk, What::Speaks),
            Sound::Silent { .. } => self.show_voice(desk, |room, _| What::Silent(room)),
            Sound::Closed { heard, .. } => {
                self.legs[index].voice.heard = Some(heard);
                self.legs[index].voice.ports = Ports::Closed;
                self.give_up_seat(desk);
                self.write_down(desk);
            }
        }
    }

    /// Ends the call for everybody: a limit, an operator, a stop.
    pub fn end(&mut self, desk: &mut Desk<'_>, ending: Ending) {
        match self.phase {
            Phase::Ringing { .. } => {
                let status = match ending {
                    Ending::ServerStopped => 503,
                    _ => 500,
                };
                self.refuse(desk, Verdict { status, ending, q850: 41 });
            }
            Phase::Talking { .. } | Phase::Attended { .. } => self.part(desk, ending, None),
            Phase::Ending { .. } => {}
        }
    }

    /// Adds to the story, the log and the counters.
    fn tell(&mut self, desk: &mut Desk<'_>, event: Event) {
        self.ledger.tell(desk.now, event.clone());
        desk.note(Some(self.id), event);
    }

    /// Shows how far the call is.
    fn show(&self, desk: &mut Desk<'_>) {
        let stage = match self.phase {
            Phase::Ringing { .. } => Stage::Ringing,
            Phase::Talking { .. } | Phase::Attended { .. }
                if self.legs.iter().any(|l| l.voice.direction.holds()) =>
            {
                Stage::Held
            }
            Phase::Attended { .. } if self.visit.is_some() => Stage::Conferring,
            Phase::Talking { .. } | Phase::Attended { .. } => Stage::Talking,
            Phase::Ending { .. } => return desk.show(What::CallEnded(self.id)),
        };
        let member = self.member();
        desk.show(What::Call(self.id, Box::new(LiveCall { member, ..self.ledger.live(stage) })));
    }

    /// The longest duration was reached.
    fn run_out(&mut self, desk: &mut Desk<'_>) {
        let seconds = self.ledger.talked_s(desk.now);
        self.tell(desk, Event::TooLong { seconds });
        self.part(desk, Ending::TooLong, None);
    }

    /// Hangs up whoever talks or rings; `left` has hung up itself.
    fn part(&mut self, desk: &mut Desk<'_>, ending: Ending, left: Option<u16>) {
        self.drop_crossing(desk);
        self.refuse_answered(desk, 480);
        let number = self.number;
        for leg in &mut self.legs {
            match Some(leg.number) == left {
                true => leg.leave(desk.now, Fate::Rang),
                false => leg.part(desk, number),
            }
        }
        self.cancel_others(desk, None, None);
        self.close(desk, ending, 200);
    }

    /// The call is over: lets go of sound and limits, and waits for the last words.
    fn close(&mut self, desk: &mut Desk<'_>, ending: Ending, status: u16) {
        if matches!(self.phase, Phase::Ending { .. }) {
            return;
        }
        self.drop_crossing(desk);
        self.legs[0].early.announcements.stop();
        let status = match self.ledger.answered_at {
            None if status == 200 => self.legs[0].marks.status.unwrap_or(500),
            None | Some(_) => status,
        };
        self.ledger.ended = Some((desk.now, ending, status));
        let talked_s = self.ledger.talked_s(desk.now);
        self.tell(desk, Event::Ended { ending, status, talked_s });
        // The record waits for the sides' measurements, the answer to a BYE does not: a call that
        // ended just before a kill must not come back as one that is alive.
        self.keep_facts(desk);
        self.phase = Phase::Ending { until: desk.now + LINGER_FOR, written: Written::No };
        for leg in &mut self.legs {
            leg.close_sound(desk, self.id);
            if matches!(leg.state, State::Opening) {
                leg.leave(desk.now, Fate::Silent);
            }
        }
        if let Some(permit) = self.permit.take() {
            desk.live.end(permit);
        }
        self.show(desk);
        self.write_down(desk);
    }

    /// Writes the record once every side's measurements are there.
    fn write_down(&mut self, desk: &mut Desk<'_>) {
        let Phase::Ending { until, written: Written::No } = self.phase else { return };
        if self.legs.iter().any(|leg| leg.voice.ports == Ports::Closing) {
            return;
        }
        self.phase = Phase::Ending { until, written: Written::Yes };
        let legs = self.legs.iter().map(|leg| leg.record(desk.now)).collect();
        let record = self.ledger.clone().close(desk.now, self.id, legs);
        desk.remember(Memory::Ended(Box::new(record)), Wait::No);
    }

    /// The last words did not come.
    fn forget_stragglers(&mut self, desk: &mut Desk<'_>) {
        for leg in &mut self.legs {
            leg.leave(desk.now, Fate::Silent);
            if leg.voice.ports == Ports::Closing {
                leg.voice.ports = Ports::Closed;
            }
        }
        self.give_up_seat(desk);
        self.write_down(desk);
    }

    /// A call that ended just before the process did: hangs up once more, since nobody knows whether
    /// that was heard, and writes the record without what was measured.
    fn settle_up(&mut self, desk: &mut Desk<'_>) {
        let number = self.number;
        self.legs.iter_mut().for_each(|leg| leg.part(desk, number));
        self.permit.take().into_iter().for_each(|permit| desk.live.end(permit));
        self.phase = Phase::Ending { until: desk.now + LINGER_FOR, written: Written::No };
        self.write_down(desk);
    }

    /// Writes the facts of a talking call down, so that it outlives this process.
    fn keep_facts(&self, desk: &mut Desk<'_>) {
        if let Some(facts) = self.facts() {
            desk.remember(Memory::Live { call: self.id, facts }, Wait::No);
        }
    }

    fn index_of(&self, leg: u16) -> Option<usize> {
        self.legs.iter().position(|l| l.number == leg)
    }

    /// The final response to a caller who asked and is told no.
    fn refuse(&mut self, desk: &mut Desk<'_>, verdict: Verdict) {
        let Verdict { status, ending, q850 } = verdict;
        self.cancel_others(desk, None, None);
        let caller = &mut self.legs[0];
        if let State::Asking { server, invite } = &caller.state {
            let mut draft = desk.office.reply(&caller.flow, invite, status);
            draft = draft
                .to_tag(&caller.dialog.local_tag)
                .header(Name::Reason, format_args!("Q.850;cause={q850}"));
            if status == 503 {
                draft = draft.header(Name::RetryAfter, 10);
            }
            if ending == Ending::NotEncrypted {
                let host = desk.office.host(&caller.flow);
                draft = draft.header(Name::Warning, format_args!("399 {host} \"{WARNING}\""));
            }
            desk.respond(*server, status, draft.finish());
            caller.marks.status = Some(status);
            caller.leave(desk.now, Fate::Refused(status));
        }
        self.close(desk, ending, status);
    }
}
