//! Until somebody answers: every phone is called, the first answer wins, the others are told.
//!
//! RFC 3261 §16.7 (choosing a response), §9 (cancelling), RFC 3326 (why), RFC 3264 (the offer). A
//! phone that answers nothing, or rings for ever, holds up nobody.

use super::desk::Desk;
use super::fork::{device, key, number_of};
use super::ledger::{Caller, Ledger};
use super::leg::{Early, Leg, Marks, Party, Provisional, Question, State, Voice, Wanted, Way};
use super::pick_up::read_description;
use super::verdict::{Fate, Verdict, weigh};
use super::{Call, Phase, RING_FOR, SILENT_AFTER};
use crate::dialplan::{Destination, Route};
use crate::flow::Flow;
use crate::id::{BindingId, CallId, UserId};
use crate::moment::Moment;
use crate::record::Ending;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::session_timer::{Retry, SessionTimer};
use crate::sip::transaction::ServerId;
use crate::story::Event;
use crate::tenant::limits::{LimitReached, Whose};

/// An INVITE that begins a call.
#[derive(Debug)]
pub struct Asked {
    /// Its transaction.
    pub server: ServerId,
    /// The way back.
    pub flow: Flow,
    /// The message.
    pub invite: Message,
    /// Who calls.
    pub caller: Caller,
    /// What was dialled.
    pub dialled: String,
}

impl Call {
    /// Begins a call: the caller is told that we try, and its sound gets a port.
    pub fn begin(desk: &mut Desk<'_>, id: CallId, number: u64, asked: Asked) -> Self {
        let Asked { server, flow, invite, caller, dialled } = asked;
        let trying = desk.office.reply(&flow, &invite, 100);
        desk.respond(server, 100, trying.finish());
        let tag = desk.office.tokens.tag(desk.tenant.route, key(number, 0, 0)).to_string();
        let began = Event::Began { caller: caller.number.clone(), dialled: dialled.clone() };
        let party = Party {
            user: caller.user,
            number: caller.number.clone(),
            device: device(invite.first(Name::UserAgent), &flow),
            binding: binding_of(desk, caller.user, &flow),
        };
        let mut timer = SessionTimer::default();
        timer.learn(&invite);
        let leg = Leg {
            number: 0,
            party,
            flow,
            dialog: Dialog::asked(&invite, &tag).expect("an INVITE is checked before it gets here"),
            voice: Voice::new(&mut desk.office.chance),
            state: State::Asking { server, invite },
            marks: Marks::begin(desk.now),
            timer,
            question: Question::None,
            way: Way::Open,
            early: Early::default(),
            music: None,
        };
        let mut call = Self {
            id,
            number,
            tried: leg.party.user.map(|_| leg.party.number.clone()).into_iter().collect(),
            ledger: Ledger::open(desk.now, caller, &dialled),
            legs: vec![leg],
            phase: Phase::Ringing { give_up_at: desk.now + RING_FOR, early: None },
            visit: None,
            crossing: None,
            passing: Vec::new(),
            permit: None,
            offer: None,
            fates: Vec::new(),
            tape: None,
            pressed: None,
            plays: 0,
            attendant: None,
        };
        call.tell(desk, began);
        call
    }

    /// Calls whom the dialplan found.
    pub fn ring(&mut self, desk: &mut Desk<'_>, route: Route) {
        match desk.live.begin(desk.tenant, self.ledger.caller_user) {
            Ok(permit) => self.permit = Some(permit),
            Err(reached) => return self.refuse_over_limit(desk, reached),
        }
        if let Err(verdict) = self.take_offer(desk) {
            return self.refuse(desk, verdict);
        }
        self.tried.clear();
        // In a conference it gets a seat first.
        if !matches!(route.to, Destination::Conference(_)) {
            self.legs[0].open_sound(desk, self.id);
        }
        self.show(desk);
        if route.to == Destination::Nobody {
            let number = self.ledger.dialled.clone();
            self.tell(desk, Event::DialledNobody { number });
            let ending = Ending::NobodyThere;
            return self.refuse(desk, Verdict { status: 404, ending, q850: 1 });
        }
        self.reach(desk, route.to);
        self.judge(desk);
    }

    /// A response to the INVITE that began a leg.
    pub(super) fn handle_invite_response(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        response: &Message,
    ) {
        match response.status().unwrap_or(0) {
            0..=100 => {}
            101..=199 => self.handle_provisional(desk, index, response),
            200..=299 => self.handle_answer(desk, index, response),
            status @ 300..=399 => {
                self.note_refusal(desk, index, status);
                self.follow(desk, index, response);
                self.judge(desk);
            }
            422 if self.asks_longer(index, response) => self.invite(desk, index),
            488 | 606 if self.takes_another_way(desk, index) => self.invite(desk, index),
            status => {
                self.note_refusal(desk, index, status);
                if status >= 600 {
                    self.silence_other_phones(desk, index);
                }
                self.judge(desk);
            }
        }
    }

