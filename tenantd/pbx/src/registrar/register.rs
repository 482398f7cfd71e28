//! Carrying out a REGISTER: all of it, or nothing.
//!
//! RFC 3261 §10.3.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::ask::{Ask, Asked, AskedContact};
use super::bindings::{Bindings, Registered, Standing};
use super::change::{Change, Outcome};
use super::policy::Policy;
use super::refusal::Refusal;
use super::same::{Purpose, matched};
use crate::chance::Chance;
use crate::id::{BindingId, UserId};
use crate::moment::Moment;
use crate::record::Binding;
use crate::sip::flaw::Flaw;
use crate::sip::nat::Reach;
use crate::story::Unregistered;
use crate::tenant::directory::User;

/// How long after its expiry a stored binding is still worth a probe.
pub const HORIZON: Duration = Duration::from_secs(15 * 60);

/// Bindings that end are told in portions, so that no other tenant waits for a large one.
const ENDED_AT_ONCE: usize = 256;

/// Where the phones of one tenant are.
///
/// Its size is bounded by the configuration: extensions times `max_contacts`.
#[derive(Debug, Default)]
pub struct Registrar {
    pub(super) bindings: Bindings,
}

/// A contact that is asked for, what it is granted, and the binding it is about.
struct Wish<'a> {
    contact: &'a AskedContact<'a>,
    granted: Duration,
    known: Option<BindingId>,
}

/// Whether a REGISTER came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    First,
    Again,
}

impl Registrar {
    /// Carries out what `user` asks for.
    pub fn register(
        &mut self,
        now: Moment,
        chance: &mut Chance,
        user: &User,
        policy: &Policy,
        ask: &Ask<'_>,
    ) -> Result<Outcome, Refusal> {
        match &ask.contacts {
            Asked::Nothing => Ok(Outcome::default()),
            Asked::Everything => self.remove_all(now, user.id, ask),
            Asked::These(contacts) => {
                let wishes = self.wishes(user.id, policy, ask, contacts)?;
                if self.arrival(now, user.id, ask, &wishes)? == Arrival::Again {
                    return Ok(Outcome::default());
                }
                Ok(self.carry_out(now, chance, user, ask, &wishes))
            }
        }
    }

    /// The bindings of `user` that may be called: the most preferred first, then the newest.
    pub fn contacts_of(&self, now: Moment, user: UserId) -> impl Iterator<Item = &Binding> {
        let mut reachable: SmallVec<[&Registered; 4]> =
            self.bindings.of(user).filter(|registered| registered.is_reachable(now)).collect();
        reachable.sort_by_key(|registered| {
            (std::cmp::Reverse(registered.binding.q), std::cmp::Reverse(registered.arrival))
        });
        reachable.into_iter().map(|registered| &registered.binding)
    }

    /// All bindings of `user`, reachable or not.
    pub fn of(&self, user: UserId) -> impl Iterator<Item = &Registered> {
        self.bindings.of(user)
    }

    /// One binding, reachable or not.
    pub fn find(&self, user: UserId, id: BindingId) -> Option<&Registered> {
        self.bindings.find(user, id)
    }

