//! Whose phones are called, and how: members, forwards, other companies' numbers.
//!
//! RFC 3261 §16.5 (targets), §8.1.3.4 (3xx). Each phone is a leg with a dialog of its own; its
//! Request-URI is the Contact it registered, and the way there is where its REGISTER came from.

use super::desk::{Desk, SDP, finish, forwards};
use super::leg::{Early, Leg, Marks, Party, Provisional, Question, State, Voice, Wanted, Way};
use super::verdict::Fate;
use super::{Call, MOST_LEGS, Owner, Phase, Task};
use crate::dialplan::{self, Destination};
use crate::flow::{Flow, InnerPath};
use crate::id::{TenantId, UserId};
use crate::record::Binding;
use crate::sip::dialog::{Dialog, HOPS};
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::sdp::Unfit;
use crate::sip::session_timer::SessionTimer;
use crate::sip::transaction::Full;
use crate::story::Event;
use crate::tenant::identify::Speaker;

/// Forwards that are followed in one call.
const MOST_FORWARDS: usize = 5;

impl Call {
    pub(super) fn reach(&mut self, desk: &mut Desk<'_>, route: Destination) {
        match route {
            Destination::User(user) => {
                let number = number_of(desk, user);
                let phones = phones_of(desk, user);
                self.tell(desk, Event::DialledExtension { number, phones });
                self.call_user(desk, user);
            }
            Destination::Group(group) => {
                let Some(group) = desk.tenant.groups.get(&group) else { return };
                let caller = self.ledger.caller_user;
                let members: Vec<UserId> =
                    group.members.iter().copied().filter(|m| Some(*m) != caller).collect();
                let event = Event::DialledGroup {
                    number: group.number.clone(),
                    members: u16::try_from(group.members.len()).unwrap_or(u16::MAX),
                    phones: members.iter().map(|user| phones_of(desk, *user)).sum(),
                };
                self.tell(desk, event);
                members.into_iter().for_each(|user| self.call_user(desk, user));
            }
            Destination::Conference(conference) => self.visit(desk, conference),
            Destination::Announcement(announcement) => self.announce_to(desk, announcement),
            Destination::Elsewhere { tenant, number } => {
                self.tell(desk, Event::DialledElsewhere { number: number.clone() });
                self.call_elsewhere(desk, tenant, number);
            }
            Destination::Nobody => self.fates.push(Fate::Refused(404)),
        }
    }

    pub(super) fn call_user(&mut self, desk: &mut Desk<'_>, user: UserId) {
        let Some(who) = desk.tenant.users.get(&user) else { return };
        if self.tried.contains(&who.number) {
            return;
        }
        self.tried.push(who.number.clone());
        let joined = self.permit.as_mut().map(|p| desk.live.join(desk.tenant, p, user));
        if let Some(Err(reached)) = joined {
            self.tell_limit(desk, reached);
            return self.fates.push(Fate::Refused(486));
        }
        let room = MOST_LEGS.saturating_sub(self.legs.len());
        let bindings: Vec<Binding> = desk.contacts_of(user).take(room).cloned().collect();
        if bindings.is_empty() {
            self.fates.push(Fate::Silent);
        }
        for binding in bindings {
            let flow = Flow::Net(binding.path);
            let party = Party {
                user: Some(user),
                number: who.number.clone(),
                device: device(Some(&binding.user_agent), &flow),
                binding: Some(binding.id),
            };
            let to = format!("<sip:{}@{}>", who.sip_name(), desk.tenant.domain);
            self.call_phone(desk, party, flow, &to, (binding.contact, binding.route));
        }
    }

    /// Another company's number: a leg like any other, over a path within.
    fn call_elsewhere(&mut self, desk: &mut Desk<'_>, there: TenantId, number: String) {
        let flow = Flow::Inner(InnerPath { here: desk.tenant.tenant, there });
        let target = format!("sip:{number}@switch.invalid");
        let device = "switch".to_owned();
        let party = Party { user: None, number, device, binding: None };
        self.call_phone(desk, party, flow, &format!("<{target}>"), (target.clone(), vec![]));
    }

    fn call_phone(
        &mut self,
        desk: &mut Desk<'_>,
        party: Party,
        flow: Flow,
        to: &str,
        (target, route): (String, Vec<String>),
    ) {
        let Ok(number) = u16::try_from(self.legs.len()) else { return };
        let tag = desk.office.tokens.tag(desk.tenant.route, key(self.number, 0, number));
        let call_id = desk.office.chance.uuid(desk.now).to_string();
        let from = format!("{};tag={tag}", self.shown_to(desk, &flow));
        let mut dialog = Dialog::asking(call_id, from, tag.to_string(), to.to_owned());
        (dialog.target, dialog.route) = (target, route);
        let called = Event::Called { number: party.number.clone(), device: party.device.clone() };
        let mut leg = Leg {
            number,
            party,
            flow,
            dialog,
            voice: Voice::new(&mut desk.office.chance),
            state: State::Opening,
            marks: Marks::begin(desk.now),
            timer: SessionTimer::default(),
            question: Question::None,
            way: Way::Open,
            early: Early::default(),
            music: None,
        };
        let Some(way) = leg.manners(desk).into_iter().next() else {
            leg.leave(desk.now, Fate::Refused(488));
            self.legs.push(leg);
            self.tell(desk, called);
            let index = self.legs.len() - 1;
            return self.tell_unfit(desk, index, Unfit::KeysReadable);
        };
        leg.voice.pact.manner = way;
        leg.open_sound(desk, self.id);
        self.legs.push(leg);
        self.tell(desk, called);
    }