    /// A called phone answered nothing at all.
    pub(super) fn handle_silence(&mut self, desk: &mut Desk<'_>, index: usize) {
        let leg = &mut self.legs[index];
        leg.leave(desk.now, Fate::Silent);
        leg.close_sound(desk, self.id);
        let (number, device) = (leg.party.number.clone(), leg.party.device.clone());
        self.tell(desk, Event::Silent { number, device });
        self.judge(desk);
    }

    /// The caller gave up.
    pub fn handle_cancel(&mut self, desk: &mut Desk<'_>) {
        match (self.phase, &self.legs[0].state) {
            (Phase::Ringing { .. }, State::Asking { .. }) => {
                let verdict = Verdict { status: 487, ending: Ending::Cancelled, q850: 16 };
                self.refuse(desk, verdict);
            }
            (Phase::Talking { .. }, State::Answering { .. }) => {
                self.refuse_answered(desk, 487);
                self.part(desk, Ending::CallerHungUp, None);
            }
            _ => {}
        }
    }

    /// A side's ports are open: the phone can be called, or heard again after a restart.
    pub(super) fn handle_open(&mut self, desk: &mut Desk<'_>, index: usize) {
        self.legs[index].tell_terms(desk, self.id);
        self.legs[index].aim(desk, self.id);
        match self.phase {
            Phase::Ringing { .. } if matches!(self.legs[index].state, State::Opening) => {
                self.invite(desk, index);
            }
            Phase::Ringing { .. } if index == 0 && self.is_attended() => self.attend(desk),
            Phase::Ringing { .. } | Phase::Ending { .. } => {}
            Phase::Talking { callee, .. } => {
                self.join(desk, callee);
                self.tune_one(desk, index);
                self.say_notices(desk);
            }
            Phase::Attended { .. } => {
                self.say_notices(desk);
                self.speak(desk);
                self.handle_seated(desk);
            }
        }
    }

    /// There is no port for a side.
    pub(super) fn handle_no_ports(&mut self, desk: &mut Desk<'_>, index: usize) {
        match (self.phase, index) {
            (Phase::Ringing { .. }, 0) => self.end(desk, Ending::ServerFailed),
            (Phase::Ringing { .. }, _) => {
                self.legs[index].leave(desk.now, Fate::Silent);
                self.judge(desk);
            }
            (Phase::Attended { .. }, _) => self.end(desk, Ending::ServerFailed),
            (Phase::Talking { .. } | Phase::Ending { .. }, _) => {}
        }
    }

    /// Nobody came in time.
    pub(super) fn give_up_ringing(&mut self, desk: &mut Desk<'_>) {
        let mut fates = self.fates();
        fates.extend(self.legs[1..].iter().filter_map(|leg| match leg.state {
            State::Invited { heard: Provisional::Ringing, .. } => Some(Fate::Rang),
            _ => None,
        }));
        self.refuse(desk, weigh(&fates));
    }

    /// When silent phones stop counting, if only they are left.
    pub(super) fn silence_at(&self) -> Option<Moment> {
        let Phase::Ringing { .. } = self.phase else { return None };
        let refused = self.fates().iter().any(|fate| matches!(fate, Fate::Refused(_)));
        let mut live = self.legs[1..].iter().filter(|leg| !leg.is_gone()).peekable();
        live.peek()?;
        let silent = |leg: &&Leg| match leg.state {
            State::Opening | State::Invited { heard: Provisional::Nothing, .. } => {
                Some(leg.marks.began_at + SILENT_AFTER)
            }
            _ => None,
        };
        let moments: Option<Vec<Moment>> = live.map(|leg| silent(&leg)).collect();
        moments.filter(|_| refused)?.into_iter().max()
    }

    /// Whether the call is decided, now that a phone's part is over.
    pub(super) fn judge(&mut self, desk: &mut Desk<'_>) {
        let Phase::Ringing { .. } = self.phase else { return };
        // Who is answered by us waits for nobody else.
        if self.is_attended() {
            return;
        }
        let nobody_left = self.legs[1..].iter().all(Leg::is_gone);
        if nobody_left || self.silence_at().is_some_and(|at| at <= desk.now) {
            self.refuse(desk, weigh(&self.fates()));
        }
    }

    /// Cancels every phone that still rings, but one.
    pub(super) fn cancel_others(
        &mut self,
        desk: &mut Desk<'_>,
        except: Option<usize>,
        reason: Option<&str>,
    ) {
        for index in (1..self.legs.len()).filter(|index| Some(*index) != except) {
            self.cancel_one(desk, index, reason);
        }
    }

