//! What arrives is taken where it belongs: to a transaction, a dialog, a call, or a refusal.
//!
//! RFC 3261 §8.2 (requests), §12.2.2 (within a dialog), §9.2 (CANCEL).

use std::time::Duration;

use super::refusal::Refusal;
use super::registering::phone;
use super::{Arrived, DialogName, Door, Line, Switch};
use crate::board::What;
use crate::call::desk::Desk;
use crate::call::ledger::Caller;
use crate::call::{Asked, Call, Owner, Reply, Task, Within, parts};
use crate::dialplan;
use crate::edge::UnknownDomain;
use crate::id::{CallId, TenantId};
use crate::input::Placement;
use crate::media;
use crate::moment::Moment;
use crate::output::Output;
use crate::sip::deadlines::Alarm;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::session_timer::{SHORTEST_S, SessionTimer, TooBrief};
use crate::sip::transaction::{self, Answer, Cancelled, ServerId};
use crate::story::{Event, Note};
use crate::tenant::directory::Directory;
use crate::tenant::guard::Verdict;
use crate::tenant::identify::{self, Speaker};
use crate::tenant::name::name_in;

/// What a draining server tells phones: come back when another has taken over.
const RETRY_AFTER_S: u16 = 10;
/// Calls have 40-bit numbers, so that number and leg fit into a tag.
const CALL_NUMBERS: u64 = 1 << 40;
/// The key of tags in refusals: no call has the number 0, and the door's own tags have another key,
/// so that the ACK to a refusal finds its way to the transaction that waits for it.
const NO_CALL: u64 = 1;
/// Refusals held back at once; with more, the next ones are given at once.
const MOST_DELAYED: usize = 10_000;

impl Switch {
    pub(super) fn receive_response(&mut self, now: Moment, arrived: &Arrived, response: &Message) {
        let branch = response.via().ok().and_then(|via| via.branch().map(str::to_owned));
        let Some(opened) = branch.and_then(|branch| self.office.tokens.read(&branch)) else {
            return;
        };
        if self.take_answer(now, opened.key) {
            return;
        }
        let transactions = &mut self.office.transactions;
        if let Some(Answer { owner, .. }) = transactions.receive_response(now, opened.key, response)
        {
            let reply = Reply { branch: opened.key, response };
            match owner.task {
                Task::Probe => self.finish_probe(now, owner, response.status()),
                task => self.with_call(now, owner.tenant, owner.call, |desk, call| {
                    call.handle_response(desk, owner.leg, task, reply);
                }),
            }
        } else {
            self.hang_up_orphan(now, arrived, response);
        }
    }

    pub(super) fn receive_ack(&mut self, now: Moment, arrived: &Arrived, ack: &Message) {
        if let Some(DialogName { call, leg }) = self.dialog_of(ack) {
            self.with_call(now, arrived.tenant, call, |desk, call| {
                call.handle_ack(desk, leg, ack);
            });
        }
    }

    pub(super) fn receive_cancel(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        invite: Cancelled<Owner>,
        request: &Message,
    ) {
        if invite == Cancelled::Nothing {
            return self.refuse(now, arrived, server, request, &Refusal::NoDialog);
        }
        let draft = self.office.reply(&arrived.flow, request, 200).to_tag(&self.plain_tag(arrived));
        self.office.transactions.respond(now, server, 200, draft.finish());
        let Cancelled::Invite(invite, owner) = invite else { return };
        self.with_call(now, owner.tenant, owner.call, |desk, call| match owner.task {
            Task::Invite => call.handle_cancel(desk),
            _ => call.handle_cancel_within(desk, invite),
        });
    }

    /// The call and leg that a To tag of ours names.
    pub(super) fn dialog_of(&self, request: &Message) -> Option<DialogName> {
        let to = request.to().ok()?;
        let opened = self.office.tokens.read(to.tag()?)?;
        let (call, leg) = parts(opened.key);
        Some(DialogName { call, leg })
    }

