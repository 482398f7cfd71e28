//! A REGISTER: answered once what it changed is durable, or with a short expiry if that takes long.
//!
//! RFC 3261 §10.3. The phone believes the 200, so it must outlive us; a database that is slow or
//! away costs the phone nothing but an earlier refresh.

use std::collections::BTreeMap;
use std::time::Duration;

use smallvec::SmallVec;

use super::refusal::Refusal;
use super::{Arrived, Change, Due, Switch};
use crate::board::{Phone, Trouble, What};
use crate::call::desk::Desk;
use crate::flow::{Flow, Path, Peer};
use crate::id::{BindingId, RecordId, TenantId, UserId};
use crate::input::Storage;
use crate::moment::Moment;
use crate::record::{Binding, Wait};
use crate::registrar::{self, Ask, Policy, Registered, Registrar, Standing};
use crate::sip::message::Message;
use crate::sip::name::Name;
use crate::sip::nat::Reach;
use crate::sip::transaction::ServerId;
use crate::story::Event;
use crate::tenant::identify::Speaker;

/// A commit that takes longer is not waited for.
const WAIT_FOR: Duration = Duration::from_millis(300);
/// Answers that wait at once; beyond that they are given at once, with the short expiry.
const MOST_WAITING: usize = 50_000;

/// Where a user's phones were before a REGISTER, and whether their routers' doing was known.
struct Before(SmallVec<[Earlier; 2]>);

struct Earlier {
    id: BindingId,
    path: Path,
    alg: Alg,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alg {
    Unseen,
    Seen,
}

impl Before {
    fn of(registrar: &Registrar, user: UserId) -> Self {
        let earlier = |binding: &Binding| Earlier {
            id: binding.id,
            path: binding.path,
            alg: if binding.alg.is_some() { Alg::Seen } else { Alg::Unseen },
        };
        Self(registrar.of(user).map(|registered| earlier(&registered.binding)).collect())
    }
}

/// Answers that wait for a commit.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_record: BTreeMap<RecordId, Held>,
    by_age: std::collections::VecDeque<(Moment, RecordId)>,
}

/// An answer that waits.
#[derive(Debug)]
struct Held {
    tenant: TenantId,
    user: UserId,
    server: ServerId,
    flow: Flow,
    request: Message,
    bindings: Vec<BindingId>,
}

impl Waiting {
    /// How many answers wait.
    pub(super) fn len(&self) -> usize {
        self.by_record.len()
    }

    /// When the next one has waited long enough.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.by_age.front().map(|(at, _)| *at)
    }

    fn hold(&mut self, now: Moment, record: RecordId, held: Held) {
        self.by_record.insert(record, held);
        self.by_age.push_back((now + WAIT_FOR, record));
    }

    fn take(&mut self, record: RecordId) -> Option<Held> {
        let held = self.by_record.remove(&record);
        while self.by_age.front().is_some_and(|(_, r)| !self.by_record.contains_key(r)) {
            self.by_age.pop_front();
        }
        held
    }
}

impl Switch {
    pub(super) fn register(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        server: ServerId,
        request: &Message,
        speaker: Speaker,
    ) -> Result<(), Refusal> {
        let (Speaker::User(user), Flow::Net(path)) = (speaker, arrived.flow) else {
            return Err(Refusal::Forbidden);
        };
        let policy = match self.rules.storage {
            Storage::Here => self.rules.policy,
            Storage::Away => self.rules.policy.unstored(),
        };
        let Some(tenant) = self.tenants.get_mut(&arrived.tenant) else {
            return Err(Refusal::UnknownDomain);
        };
        let ask = Ask::read(request, path).map_err(Refusal::Register)?;
        let Some(who) = tenant.directory.users.get(&user) else { return Err(Refusal::Forbidden) };
        let policy = match ask.reach {
            Reach::Direct => policy,
            Reach::BehindNat => policy.behind_nat(),
        };
        let chance = &mut self.office.chance;
        let before = Before::of(&tenant.registrar, user);
        let outcome = tenant
            .registrar
            .register(now, chance, who, &policy, &ask)
            .map_err(Refusal::Register)?;
        let waits = outcome.wait() == Wait::ForCommit
            && self.rules.storage == Storage::Here
            && self.waiting.len() < MOST_WAITING;
        let bindings: Vec<BindingId> = outcome.changes.iter().map(Change::binding).collect();
        let refreshed = |change: &Change| matches!(change, Change::Refreshed(_));
        let prolonged: Vec<BindingId> =
            outcome.changes.iter().filter(|c| refreshed(c)).map(Change::binding).collect();
        let record = self.take_over(now, arrived.tenant, outcome.changes);
        self.show_refreshed(now, arrived.tenant, user, &prolonged);
        self.follow(now, arrived.tenant, user, &bindings, &before);
        let held = Held {
            tenant: arrived.tenant,
            user,
            server,
            flow: arrived.flow,
            request: request.clone(),
            bindings,
        };
        match record.filter(|_| waits) {
            Some(record) => self.waiting.hold(now, record, held),
            None => self.answer_register(now, &held),
        }
        Ok(())
    }

