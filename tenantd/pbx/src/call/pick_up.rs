//! What called phones answer, and what the caller hears of it.
//!
//! RFC 3261 §13.2.2 (the asking side), §13.3.1 (the answering side), RFC 3264 §6 (the answer).

use super::desk::{Desk, SDP, finish};
use super::early::Heard;
use super::fork::key;
use super::leg::{Ack, Agreed, Early, Provisional, State, Wanted};
use super::verdict::Fate;
use super::{Call, Phase};
use crate::id::UserId;
use crate::media::Wish;
use crate::record::Ending;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::method::ALLOW;
use crate::sip::name::Name;
use crate::sip::sdp::{Description, Flaw, Unfit};
use crate::story::Event;

/// Why the phones of a call that was answered stop ringing (RFC 3326).
pub(super) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// When a phone said what it takes: in its answer, or while it rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Now,
    Before,
}

/// What the 200 to the caller says of sound.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// Nothing: it knows.
    Told,
    /// This.
    Say(String),
    /// There is no port for it.
    NoPort,
}

impl Call {
    pub(super) fn handle_provisional(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        response: &Message,
    ) {
        let leg = &mut self.legs[index];
        let State::Invited { wanted: Wanted::Yes, .. } = &leg.state else { return };
        if self.hear_early(desk, index, response) == Heard::Again {
            return;
        }
        let leg = &mut self.legs[index];
        let State::Invited { heard, .. } = &mut leg.state else { return };
        let first = *heard == Provisional::Nothing;
        *heard = Provisional::Ringing;
        if first {
            leg.marks.rang_at = Some(desk.now);
            let (number, device) = (leg.party.number.clone(), leg.party.device.clone());
            self.tell(desk, Event::Rang { number, device });
        }
        let Phase::Ringing { give_up_at, early } = self.phase else { return };
        let leg = &mut self.legs[index];
        let other_speaks = early.is_some_and(|early| early != leg.number);
        let description = match read_description(response) {
            Ok(Some(description)) if self.offer.is_some() && !other_speaks => description,
            _ => return self.pass_ringing(desk, response.status()),
        };
        let number = leg.number;
        let body = match self.take_answer(desk, index, &description) {
            Ok(()) => self.answer_with(desk, &description),
            Err(unfit) => Some(Err(unfit)),
        };
        if let Some(Err(_)) = body {
            return self.pass_ringing(desk, response.status());
        }
        let leg = &mut self.legs[index];
        leg.voice.take(&description.sound());
        leg.aim(desk, self.id);
        self.join(desk, number);
        self.phase = Phase::Ringing { give_up_at, early: Some(number) };
        let body = body.and_then(Result::ok);
        self.pass_provisional(desk, response.status().unwrap_or(183), body);
    }

    /// Ringing without sound of its own is passed on once.
    fn pass_ringing(&mut self, desk: &mut Desk<'_>, status: Option<u16>) {
        if status == Some(180) && self.ledger.rang_at.is_none() {
            self.pass_provisional(desk, 180, None);
        }
    }

    /// A called phone answered: the first one wins, a later one is hung up.
    pub(super) fn handle_answer(&mut self, desk: &mut Desk<'_>, index: usize, response: &Message) {
        let Ok(cseq) = response.cseq() else { return };
        let leg = &mut self.legs[index];
        match &leg.state {
            State::Up { ack: Ack::Sent(ack), .. } => return desk.send(leg.flow, ack.clone()),
            State::Invited { .. } => {}
            State::Up { .. }
            | State::Asking { .. }
            | State::Answering { .. }
            | State::Opening
            | State::Leaving { .. }
            | State::Gone(_) => return,
        }
        let wanted = matches!(leg.state, State::Invited { wanted: Wanted::Yes, .. });
        let said = if response.body().is_empty() { Word::Before } else { Word::Now };
        let understood = leg.dialog.handle_answer(response).is_ok();
        leg.state = State::Up { unacked: None, ack: Ack::Owed(cseq.number) };
        leg.marks.status = response.status();
        let early = std::mem::take(&mut leg.early);
        let description = match read_description(response) {
            // It was said while the phone rang, and need not be said again (RFC 6337 §3.1.1).
            Ok(None) if self.offer.is_some() || early.agreed == Agreed::Reliably => {
                Ok(early.description.map(|description| *description))
            }
            said => said,
        };
        leg.early.agreed = early.agreed;
        match (wanted && understood, self.phase, description) {
            (true, Phase::Ringing { early, .. }, Ok(Some(description))) => {
                leg.timer.handle_agreed(desk.now, response);
                match self.agree(desk, (index, early), said, &description) {
                    Ok(body) => self.win(desk, index, cseq.number, &description, (early, body)),
                    Err(_told) => self.let_go(desk, index, true),
                }
            }
            (wanted, _, _) => self.let_go(desk, index, wanted),
        }
    }

    /// Hangs up a phone that answered, and with which no call can be.
    fn let_go(&mut self, desk: &mut Desk<'_>, index: usize, wanted: bool) {
        let leg = &mut self.legs[index];
        leg.bye(desk, self.number);
        leg.close_sound(desk, self.id);
        if wanted {
            leg.state = State::Gone(Fate::Refused(488));
        }
        self.judge(desk);
    }