    /// A request within a dialog comes over the dialog's path, or proves whose it is.
    pub(super) fn serve_within(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        request: &Message,
        dialog: DialogName,
    ) -> Result<(), Refusal> {
        let DialogName { call, leg } = dialog;
        let place = self.tenants.get(&arrived.tenant).ok_or(Refusal::UnknownDomain)?;
        let line = place.calls.get(&call).ok_or(Refusal::NoDialog)?;
        let (flow, user) = line.call.owner_of(leg).ok_or(Refusal::NoDialog)?;
        if flow != arrived.flow {
            match (self.identify(now, arrived, request)?, user) {
                (Speaker::User(speaker), Some(user)) if speaker == user => {}
                _ => return Err(Refusal::Forbidden),
            }
        }
        let task = Task::ReInvite;
        let owner = Owner { tenant: arrived.tenant, call, leg, task, branch: 0 };
        self.office.transactions.own(server, owner);
        let asked = Within { server, flow: arrived.flow, request: request.clone() };
        self.with_call(now, arrived.tenant, call, |desk, call| {
            call.move_flow(leg, asked.flow);
            call.handle_request(desk, leg, asked);
        });
        Ok(())
    }

    /// What was placed by its From only is believed if a phone is registered from there.
    pub(super) fn is_stranger(&self, arrived: &Arrived) -> bool {
        let place = self.tenants.get(&arrived.tenant);
        let known = |peer| place.is_some_and(|place| place.registrar.knows_source(peer));
        match arrived.by {
            Placement::From => !arrived.flow.peer().is_some_and(known),
            Placement::Domain | Placement::Known | Placement::Inner => false,
        }
    }

    /// Strangers hear what unknown domains hear.
    pub(super) fn turn_away(&mut self, arrived: &Arrived, message: &Message) {
        match self.rules.unknown_domain {
            UnknownDomain::Drop => {}
            UnknownDomain::Refuse => {
                self.answer_stateless(arrived, message, &Refusal::UnknownDomain);
            }
        }
    }

    pub(super) fn check_door(&self, request: &Message) -> Result<(), Refusal> {
        match (self.rules.door, request.method()) {
            (Door::Draining, Method::Invite | Method::Register) => Err(Refusal::Draining),
            (Door::Draining | Door::Open, _) => Ok(()),
        }
    }

    /// A call begins: the dialplan says to whom.
    pub(super) fn start_call(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        request: &Message,
        speaker: Speaker,
    ) -> Result<(), Refusal> {
        SessionTimer::check(request).map_err(|TooBrief| Refusal::TooBrief)?;
        let place = self.tenants.get_mut(&arrived.tenant).ok_or(Refusal::UnknownDomain)?;
        let uri = request.uri().map_err(|_| Refusal::BadRequest)?;
        let dialled: String = name_in(&place.directory, &uri).chars().take(128).collect();
        let caller = caller_of(&place.directory, speaker, request);
        let route = dialplan::route(&place.directory, &self.elsewhere, speaker, &dialled);
        let number = loop {
            let number = self.office.chance.below(CALL_NUMBERS).max(1);
            if !place.calls.contains_key(&number) {
                break number;
            }
        };
        if let Speaker::User(user) = speaker {
            self.look_for_alg(now, arrived, user, request);
        }
        let place = self.tenants.get_mut(&arrived.tenant).ok_or(Refusal::UnknownDomain)?;
        let owner =
            Owner { tenant: arrived.tenant, call: number, leg: 0, task: Task::Invite, branch: 0 };
        self.office.transactions.own(server, owner);
        let id = CallId(self.office.chance.uuid(now));
        let asked = Asked { server, flow: arrived.flow, invite: request.clone(), caller, dialled };
        let (mut desk, calls) = place.desk(now, &self.elsewhere, &mut self.office);
        let mut call = Call::begin(&mut desk, id, number, asked);
        call.ring(&mut desk, route);
        calls.insert(number, Line { call: Box::new(call), alarm: Alarm::default() });
        self.sounds.insert(id, (arrived.tenant, number));
        self.settle(arrived.tenant, number);
        Ok(())
    }