    /// The caller, as a phone of ours or another company shall see it.
    fn shown_to(&self, desk: &Desk<'_>, flow: &Flow) -> String {
        let domain = &desk.tenant.domain;
        let number = match flow {
            Flow::Net(_) => Some(self.ledger.caller.clone()),
            // Like a carrier: the public number that rings at the caller, or nobody's.
            Flow::Inner(_) => desk
                .tenant
                .numbers
                .iter()
                .find(|(_, to)| **to == self.ledger.caller)
                .map(|(number, _)| number.clone()),
        };
        match number.filter(|number| !number.is_empty()) {
            Some(number) => {
                let name = quoted(&self.ledger.caller_name);
                format!("{name}<sip:{number}@{domain}>")
            }
            None => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        }
    }

    pub(super) fn invite(&mut self, desk: &mut Desk<'_>, index: usize) {
        let State::Asking { invite, .. } = &self.legs[0].state else { return };
        let hops = invite.max_forwards().ok().flatten().unwrap_or(HOPS).saturating_sub(1);
        let leg = &mut self.legs[index];
        let body = self.offer.as_ref().and_then(|offer| leg.offer_sound(desk, offer));
        let (branch, text) = desk.branch();
        let via = desk.office.via(&leg.flow, &text);
        let draft = leg
            .dialog
            .invite(&via, hops)
            .header(Name::Contact, desk.office.contact(&leg.flow, &leg.party.number))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, "100rel, timer");
        let draft = leg.timer.ask(draft);
        let bytes = finish(draft, body.as_ref().map(|body| (SDP, body.as_bytes())));
        let (tenant, call) = (desk.tenant.tenant, self.number);
        let owner = Owner { tenant, call, leg: leg.number, task: Task::Invite, branch };
        leg.state = match desk.request(leg.flow, Method::Invite, bytes, owner) {
            Ok(()) => State::Invited { branch, heard: Provisional::Nothing, wanted: Wanted::Yes },
            Err(Full) => return self.handle_silence(desk, index),
        };
    }

    /// A phone sends the call on (3xx): its owner's rights decide where it may go (T-11).
    pub(super) fn follow(&mut self, desk: &mut Desk<'_>, index: usize, response: &Message) {
        let Phase::Ringing { .. } = self.phase else { return };
        let party = self.legs[index].party.clone();
        for to in forwards(desk, &self.legs[index].flow, response) {
            let looping = self.tried.contains(&to) || self.tried.len() > MOST_FORWARDS * 4;
            let forwards = self
                .legs
                .iter()
                .filter(|leg| leg.marks.status.is_some_and(|status| (300..400).contains(&status)));
            if looping || forwards.count() > MOST_FORWARDS {
                self.tell(desk, Event::ForwardLoop { to });
                continue;
            }
            let from = party.number.clone();
            self.tell(desk, Event::Forwarded { from, to: to.clone() });
            self.pass_provisional(desk, 181, None);
            let speaker = party.user.map_or(Speaker::Elsewhere(desk.tenant.tenant), Speaker::User);
            let route = dialplan::route(desk.tenant, desk.elsewhere, speaker, &to);
            self.reach(desk, route.to);
        }
    }
}

/// The key in a tag: the call's number, the dialog's variant, the leg.
pub(super) fn key(call: u64, variant: u16, leg: u16) -> u64 {
    (call << 24) | (u64::from(variant & 0xff) << 16) | u64::from(leg)
}

/// The call's number and the leg in a tag's key.
pub fn parts(key: u64) -> (u64, u16) {
    (key >> 24, (key & 0xffff) as u16)
}

/// How a story names a phone: what it calls itself, else its address.
pub(super) fn device(user_agent: Option<&str>, flow: &Flow) -> String {
    let name: String = user_agent.unwrap_or_default().chars().take(60).collect();
    match (name.is_empty(), flow.peer()) {
        (false, _) => name,
        (true, Some(peer)) => peer.to_string(),
        (true, None) => "switch".to_owned(),
    }
}

pub(super) fn number_of(desk: &Desk<'_>, user: UserId) -> String {
    desk.tenant.users.get(&user).map(|user| user.number.clone()).unwrap_or_default()
}

fn phones_of(desk: &Desk<'_>, user: UserId) -> u16 {
    u16::try_from(desk.contacts_of(user).count()).unwrap_or(u16::MAX)
}

/// A display name as a quoted string with its space, or nothing (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let safe: String = name.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\" ", safe.replace('\\', "\\\\").replace('"', "\\\""))
}