    pub(super) fn cancel_one(&mut self, desk: &mut Desk<'_>, index: usize, reason: Option<&str>) {
        let now = desk.now;
        let leg = &mut self.legs[index];
        match &mut leg.state {
            State::Opening => leg.leave(now, Fate::Silent),
            State::Invited { branch, wanted: wanted @ Wanted::Yes, .. } => {
                *wanted = Wanted::No;
                desk.office.transactions.cancel(now, *branch, reason);
                leg.marks.ended_at = Some(now);
            }
            State::Invited { wanted: Wanted::No, .. }
            | State::Asking { .. }
            | State::Answering { .. }
            | State::Up { .. }
            | State::Leaving { .. }
            | State::Gone(_) => return,
        }
        self.legs[index].close_sound(desk, self.id);
        if reason.is_some() {
            let party = &self.legs[index].party;
            let (number, device) = (party.number.clone(), party.device.clone());
            self.tell(desk, Event::AnsweredElsewhere { number, device });
        }
    }

    fn refuse_over_limit(&mut self, desk: &mut Desk<'_>, reached: LimitReached) {
        self.tell_limit(desk, reached);
        let (status, ending) = (reached.status(), Ending::LimitReached);
        self.refuse(desk, Verdict { status, ending, q850: 34 });
    }

    pub(super) fn tell_limit(&mut self, desk: &mut Desk<'_>, reached: LimitReached) {
        let number = match reached.whose {
            Whose::Company => String::new(),
            Whose::User(user) => number_of(desk, user),
        };
        self.tell(desk, Event::LimitReached { number, limit: reached.limit });
    }

    /// Reads the caller's offer; without one the called phone makes it (RFC 3261 §13.2.1).
    fn take_offer(&mut self, desk: &mut Desk<'_>) -> Result<(), Verdict> {
        let State::Asking { invite, .. } = &self.legs[0].state else { return Ok(()) };
        let no_media = |status| Verdict { status, ending: Ending::NoCommonMedia, q850: 88 };
        let offer = read_description(invite).map_err(no_media)?;
        match &offer {
            Some(offer) => {
                let unfit = Verdict { ending: Ending::NotEncrypted, ..no_media(488) };
                self.may_offer(desk, 0, offer).map_err(|_told| unfit)?;
                self.legs[0].voice.take(&offer.sound());
            }
            None => {
                let way = self.legs[0].manners(desk).into_iter().next();
                self.legs[0].voice.pact.manner = way.unwrap_or_default();
            }
        }
        self.offer = offer;
        Ok(())
    }

    /// A called phone does not encrypt like that: it is asked in another way, if there is one.
    fn takes_another_way(&mut self, desk: &Desk<'_>, index: usize) -> bool {
        let ways = self.legs[index].manners(desk);
        let may = self.may_be_asked_again(index) && self.offer.is_some();
        let pact = &mut self.legs[index].voice.pact;
        let next = ways.get(usize::from(pact.tries) + 1).copied().filter(|_| may);
        if let Some(way) = next {
            pact.tries += 1;
            pact.manner = way;
        }
        next.is_some()
    }

    /// A called phone finds our session interval too short: it is called again with its own.
    fn asks_longer(&mut self, index: usize, response: &Message) -> bool {
        self.may_be_asked_again(index)
            && self.legs[index].timer.handle_too_brief(response) == Retry::Longer
    }

    fn may_be_asked_again(&self, index: usize) -> bool {
        let leg = &self.legs[index];
        matches!(self.phase, Phase::Ringing { .. })
            && matches!(leg.state, State::Invited { wanted: Wanted::Yes, .. })
            && leg.dialog.remote_tag.is_empty()
    }

    fn note_refusal(&mut self, desk: &mut Desk<'_>, index: usize, status: u16) {
        let leg = &mut self.legs[index];
        let wanted = matches!(leg.state, State::Invited { wanted: Wanted::Yes, .. });
        leg.marks.status = Some(status);
        leg.leave(desk.now, Fate::Refused(status));
        leg.close_sound(desk, self.id);
        if wanted && status >= 400 {
            let (number, device) = (leg.party.number.clone(), leg.party.device.clone());
            self.tell(desk, Event::Refused { number, device, status });
        }
    }

    /// A person who declines on one phone declines on all of theirs.
    fn silence_other_phones(&mut self, desk: &mut Desk<'_>, index: usize) {
        let Some(user) = self.legs[index].party.user else { return };
        for other in 1..self.legs.len() {
            if self.legs[other].party.user == Some(user) {
                self.cancel_one(desk, other, None);
                if matches!(self.legs[other].state, State::Invited { .. }) {
                    self.fates.push(Fate::Refused(603));
                }
            }
        }
    }

    pub(super) fn fates(&self) -> Vec<Fate> {
        let gone = self.legs[1..].iter().filter_map(|leg| match leg.state {
            State::Gone(fate) => Some(fate),
            _ => None,
        });
        self.fates.iter().copied().chain(gone).collect()
    }
}

/// The registration of the phone that sends from there.
fn binding_of(desk: &Desk<'_>, user: Option<UserId>, flow: &Flow) -> Option<BindingId> {
    let Flow::Net(path) = flow else { return None };
    let mut bindings = desk.registrar.contacts_of(desk.now, user?);
    bindings.find(|binding| binding.path == *path).map(|binding| binding.id)
}
