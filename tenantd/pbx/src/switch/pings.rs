//! Asks phones behind routers whether they are still there, so that their routers remember the way.
//!
//! RFC 3261 §11 (OPTIONS), RFC 5626 §3.5. When to ask is decided by one [`Keepalive`] a phone; here
//! is what is sent, what comes back, and how much of it at once. A question is no transaction of the
//! table: it is asked in hundreds a second, repeated by another clock, and remembered by its number
//! alone, from which the same bytes can be written again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::Switch;
use super::registering::phone;
use crate::board::What;
use crate::call::desk::Office;
use crate::chance::Chance;
use crate::flow::{Flow, Link, Path};
use crate::id::{BindingId, TenantId, UserId};
use crate::moment::Moment;
use crate::output::Output;
use crate::record::Binding;
use crate::registrar::keepalive::{Came, Heard, Keepalive, Step};
use crate::sip::Draft;
use crate::sip::deadlines::{Alarm, Deadlines};
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::nat::Reach;
use crate::story::Event;
use crate::tenant::directory::Directory;

/// Questions that a switch asks in [`SLICE`] at most; what is more waits for the next one. So that a
/// start with 100,000 phones is no burst, and 50,000 a lane can be asked every ten seconds.
const MOST_A_SLICE: u32 = 50;
const SLICE: Duration = Duration::from_millis(10);

/// Two line ends: nothing but traffic (RFC 5626 §3.5.1).
const POKE: Bytes = Bytes::from_static(b"\r\n\r\n");

/// Every phone of a switch whose way is kept open.
#[derive(Debug, Default)]
pub(super) struct Pings {
    kept: Vec<Option<Kept>>,
    free: Vec<u32>,
    due: Deadlines<u32>,
    /// What the present slice of time has room for, and when the next begins.
    left: u32,
    next_slice_at: Moment,
}

/// One of them.
#[derive(Debug)]
struct Kept {
    tenant: TenantId,
    user: UserId,
    binding: BindingId,
    keepalive: Keepalive,
    alarm: Alarm,
    /// The number of the last question.
    question: u32,
}

/// A question's name: whom it is for, and which of them it is. It is the key in our branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    to: u32,
    number: u32,
}

impl Question {
    fn key(self) -> u64 {
        u64::from(self.to) << 32 | u64::from(self.number)
    }

    fn of(key: u64) -> Option<Self> {
        let (to, number) = (u32::try_from(key >> 32).ok()?, u32::try_from(key & 0xffff_ffff).ok()?);
        Some(Self { to, number })
    }
}

impl Pings {
    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let next = self.due.next()?;
        Some(if self.left == 0 { next.max(self.next_slice_at) } else { next })
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Kept> {
        self.kept.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    fn insert(&mut self, kept: Kept) -> u32 {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.kept.get_mut(usize::try_from(slot).unwrap_or(usize::MAX))
        {
            *place = Some(kept);
            return slot;
        }
        self.kept.push(Some(kept));
        u32::try_from(self.kept.len() - 1).expect("no machine has memory for so many phones")
    }

    fn forget(&mut self, slot: u32) {
        if let Some(place) = self.kept.get_mut(usize::try_from(slot).unwrap_or(usize::MAX))
            && place.take().is_some()
        {
            self.free.push(slot);
        }
    }

    fn settle(&mut self, slot: u32) {
        let Some(place) = self.kept.get_mut(usize::try_from(slot).unwrap_or(usize::MAX)) else {
            return;
        };
        if let Some(kept) = place {
            self.due.set(&mut kept.alarm, Some(kept.keepalive.deadline()), slot);
        }
    }

    /// The next one that is due, if this slice of time has room.
    fn pop_due(&mut self, now: Moment) -> Option<u32> {
        if now >= self.next_slice_at {
            (self.left, self.next_slice_at) = (MOST_A_SLICE, now + SLICE);
        }
        if self.left == 0 {
            return None;
        }
        self.due.pop_due(now)
    }
}

impl Switch {
    /// A phone registered, or was found in the database: its way is kept open if that is needed.
    pub(super) fn keep_open(
        &mut self,
        now: Moment,
        tenant: TenantId,
        (user, id): (UserId, BindingId),
        before: Option<Path>,
    ) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let Some(registered) = place.registrar.find(user, id) else { return };
        let path = registered.binding.path;
        if registered.reach == Reach::Direct || path.link != Link::Udp {
            return;
        }
        let chance = &mut self.office.chance;
        let slot = match (registered.kept_by, before) {
            (Some(slot), Some(before)) if self.pings.get_mut(slot).is_some() => {
                if let Some(kept) = self.pings.get_mut(slot) {
                    kept.keepalive.handle_register(now, chance, came(before, path));
                }
                slot
            }
            _ => {
                let keepalive = Keepalive::new(now, chance);
                let (alarm, question) = (Alarm::default(), first_question(chance));
                let binding = id;
                let kept = Kept { tenant, user, binding, keepalive, alarm, question };
                let slot = self.pings.insert(kept);
                place.registrar.keep(user, id, slot);
                slot
            }
        };
        self.pings.settle(slot);
    }

