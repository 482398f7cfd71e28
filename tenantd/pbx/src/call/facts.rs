//! A talking call as plain data: what must be known to take it over after a restart.
//!
//! Its dialogs, sound ports and targets are what they were, and the next request's number leaps so
//! that it cannot repeat one that nobody noted. A phone whose sound is plain hears nothing of it; one
//! whose sound is encrypted is offered new keys, since media has forgotten how often the old were used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attend::Attendant;
use super::desk::Desk;
use super::ledger::Ledger;
use super::leg::{Ack, Early, Leg, Marks, Party, Ports, Question, State, Voice, Way};
use super::tape::Tape;
use super::visit::Visit;
use super::{Call, Phase};
use crate::flow::Flow;
use crate::id::CallId;
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::dialog::Dialog;
use crate::sip::session_timer::SessionTimer;
use crate::story::Event;

/// The layout of [`Facts`]: one that is not known is not revived.
const LAYOUT: u8 = 6;
/// Timers that came due while we were away are spread over so long.
const SPREAD_OVER: Duration = Duration::from_secs(60);

/// What outlives the process.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    id: CallId,
    number: u64,
    ledger: Ledger,
    /// Who answered: another leg, or we.
    callee: Option<u16>,
    attendant: Option<Attendant>,
    visit: Option<Visit>,
    ends_at: Option<Moment>,
    legs: Vec<LegFacts>,
    tape: Option<Tape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LegFacts {
    number: u16,
    party: Party,
    flow: Flow,
    dialog: Dialog,
    voice: Voice,
    marks: Marks,
    timer: SessionTimer,
}

impl Call {
    /// The facts of a talking call; one that only rings, or whose caller has not
    /// heard the answer, is not kept.
    pub(super) fn facts(&self) -> Option<Vec<u8>> {
        let (callee, ends_at) = match self.phase {
            Phase::Talking { callee, ends_at } => (Some(callee), ends_at),
            Phase::Attended { ends_at } => (None, ends_at),
            Phase::Ringing { .. } | Phase::Ending { .. } => return None,
        };
        if let State::Answering { .. } = self.legs[0].state {
            return None;
        }
        let talks = |leg: &&Leg| leg.number == 0 || Some(leg.number) == callee;
        let facts = Facts {
            id: self.id,
            number: self.number,
            ledger: self.ledger.clone(),
            callee,
            attendant: self.attendant,
            visit: self.visit.clone(),
            ends_at,
            legs: self.legs.iter().filter(talks).map(LegFacts::of).collect(),
            tape: self.tape.clone(),
        };
        postcard::to_stdvec(&(LAYOUT, facts)).ok()
    }

    /// Takes a call over. `None`: the facts are of another layout, or damaged.
    pub fn revive(desk: &mut Desk<'_>, facts: &[u8]) -> Option<Self> {
        let mut call = Self::restore(desk, facts)?;
        if call.ledger.ended.is_some() {
            call.settle_up(desk);
            return Some(call);
        }
        if !call.take_seat_back(desk) {
            call.end(desk, Ending::ServerFailed);
            return Some(call);
        }
        for leg in &mut call.legs {
            leg.forget_keys(desk);
            leg.open_sound(desk, call.id);
        }
        call.take_up_tape(desk);
        call.tell(desk, Event::Revived);
        call.show(desk);
        Some(call)
    }

    /// Ends a call whose sound went down with another node: both phones are hung up, as far as they
    /// can be reached. `None`: the facts are of another layout, or damaged.
    pub fn bury(desk: &mut Desk<'_>, facts: &[u8]) -> Option<Self> {
        let mut call = Self::restore(desk, facts)?;
        if call.ledger.ended.is_some() {
            call.settle_up(desk);
            return Some(call);
        }
        call.tell(desk, Event::NodeLost);
        call.end(desk, Ending::ServerStopped);
        Some(call)
    }

    fn restore(desk: &mut Desk<'_>, facts: &[u8]) -> Option<Self> {
        let (layout, facts): (u8, Facts) = postcard::from_bytes(facts).ok()?;
        let legs = if facts.callee.is_some() { 2 } else { 1 };
        if layout != LAYOUT || facts.legs.len() != legs || facts.legs[0].number != 0 {
            return None;
        }
        let parties = facts.legs.iter().filter_map(|leg| leg.party.user);
        let permit = desk.live.take_back(parties);
        Some(Self {
            id: facts.id,
            number: facts.number,
            ledger: facts.ledger,
            legs: facts.legs.into_iter().map(|leg| leg.revive(desk)).collect(),
            visit: facts.visit,
            phase: match facts.callee {
                Some(callee) => Phase::Talking { callee, ends_at: facts.ends_at },
                None => Phase::Attended { ends_at: facts.ends_at },
            },
            crossing: None,
            passing: Vec::new(),
            permit: Some(permit),
            tried: Vec::new(),
            offer: None,
            fates: Vec::new(),
            tape: facts.tape,
            pressed: None,
            plays: 0,
            attendant: facts.attendant,
        })
    }
}

impl LegFacts {
    fn of(leg: &Leg) -> Self {
        Self {
            number: leg.number,
            party: leg.party.clone(),
            flow: leg.flow,
            dialog: leg.dialog.clone(),
            voice: leg.voice.clone(),
            marks: leg.marks.clone(),
            timer: leg.timer.clone(),
        }
    }

    fn revive(self, desk: &mut Desk<'_>) -> Leg {
        let Self { number, party, flow, mut dialog, mut voice, marks, mut timer } = self;
        let spread = desk.office.chance.below(SPREAD_OVER.as_secs());
        timer.revive(desk.now, Duration::from_secs(spread));
        let way = match flow.stream() {
            Some(stream) if !desk.office.is_open(stream) => Way::Gone,
            Some(_) | None => Way::Open,
        };
        dialog.revive();
        voice.ports = Ports::None;
        let state = State::Up { unacked: None, ack: Ack::None };
        let (question, early) = (Question::None, Early::default());
        let music = None;
        Leg { number, party, flow, dialog, voice, state, marks, timer, question, way, early, music }
    }
}