    /// Answers with a refusal.
    pub(super) fn refuse(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        request: &Message,
        refusal: &Refusal,
    ) {
        let (status, bytes) = self.write_refusal(arrived, request, refusal);
        let delay = match refusal {
            Refusal::Identity(refusal) => refusal.delay(),
            _ => Duration::ZERO,
        };
        match delay.is_zero() || self.delayed.len() >= MOST_DELAYED {
            true => self.office.transactions.respond(now, server, status, bytes),
            false => drop(self.delayed.insert((now + delay, server), (status, bytes))),
        }
        let from = || arrived.flow.peer().map(|peer| peer.to_string()).unwrap_or_default();
        match refusal {
            Refusal::Identity(identify::Refusal::NeedsPassword(_)) => {}
            Refusal::Identity(identify::Refusal::WrongPassword { username, verdict, .. }) => {
                let username = username.clone();
                self.note(
                    arrived,
                    Event::WrongPassword { username: username.clone(), from: from() },
                );
                if let Verdict::BeginSlowing(_) = verdict {
                    self.note(arrived, Event::SlowedDown { username, from: from() });
                }
            }
            _ => {
                let method = request.method().as_str().chars().take(32).collect();
                self.note(arrived, Event::RequestRefused { method, status });
            }
        }
    }