    /// Phones whose time has come, as far as this slice of it has room.
    pub(super) fn ask_due(&mut self, now: Moment) {
        while let Some(slot) = self.pings.pop_due(now) {
            let Some(kept) = self.pings.get_mut(slot) else { continue };
            if !kept.alarm.rings(now) {
                continue;
            }
            let (tenant, user, binding) = (kept.tenant, kept.user, kept.binding);
            let place = self.tenants.get(&tenant);
            let found = place.and_then(|place| place.registrar.find(user, binding));
            // A connection keeps itself open; should the phone come back by datagram, it begins anew.
            let is_kept = found.is_some_and(|registered| {
                registered.kept_by == Some(slot) && registered.binding.path.link == Link::Udp
            });
            if !is_kept {
                self.pings.forget(slot);
                continue;
            }
            if found.is_some_and(|registered| !self.office.reaches(&registered.binding.path)) {
                kept.keepalive.handle_no_way(now);
                self.pings.settle(slot);
                continue;
            }
            let step = kept.keepalive.handle_deadline(now, &mut self.office.chance);
            if matches!(step, Some(Step::Ask | Step::Lost)) {
                kept.question = kept.question.wrapping_add(1);
            }
            let question = Question { to: slot, number: kept.question };
            self.pings.settle(slot);
            if let (Some(step), Some(place), Some(registered)) = (step, place, found) {
                self.pings.left -= 1;
                let (flow, directory) = (Flow::Net(registered.binding.path), &place.directory);
                let bytes = match step {
                    Step::Poke => POKE,
                    Step::Ask | Step::AskAgain | Step::Lost => {
                        options(&self.office, directory, &flow, &registered.binding, question)
                    }
                };
                self.office.outputs.push_back(Output::Send { flow, bytes });
            }
            if step == Some(Step::Lost) {
                self.tell_of_silence(now, tenant, user, binding);
            }
        }
    }

    /// Whether a response is the answer to such a question. Any answer is: who refuses is there.
    pub(super) fn take_answer(&mut self, now: Moment, key: u64) -> bool {
        let Some(question) = Question::of(key) else { return false };
        let Some(kept) = self.pings.get_mut(question.to) else { return false };
        if kept.question != question.number {
            return false;
        }
        let (tenant, user, binding) = (kept.tenant, kept.user, kept.binding);
        // A repeat of the answer is nothing of ours any more.
        kept.question = kept.question.wrapping_add(1);
        let heard = kept.keepalive.handle_answer(now, &mut self.office.chance);
        self.pings.settle(question.to);
        if heard == Heard::Back {
            self.tell_of_return(now, tenant, user, binding);
        }
        true
    }

    /// A phone keeps its way open itself.
    pub(super) fn hear_keepalive(&mut self, now: Moment, tenant: TenantId, peer: SocketAddr) {
        let Some(place) = self.tenants.get(&tenant) else { return };
        for (user, id) in place.registrar.from(peer) {
            let slot = place.registrar.find(user, id).and_then(|registered| registered.kept_by);
            let Some(slot) = slot else { continue };
            if let Some(kept) = self.pings.get_mut(slot) {
                kept.keepalive.handle_own_keepalive(now);
            }
            self.pings.settle(slot);
        }
    }