    /// What a phone's REGISTER means beside its registration: its way is kept open, its calls go
    /// where it is now, and what its router does is told once.
    fn follow(
        &mut self,
        now: Moment,
        tenant: TenantId,
        user: UserId,
        ids: &[BindingId],
        before: &Before,
    ) {
        for id in ids {
            let Some(place) = self.tenants.get_mut(&tenant) else { return };
            let Some(registered) = place.registrar.find(user, *id) else { continue };
            let (path, alg) = (registered.binding.path, registered.binding.alg.clone());
            let earlier = before.0.iter().find(|earlier| earlier.id == *id);
            if let Some(earlier) = earlier.filter(|earlier| earlier.path != path) {
                let (mut desk, calls) = place.desk(now, &self.elsewhere, &mut self.office);
                for line in calls.values_mut() {
                    line.call.handle_phone_moved(
                        &mut desk,
                        Flow::Net(earlier.path),
                        Flow::Net(path),
                    );
                }
            }
            self.keep_open(now, tenant, (user, *id), earlier.map(|earlier| earlier.path));
            if let Some(signs) = alg.filter(|_| earlier.is_none_or(|e| e.alg == Alg::Unseen)) {
                let (from, signs) = (path.peer.to_string(), signs.into_string());
                let event = |number| Event::SipAlg { number, from, signs };
                self.tell_of_phone(now, tenant, (user, *id), event);
            }
        }
    }

    /// A phone's INVITE may show what its router does to descriptions.
    pub(super) fn look_for_alg(
        &mut self,
        now: Moment,
        arrived: &Arrived,
        user: UserId,
        request: &Message,
    ) {
        let Some(peer) = arrived.flow.peer() else { return };
        let Some(signs) = registrar::alg(request, peer) else { return };
        let Some(place) = self.tenants.get_mut(&arrived.tenant) else { return };
        let theirs: Vec<BindingId> =
            place.registrar.from(peer).filter(|of| of.0 == user).map(|of| of.1).collect();
        for id in theirs {
            let Some(place) = self.tenants.get_mut(&arrived.tenant) else { return };
            let Some(change) = place.registrar.meddle(user, id, &signs) else { continue };
            let kept = place.registrar.find(user, id).and_then(|registered| registered.kept_by);
            self.take_over(now, arrived.tenant, vec![change]);
            let (from, signs) = (peer.to_string(), signs.to_string());
            let event = |number| Event::SipAlg { number, from, signs };
            self.tell_of_phone(now, arrived.tenant, (user, id), event);
            if kept.is_none() {
                self.keep_open(now, arrived.tenant, (user, id), None);
            }
        }
    }

    /// Remembers, shows and tells what changed about phones; the last record that is waited for.
    pub(super) fn take_over(
        &mut self,
        now: Moment,
        tenant: TenantId,
        changes: Vec<Change>,
    ) -> Option<RecordId> {
        let place = self.tenants.get_mut(&tenant)?;
        let (mut desk, _) = place.desk(now, &self.elsewhere, &mut self.office);
        let mut waited = None;
        for change in changes {
            if let Some(memory) = change.memory() {
                let id = desk.remember(memory, change.wait());
                waited = Some(id).filter(|_| change.wait() == Wait::ForCommit).or(waited);
            }
            tell(&mut desk, &change);
        }
        let deadline = place.registrar.deadline();
        self.due.set(&mut place.alarm, deadline, Due::Registrar(tenant));
        waited
    }