    /// Whether both phones can hear each other now that one answered, and what the caller is told.
    fn agree(
        &mut self,
        desk: &mut Desk<'_>,
        (index, early): (usize, Option<u16>),
        said: Word,
        description: &Description,
    ) -> Result<Body, Unfit> {
        let settled = self.legs[index].early.agreed == Agreed::Reliably;
        match (self.offer.is_some(), settled, said) {
            (true, true, Word::Before) | (false, true, _) => {}
            (true, ..) => self.take_answer(desk, index, description)?,
            (false, false, _) => {
                self.may_offer(desk, index, description)?;
                self.legs[index].voice.pact.offered = Some(Box::new(description.clone()));
            }
        }
        let same = early.is_none_or(|early| early == self.legs[index].number);
        let heard = &self.legs[0].early;
        // What it confirmed, or will before it hears this, is not said again (RFC 6337 §3.1.1).
        if same && (heard.agreed == Agreed::Reliably || heard.announcements.holds_answer()) {
            return Ok(Body::Told);
        }
        let body = match self.offer.is_some() {
            true => self.answer_with(desk, description).transpose()?,
            false => self.legs[0].offer_sound(desk, description),
        };
        Ok(body.map_or(Body::NoPort, Body::Say))
    }

    /// Answers the caller's offer with what a called phone said.
    fn answer_with(
        &mut self,
        desk: &mut Desk<'_>,
        description: &Description,
    ) -> Option<Result<String, Unfit>> {
        let offer = self.offer.take()?;
        let answered = self.answer(desk, 0, &offer, description);
        self.offer = Some(offer);
        answered
    }

    fn win(
        &mut self,
        desk: &mut Desk<'_>,
        index: usize,
        cseq: u32,
        description: &Description,
        (early, body): (Option<u16>, Body),
    ) {
        let leg = &mut self.legs[index];
        let (number, device) = (leg.party.number.clone(), leg.party.device.clone());
        leg.marks.answered_at = Some(desk.now);
        leg.voice.take(&description.sound());
        let callee = leg.number;
        self.ledger.answered_at = Some(desk.now);
        self.ledger.answered_by.clone_from(&number);
        self.tell(desk, Event::Answered { number, device });
        let longest = self.longest(desk, index);
        let ends_at = longest.map(|longest| desk.now + longest);
        self.phase = Phase::Talking { callee, ends_at };
        if self.answer_caller(desk, callee, early, body).is_none() {
            return self.end(desk, Ending::ServerFailed);
        }
        self.legs[index].aim(desk, self.id);
        self.join(desk, callee);
        let answered = self.legs[index].early.agreed == Agreed::Reliably;
        if self.offer.take().is_some() || answered {
            self.legs[index].acknowledge(desk, cseq, None);
        }
        if !self.legs[0].early.announcements.holds_answer() {
            self.release_answer(desk);
        }
        self.cancel_others(desk, Some(index), Some(ELSEWHERE));
        self.leave_limits(desk, index);
        self.handle_talk(desk);
        self.show(desk);
    }

    /// Writes the 200 to the caller; it is sent as soon as it may be. A caller who already heard another phone's early sound gets a
    /// tag of its own for this one: an answer may not change within a dialog (RFC 3261 §13.2.1).
    fn answer_caller(
        &mut self,
        desk: &mut Desk<'_>,
        callee: u16,
        early: Option<u16>,
        body: Body,
    ) -> Option<()> {
        let caller = &mut self.legs[0];
        let State::Asking { server, invite } = &caller.state else { return None };
        if early.is_some_and(|early| early != callee) {
            let key = key(self.number, callee, 0);
            let tag = desk.office.tokens.tag(desk.tenant.route, key).to_string();
            caller.dialog = Dialog::asked(invite, &tag).ok()?;
            caller.early = Early::default();
        }
        let (server, invite) = (*server, invite.clone());
        let body = match body {
            Body::Told => None,
            Body::Say(text) => Some(text),
            Body::NoPort => return None,
        };
        let draft = desk
            .office
            .reply(&caller.flow, &invite, 200)
            .to_tag(&caller.dialog.local_tag)
            .record_route(&invite)
            .header(Name::Contact, desk.office.contact(&caller.flow, &self.ledger.dialled))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, "timer");
        let draft = caller.timer.answer(desk.now, &invite, draft);
        let answer = finish(draft, body.as_ref().map(|body| (SDP, body.as_bytes())));
        caller.state = State::Answering { server, invite, answer };
        caller.marks.answered_at = Some(desk.now);
        caller.marks.status = Some(200);
        Some(())
    }

    /// The lowest of all limits on how long this call may last.
    pub(super) fn longest(&self, desk: &Desk<'_>, index: usize) -> Option<std::time::Duration> {
        let users = [self.legs[0].party.user, self.legs[index].party.user];
        let of = |user: UserId| desk.tenant.users.get(&user)?.limits.max_call_for;
        let users = users.into_iter().flatten().filter_map(of);
        users.chain(desk.tenant.limits.max_call_for).min()
    }

    /// Only who talks counts from now on.
    pub(super) fn leave_limits(&mut self, desk: &mut Desk<'_>, index: usize) {
        let talking = [self.legs[0].party.user, self.legs[index].party.user];
        let Some(permit) = &mut self.permit else { return };
        for user in self.legs.iter().filter_map(|leg| leg.party.user) {
            if !talking.contains(&Some(user)) {
                desk.live.leave(permit, user);
            }
        }
    }

    pub(super) fn join(&self, desk: &mut Desk<'_>, callee: u16) {
        let Some(index) = self.index_of(callee) else { return };
        let (a, b) = (self.legs[0].side(self.id), self.legs[index].side(self.id));
        desk.wish(Wish::Join { a, b });
    }
}

/// A message's session description, if it has one (RFC 3261 §21.4.13, §21.4.26).
pub(super) fn read_description(message: &Message) -> Result<Option<Description>, u16> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let kind = message.content_type().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/sdp") {
        return Err(415);
    }
    Description::read(&message.body()).map(Some).map_err(|flaw| match flaw {
        Flaw::Unreadable => 400,
        Flaw::NoAudio => 488,
    })
}