    fn tell_of_silence(&mut self, now: Moment, tenant: TenantId, user: UserId, id: BindingId) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let silent = place.registrar.fall_silent(user, id).map(|binding| binding.path.peer);
        if let Some(peer) = silent {
            let from = peer.to_string();
            self.tell_of_phone(now, tenant, (user, id), |number| Event::NotAnswering {
                number,
                from,
            });
        }
    }

    fn tell_of_return(&mut self, now: Moment, tenant: TenantId, user: UserId, id: BindingId) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let back = place.registrar.speak_again(user, id).map(|binding| binding.path.peer);
        if let Some(peer) = back {
            let from = peer.to_string();
            self.tell_of_phone(now, tenant, (user, id), |number| Event::AnsweringAgain {
                number,
                from,
            });
        }
    }

    /// Tells of a phone, and shows what has become of it.
    pub(super) fn tell_of_phone(
        &mut self,
        now: Moment,
        tenant: TenantId,
        (user, id): (UserId, BindingId),
        event: impl FnOnce(String) -> Event,
    ) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let (mut desk, _) = place.desk(now, &self.elsewhere, &mut self.office);
        let number = desk.tenant.users.get(&user).map(|user| user.number.clone());
        let number = number.unwrap_or_default();
        desk.note(None, event(number.clone()));
        if let Some(registered) = desk.registrar.find(user, id) {
            let phone = phone(registered, number);
            desk.show(What::Phone(id, phone));
        }
    }
}

/// So that an answer to a question of an earlier process is none to ours.
fn first_question(chance: &mut Chance) -> u32 {
    u32::try_from(chance.below(1 << 32)).unwrap_or(0)
}

fn came(before: Path, now: Path) -> Came {
    match (before.peer.ip() == now.peer.ip(), before.peer.port() == now.peer.port()) {
        (true, true) => Came::Same,
        (true, false) => Came::NewPort,
        (false, _) => Came::NewAddress,
    }
}