    /// The board shows how long phones that only stay will stay.
    fn show_refreshed(&mut self, now: Moment, tenant: TenantId, user: UserId, ids: &[BindingId]) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let (mut desk, _) = place.desk(now, &self.elsewhere, &mut self.office);
        let number = desk.tenant.users.get(&user).map(|user| user.number.clone());
        for id in ids {
            if let Some(registered) = desk.registrar.find(user, *id) {
                let phone = phone(registered, number.clone().unwrap_or_default());
                desk.show(What::Phone(*id, phone));
            }
        }
    }

    /// A record is durable: whoever waited for it is answered.
    pub(super) fn answer_kept(&mut self, now: Moment, record: RecordId) {
        if let Some(held) = self.waiting.take(record) {
            self.answer_register(now, &held);
        }
    }

    /// The database is slow: what waited too long is answered from the journal.
    pub(super) fn answer_overdue(&mut self, now: Moment) {
        while let Some((_, record)) = self.waiting.by_age.front().copied().filter(|w| w.0 <= now) {
            self.answer_unstored(now, record);
        }
    }

    /// The database is away: nobody waits for it.
    pub(super) fn answer_all_waiting(&mut self, now: Moment) {
        while let Some((_, record)) = self.waiting.by_age.front().copied() {
            self.answer_unstored(now, record);
        }
    }

    fn answer_unstored(&mut self, now: Moment, record: RecordId) {
        let Some(held) = self.waiting.take(record) else {
            self.waiting.by_age.pop_front();
            return;
        };
        if let Some(tenant) = self.tenants.get_mut(&held.tenant) {
            let longest = Policy::UNSTORED_EXPIRES;
            tenant.registrar.shorten(now, held.user, held.bindings.iter().copied(), longest);
            let deadline = tenant.registrar.deadline();
            self.due.set(&mut tenant.alarm, deadline, Due::Registrar(held.tenant));
        }
        self.answer_register(now, &held);
    }

    /// The 200, with all that is registered (RFC 3261 §10.3 step 8).
    fn answer_register(&mut self, now: Moment, held: &Held) {
        let Some(tenant) = self.tenants.get_mut(&held.tenant) else { return };
        let tag = self.office.tokens.tag(tenant.directory.route, 0).to_string();
        let mut draft = self.office.reply(&held.flow, &held.request, 200).to_tag(&tag);
        for listed in tenant.registrar.listed(now, held.user) {
            draft = draft.header(Name::Contact, listed);
        }
        for path in held.request.fields(Name::Path) {
            draft = draft.header(Name::Path, path);
        }
        self.office.transactions.respond(now, held.server, 200, draft.finish());
    }

    /// Registrations that ran out.
    pub(super) fn expire(&mut self, now: Moment, tenant: TenantId) {
        let Some(place) = self.tenants.get_mut(&tenant) else { return };
        let gone = place.registrar.handle_deadline(now);
        self.take_over(now, tenant, gone);
    }
}

fn tell(desk: &mut Desk<'_>, change: &Change) {
    let number = |user: UserId| {
        desk.tenant.users.get(&user).map(|user| user.number.clone()).unwrap_or_default()
    };
    match change {
        Change::Added(binding) | Change::Moved(binding) => {
            let event = Event::Registered {
                number: number(binding.user),
                from: binding.path.peer.to_string(),
            };
            desk.note(None, event);
            show(desk, binding, number(binding.user));
        }
        Change::Prolonged(binding) => show(desk, binding, number(binding.user)),
        Change::Refreshed(_) => {}
        Change::Removed(binding, why) => {
            let number = number(binding.user);
            desk.note(None, Event::Unregistered { number, why: *why });
            desk.show(What::PhoneGone(binding.id));
        }
    }
}

fn show(desk: &mut Desk<'_>, binding: &Binding, extension: String) {
    if let Some(registered) = desk.registrar.find(binding.user, binding.id) {
        let phone = phone(registered, extension);
        desk.show(What::Phone(binding.id, phone));
    }
}

/// What the board shows of a phone.
pub(super) fn phone(registered: &Registered, extension: String) -> Box<Phone> {
    let binding = &registered.binding;
    Box::new(Phone {
        extension: extension.into_boxed_str(),
        user_agent: binding.user_agent.as_str().into(),
        path: Peer::from(&binding.path),
        expires_at: binding.expires_at,
        trouble: match (registered.standing, &binding.alg) {
            (Standing::Silent, _) => Some(Trouble::NotAnswering),
            (_, Some(_)) => Some(Trouble::SipAlg),
            (_, None) => None,
        },
    })
}