    /// All bindings, by extension.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.bindings.iter()
    }

    /// Whether some phone of the tenant registered from there.
    pub fn knows_source(&self, peer: SocketAddr) -> bool {
        self.bindings.knows_source(peer)
    }

    /// The bindings whose REGISTER came from there.
    pub fn from(&self, peer: SocketAddr) -> impl Iterator<Item = (UserId, BindingId)> {
        self.bindings.from(peer)
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.bindings.len() == 0
    }

    /// What was registered could not be stored in time: the phone shall come back within `longest`.
    pub fn shorten(
        &mut self,
        now: Moment,
        user: UserId,
        ids: impl IntoIterator<Item = BindingId>,
        longest: Duration,
    ) {
        for id in ids {
            self.bindings.change(user, id, |registered| {
                let binding = &mut registered.binding;
                binding.expires_at = binding.expires_at.min(now + longest);
            });
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Option<Moment> {
        self.bindings.deadline()
    }

    /// Bindings that have ended; if there are very many, some of them.
    pub fn handle_deadline(&mut self, now: Moment) -> Vec<Change> {
        let ended = std::iter::from_fn(|| self.bindings.take_ended(now));
        ended
            .take(ENDED_AT_ONCE)
            .map(|binding| Change::Removed(Box::new(binding), Unregistered::Expired))
            .collect()
    }

    pub(super) fn remove(
        &mut self,
        user: UserId,
        id: BindingId,
        why: Unregistered,
    ) -> Option<Change> {
        let binding = self.bindings.remove(user, id)?;
        Some(Change::Removed(Box::new(binding), why))
    }

    fn remove_all(&mut self, now: Moment, user: UserId, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
        if ask.expires != Some(0) {
            return Err(Flaw::wrong("Contact", "* without Expires: 0").into());
        }
        let mut ids: SmallVec<[BindingId; 4]> = SmallVec::new();
        for registered in self.bindings.of(user) {
            if order(now, registered, ask)? == Arrival::Again {
                return Ok(Outcome::default());
            }
            ids.push(registered.binding.id);
        }
        let removed = ids.into_iter().filter_map(|id| self.remove(user, id, Unregistered::ByPhone));
        Ok(Outcome { changes: removed.collect() })
    }

    fn wishes<'a>(
        &self,
        user: UserId,
        policy: &Policy,
        ask: &Ask<'_>,
        contacts: &'a [AskedContact<'a>],
    ) -> Result<SmallVec<[Wish<'a>; 1]>, Refusal> {
        let mut wishes: SmallVec<[Wish<'a>; 1]> = SmallVec::new();
        for contact in contacts {
            let granted = policy.grant(contact.expires.or(ask.expires))?;
            wishes.push(Wish { contact, granted, known: None });
        }
        let purposes: SmallVec<[_; 1]> =
            wishes.iter().map(|wish| (wish.contact, wish.purpose())).collect();
        let known = self.bindings.of(user).map(|registered| &registered.binding);
        let found = matched(ask, &purposes, known);
        for (wish, known) in wishes.iter_mut().zip(found) {
            wish.known = known;
        }
        Ok(wishes)
    }

    fn arrival(
        &self,
        now: Moment,
        user: UserId,
        ask: &Ask<'_>,
        wishes: &[Wish<'_>],
    ) -> Result<Arrival, Refusal> {
        let known = wishes.iter().filter_map(|wish| self.bindings.find(user, wish.known?));
        let mut arrival = Arrival::First;
        for registered in known {
            match order(now, registered, ask)? {
                Arrival::First => {}
                Arrival::Again => arrival = Arrival::Again,
            }
        }
        Ok(arrival)
    }

    /// From here on nothing can fail.
    fn carry_out(
        &mut self,
        now: Moment,
        chance: &mut Chance,
        user: &User,
        ask: &Ask<'_>,
        wishes: &[Wish<'_>],
    ) -> Outcome {
        let mut changes = Vec::with_capacity(wishes.len());
        for wish in wishes.iter().filter(|wish| wish.purpose() == Purpose::Remove) {
            let removed = wish.known.and_then(|id| self.remove(user.id, id, Unregistered::ByPhone));
            changes.extend(removed);
        }
        let chosen = chosen(user, wishes);
        let stay: SmallVec<[BindingId; 4]> = chosen.iter().filter_map(|wish| wish.known).collect();
        let room = usize::from(user.max_contacts.max(1)).saturating_sub(chosen.len());
        changes.extend(self.make_room(now, user.id, &stay, room));
        for wish in chosen {
            let change = match wish.known {
                Some(id) => self
                    .bindings
                    .change(user.id, id, |registered| renew(now, registered, ask, wish)),
                None => Some(self.add(now, chance, user.id, ask, wish)),
            };
            changes.extend(change);
        }
        Outcome { changes }
    }

    /// Lets go of all but `room` of the bindings that are not to stay anyway: doubtful ones first,
    /// then the oldest. What has ended already is in nobody's way.
    pub(super) fn make_room(
        &mut self,
        now: Moment,
        user: UserId,
        stay: &[BindingId],
        room: usize,
    ) -> Vec<Change> {
        let mut others: SmallVec<[(bool, u64, BindingId); 4]> = self
            .bindings
            .of(user)
            .filter(|other| now < other.ends_at() && !stay.contains(&other.binding.id))
            .map(|other| (other.is_reachable(now), other.arrival, other.binding.id))
            .collect();
        others.sort_unstable();
        others.truncate(others.len().saturating_sub(room));
        let replaced = others.into_iter().map(|(_, _, id)| id);
        replaced.filter_map(|id| self.remove(user, id, Unregistered::Replaced)).collect()
    }

    fn add(
        &mut self,
        now: Moment,
        chance: &mut Chance,
        user: UserId,
        ask: &Ask<'_>,
        wish: &Wish<'_>,
    ) -> Change {
        let contact = wish.contact;
        let expires_at = now + wish.granted;
        let binding = Binding {
            id: BindingId(chance.uuid(now)),
            user,
            contact: contact.uri.to_owned(),
            instance: contact.instance.as_deref().map(str::to_owned),
            reg_id: contact.reg_id,
            call_id: ask.call_id.to_owned(),
            cseq: ask.cseq,
            q: contact.q,
            path: ask.path,
            route: ask.route.clone(),
            user_agent: ask.user_agent.to_owned(),
            expires_at,
            horizon: expires_at + HORIZON,
            alg: ask.alg.clone(),
        };
        self.bindings.insert(binding.clone(), Standing::Reachable, ask.reach);
        Change::Added(Box::new(binding))
    }
}

impl Wish<'_> {
    fn purpose(&self) -> Purpose {
        if self.granted.is_zero() { Purpose::Remove } else { Purpose::Keep }
    }
}

/// The contacts that are kept: if one REGISTER brings more than the extension may have, those it
/// prefers.
fn chosen<'a>(user: &User, wishes: &'a [Wish<'a>]) -> SmallVec<[&'a Wish<'a>; 1]> {
    let mut chosen: SmallVec<[&Wish<'_>; 1]> =
        wishes.iter().filter(|wish| wish.purpose() == Purpose::Keep).collect();
    if chosen.len() > usize::from(user.max_contacts.max(1)) {
        chosen.sort_by_key(|wish| std::cmp::Reverse(wish.contact.q));
        chosen.truncate(usize::from(user.max_contacts.max(1)));
    }
    chosen
}

/// Whether a REGISTER is news to this binding; what is older than what is known is refused.
fn order(now: Moment, registered: &Registered, ask: &Ask<'_>) -> Result<Arrival, Refusal> {
    let binding = &registered.binding;
    if !registered.is_reachable(now) || binding.call_id != ask.call_id || binding.cseq < ask.cseq {
        Ok(Arrival::First)
    } else if binding.cseq == ask.cseq {
        Ok(Arrival::Again)
    } else {
        Err(Refusal::OutOfOrder)
    }
}

/// Takes over what the phone says now. Only what matters for calling it, or for finding it after a
/// crash, must be stored.
fn renew(now: Moment, registered: &mut Registered, ask: &Ask<'_>, wish: &Wish<'_>) -> Change {
    let contact = wish.contact;
    let binding = &mut registered.binding;
    registered.standing = Standing::Reachable;
    binding.expires_at = now + wish.granted;
    binding.cseq = ask.cseq;
    replace(&mut binding.call_id, ask.call_id);
    if ask.reach == Reach::BehindNat {
        registered.reach = Reach::BehindNat;
    }
    let mut is_otherwise_known = replace(&mut binding.user_agent, ask.user_agent);

    let instance = contact.instance.as_deref();
    let is_moved = binding.contact != contact.uri
        || binding.instance.as_deref() != instance
        || (binding.reg_id, binding.q) != (contact.reg_id, contact.q)
        || (binding.path, &binding.route) != (ask.path, &ask.route);
    // What a router did was seen where the phone was; a REGISTER need not show it each time.
    if binding.alg != ask.alg && (is_moved || binding.alg.is_none()) {
        binding.alg.clone_from(&ask.alg);
        is_otherwise_known = true;
    }
    if is_moved {
        replace(&mut binding.contact, contact.uri);
        binding.instance = instance.map(str::to_owned);
        (binding.reg_id, binding.q) = (contact.reg_id, contact.q);
        (binding.path, binding.route) = (ask.path, ask.route.clone());
    } else if !is_otherwise_known && binding.expires_at <= binding.horizon {
        return Change::Refreshed(binding.id);
    }
    binding.horizon = binding.expires_at + HORIZON;
    let stored = Box::new(binding.clone());
    if is_moved { Change::Moved(stored) } else { Change::Prolonged(stored) }
}

/// Replaces a text without allocating when it is the same; says whether it was not.
fn replace(text: &mut String, by: &str) -> bool {
    let is_other = text != by;
    if is_other {
        *text = by.to_owned();
    }
    is_other
}