/// The question, the same bytes whenever it is asked again.
fn options(
    office: &Office,
    directory: &Directory,
    flow: &Flow,
    binding: &Binding,
    question: Question,
) -> Bytes {
    let key = question.key();
    let branch = office.tokens.branch(directory.route, key);
    let tag = office.tokens.tag(directory.route, 0);
    let domain = &directory.domain;
    Draft::request(Method::Options, &binding.contact)
        .header(Name::Via, office.via(flow, &branch))
        .header(Name::MaxForwards, 70)
        .header(Name::From, format_args!("<sip:{domain}>;tag={tag}"))
        .header(Name::To, format_args!("<{}>", binding.contact))
        .header(Name::CallId, format_args!("{key:016x}@{domain}"))
        .header(Name::CSeq, "1 OPTIONS")
        .header(Name::Contact, office.contact(flow, ""))
        .finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::edge::UnknownDomain;
    use crate::flow::Advertised;
    use crate::id::NodeId;
    use crate::input::Input;
    use crate::registrar::Policy;
    use crate::switch::Setup;
    use crate::tenant::sample::{directory, tenant, user};

    const START: Moment = Moment::from_secs(1_800_000_000);
    const NODE: NodeId = NodeId(1);

    fn switch() -> Switch {
        Switch::new(Setup {
            node: NODE,
            boot: 1,
            seed: [1; 32],
            token_key: [2; 16],
            nonce_key: [3; 16],
            sip: Advertised::default(),
            media: Advertised::default(),
            own: vec![],
            inner: [127, 0, 0, 1].into(),
            fingerprint: None,
            policy: Policy::default(),
            unknown_domain: UnknownDomain::Drop,
        })
    }

    /// A phone at 192.168.1.10 behind a router of its own.
    fn binding(number: u16) -> Binding {
        let [a, b] = number.to_be_bytes();
        let local = SocketAddr::from(([203, 0, 113, 9], 5060));
        Binding {
            id: BindingId(uuid::Uuid::from_u128(u128::from(number))),
            user: user(101),
            contact: "sip:101@192.168.1.10".to_owned(),
            instance: None,
            reg_id: None,
            call_id: number.to_string(),
            cseq: 1,
            q: 1_000,
            path: Path::udp(NODE, local, SocketAddr::from(([198, 18, a, b], 40_000))),
            route: vec![],
            user_agent: String::new(),
            expires_at: START + Duration::from_secs(3_600),
            horizon: START + Duration::from_secs(4_500),
            alg: None,
        }
    }

    /// Runs until `end`; what was asked, by when.
    fn asked(switch: &mut Switch, now: &mut Moment, end: Moment) -> BTreeMap<Moment, usize> {
        let mut asked = BTreeMap::new();
        while let Some(next) = switch.deadline().filter(|next| *next < end) {
            *now = next.max(*now);
            switch.handle_deadline(*now);
            while let Some(output) = switch.poll_output() {
                if let Output::Send { bytes, .. } = output {
                    assert!(bytes.starts_with(b"OPTIONS sip:101@192.168.1.10 SIP/2.0\r\n"));
                    *asked.entry(*now).or_default() += 1;
                }
            }
        }
        asked
    }

    #[test]
    fn a_start_with_many_phones_is_no_burst_and_nobody_is_left_out() {
        let (mut switch, mut now) = (switch(), START);
        let bindings = (0..20_000).map(binding).collect();
        let directory = Box::new(directory());
        switch.handle_input(
            START,
            Input::Arrived { directory, bindings, live: vec![], lost: vec![] },
        );
        // Nobody answers: each is asked four times before it counts as a failure.
        let asked = asked(&mut switch, &mut now, START + Duration::from_secs(10));
        assert!(asked.values().all(|count| *count <= MOST_A_SLICE as usize));
        for second in 1..10 {
            let from = START + Duration::from_secs(second);
            let count: usize = asked.range(from..from + Duration::from_secs(1)).map(|a| a.1).sum();
            assert!(count <= 5_050, "{count} in second {second}");
        }
        let firsts = switch.pings.kept.iter().flatten();
        let first = firsts.filter(|kept| kept.alarm != Alarm::default()).count();
        assert_eq!(first, 20_000, "each has an alarm");
    }

    #[test]
    fn phones_of_a_node_that_is_lost_are_not_asked_until_it_is_back() {
        let (mut switch, mut now) = (switch(), START);
        let elsewhere = |mut binding: Binding| {
            binding.path.node = NodeId(2);
            binding
        };
        let bindings = (0..100).map(binding).map(elsewhere).collect();
        let directory = Box::new(directory());
        let arrived = Input::Arrived { directory, bindings, live: vec![], lost: vec![] };
        switch.handle_input(START, arrived);
        let back_at = START + Duration::from_secs(100);
        assert!(asked(&mut switch, &mut now, back_at).is_empty());
        let registered = |switch: &Switch| {
            let place = switch.tenants.values().next().unwrap();
            place.registrar.iter().filter(|registered| registered.is_reachable(now)).count()
        };
        assert_eq!(registered(&switch), 100, "their silence means nothing");

        let sip = Advertised::default();
        switch.handle_input(back_at, Input::Node { node: NodeId(2), boot: 1, sip });
        let asked = asked(&mut switch, &mut now, back_at + Duration::from_secs(6));
        assert!(asked.values().sum::<usize>() >= 100);
    }

    #[test]
    fn phones_that_are_gone_are_forgotten() {
        let (mut switch, mut now) = (switch(), START);
        let bindings = (0..100).map(binding).collect();
        let directory = Box::new(directory());
        switch.handle_input(
            START,
            Input::Arrived { directory, bindings, live: vec![], lost: vec![] },
        );
        switch.handle_input(START, Input::Removed(tenant(1)));
        while switch.poll_output().is_some() {}
        let asked = asked(&mut switch, &mut now, START + Duration::from_secs(200));
        assert!(asked.is_empty());
        assert!(switch.pings.kept.iter().all(Option::is_none));
        assert_eq!((switch.pings.free.len(), switch.pings.due.len()), (100, 0));
    }

    #[test]
    fn a_question_is_written_again_in_the_same_bytes_and_answered_once() {
        let (mut switch, mut now) = (switch(), START);
        let directory = Box::new(directory());
        let bindings = vec![binding(7)];
        switch.handle_input(
            START,
            Input::Arrived { directory, bindings, live: vec![], lost: vec![] },
        );
        let mut sent = vec![];
        while sent.len() < 2 {
            now = switch.deadline().unwrap().max(now);
            switch.handle_deadline(now);
            while let Some(output) = switch.poll_output() {
                if let Output::Send { bytes, .. } = output {
                    sent.push(bytes);
                }
            }
        }
        assert_eq!(sent[0], sent[1]);
        let question = crate::sip::message::Message::parse(sent[0].clone()).unwrap();
        let branch = question.via().unwrap().branch().unwrap().to_owned();
        let key = switch.office.tokens.read(&branch).unwrap().key;
        assert!(!switch.take_answer(now, key.wrapping_add(1)), "another's");
        assert!(switch.take_answer(now, key));
        assert!(!switch.take_answer(now, key), "a repeat");
    }
}