    /// Refusals that were held back long enough.
    pub(super) fn answer_delayed(&mut self, now: Moment) {
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, server), (status, bytes)) = first.remove_entry();
            self.office.transactions.respond(now, server, status, bytes);
        }
    }

    fn note(&mut self, arrived: &Arrived, event: Event) {
        let note = Note { tenant: arrived.tenant, call: None, event };
        self.office.outputs.push_back(Output::Note(note));
    }

    /// Who makes a request: an extension that proves it, or another company.
    pub(super) fn identify(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        request: &Message,
    ) -> Result<Speaker, Refusal> {
        let place = self.tenants.get_mut(&arrived.tenant).ok_or(Refusal::UnknownDomain)?;
        let mut door = identify::Door {
            directory: &place.directory,
            nonces: &mut self.nonces,
            guard: &mut place.guard,
            chance: &mut self.office.chance,
        };
        let speaker = door.identify(now, &arrived.flow, request).map_err(Refusal::Identity)?;
        if let Some(stream) = arrived.flow.stream() {
            self.streams.entry(stream).or_default().insert(arrived.tenant);
        }
        Ok(speaker)
    }

    /// A refusal that there is no room to remember.
    pub(super) fn answer_stateless(
        &mut self,
        arrived: &Arrived,
        request: &Message,
        refusal: &Refusal,
    ) {
        if request.method() != Method::Ack {
            let (_, bytes) = self.write_refusal(arrived, request, refusal);
            self.office.outputs.push_back(Output::Send { flow: arrived.flow, bytes });
        }
    }

    pub(super) fn wake_call(&mut self, now: Moment, tenant: TenantId, number: u64) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let Some(line) = place.calls.get_mut(&number) else { return };
        if line.alarm.rings(now) {
            self.with_call(now, tenant, number, |desk, call| call.handle_deadline(desk));
        }
    }

    /// Something happened to a call's sound: only its session's id is known to media, which is the call's
    /// or a conference's.
    pub(super) fn hear(&mut self, now: Moment, event: media::Event) {
        let id = event.side().call;
        let found = self.sounds.get(&id).copied().or_else(|| {
            let tenant = self.rooms.get(&id)?;
            let number = self.tenants.get(tenant)?.rooms.call_at(event.side())?;
            Some((*tenant, number))
        });
        if let Some((tenant, number)) = found {
            self.with_call(now, tenant, number, |desk, call| call.handle_sound(desk, event));
        }
    }

    /// What transactions have to say: bytes to send, answers that never came.
    pub(super) fn handle_transactions(&mut self, now: Moment) {
        while let Some(output) = self.office.transactions.poll_output() {
            match output {
                transaction::Output::Send { flow, bytes } => {
                    self.office.outputs.push_back(Output::Send { flow, bytes });
                }
                transaction::Output::TimedOut { owner } => match owner.task {
                    Task::Probe => self.finish_probe(now, owner, None),
                    task => self.with_call(now, owner.tenant, owner.call, |desk, call| {
                        call.handle_timeout(desk, owner.leg, task, owner.branch);
                    }),
                },
                // A caller who never heard our refusal is gone anyway.
                transaction::Output::NeverAcknowledged { .. } => {}
            }
        }
    }

    pub(super) fn plain_tag(&self, arrived: &Arrived) -> String {
        let route = self.tenants.get(&arrived.tenant).map_or(0, |t| t.directory.route);
        self.office.tokens.tag(route, NO_CALL).to_string()
    }

    fn write_refusal(
        &self,
        arrived: &Arrived,
        request: &Message,
        refusal: &Refusal,
    ) -> (u16, bytes::Bytes) {
        let status = refusal.status();
        let tag = self.plain_tag(arrived);
        let mut draft = self.office.reply(&arrived.flow, request, status).to_tag(&tag);
        match refusal {
            Refusal::Identity(refusal) => {
                if let identify::Refusal::NeedsPassword(challenge)
                | identify::Refusal::WrongPassword { challenge, .. } = refusal
                {
                    for value in challenge.values() {
                        draft = draft.header(challenge.header(), value);
                    }
                }
            }
            Refusal::Register(refusal) => {
                if let Some(shortest) = refusal.min_expires() {
                    draft = draft.header(Name::MinExpires, shortest);
                }
            }
            Refusal::MethodNotAllowed => draft = draft.header(Name::Allow, ALLOW),
            Refusal::TooBrief => draft = draft.header(Name::MinSe, SHORTEST_S),
            Refusal::Draining | Refusal::Overloaded => {
                draft = draft.header(Name::RetryAfter, RETRY_AFTER_S);
            }
            Refusal::UnknownDomain
            | Refusal::Forbidden
            | Refusal::BadRequest
            | Refusal::BadEvent
            | Refusal::NoDialog
            | Refusal::LoopDetected => {}
        }
        (status, draft.finish())
    }

    fn with_call(
        &mut self,
        now: Moment,
        tenant: TenantId,
        number: u64,
        act: impl FnOnce(&mut Desk<'_>, &mut Call),
    ) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let (mut desk, calls) = place.desk(now, &self.elsewhere, &mut self.office);
        let Some(line) = calls.get_mut(&number) else { return };
        act(&mut desk, &mut line.call);
        self.settle(tenant, number);
    }

    fn finish_probe(&mut self, now: Moment, owner: Owner, status: Option<u16>) {
        if status.is_some_and(|status| status < 200) {
            return;
        }
        let Some((tenant, user, binding)) = self.probes.remove(&owner.call) else { return };
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        match status {
            Some(_) => {
                let confirmed = place.registrar.confirm(user, binding).is_some();
                let number = place.directory.users.get(&user).map(|user| user.number.clone());
                let (mut desk, _) = place.desk(now, &self.elsewhere, &mut self.office);
                if let Some(registered) = desk.registrar.find(user, binding).filter(|_| confirmed) {
                    let phone = phone(registered, number.unwrap_or_default());
                    desk.show(What::Phone(binding, phone));
                }
                self.take_over(now, tenant, Vec::new());
            }
            None => {
                let gone = place.registrar.give_up(user, binding);
                self.take_over(now, tenant, gone.into_iter().collect());
            }
        }
    }
}

fn caller_of(directory: &Directory, speaker: Speaker, request: &Message) -> Caller {
    match speaker {
        Speaker::User(user) => {
            let who = directory.users.get(&user);
            Caller {
                user: Some(user),
                number: who.map(|who| who.number.clone()).unwrap_or_default(),
                name: who.map(|who| who.name.clone()).unwrap_or_default(),
            }
        }
        Speaker::Elsewhere(_) => {
            let from = request.from().ok().and_then(|from| from.uri().ok());
            let number = from.map(|uri| uri.user().into_owned()).unwrap_or_default();
            let number = if number == "anonymous" { String::new() } else { number };
            Caller { user: None, number, name: String::new() }
        }
    }
}
