//! The table of bindings: by extension, by where they came from, and by when they end.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use siphasher::sip::SipHasher13;

use crate::flow::Packed;
use crate::id::{BindingId, UserId};
use crate::moment::Moment;
use crate::record::Binding;
use crate::sip::nat::Reach;

/// A binding in memory.
#[derive(Debug)]
pub struct Registered {
    /// What is known of it. `horizon` is that of the stored row.
    pub binding: Binding,
    /// Whether it may be called.
    pub standing: Standing,
    /// Whether a router was ever seen in between. Phones that learn their public address from our
    /// answers write it into later REGISTERs, and the router is still there.
    pub reach: Reach,
    /// Who keeps its way open, as the switch numbers them.
    pub kept_by: Option<u32>,
    /// Phones that came earlier have smaller numbers.
    pub(super) arrival: u64,
    /// Its place in the queue of ends; never later than its end.
    queued_at: Moment,
}

/// Whether a binding may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Until it expires.
    Reachable,
    /// It was remembered over a restart and has expired since, but a refresh may not have been
    /// stored: it is called only after it has answered a probe.
    Doubtful,
    /// Its connection is gone, and only the phone can make another: it is called again when it has
    /// come back (RFC 5626 §4.3).
    Dormant,
    /// It answered OPTIONS before and no longer does: it is asked on, and called again as soon as it
    /// answers or registers.
    Silent,
}

impl Registered {
    /// When it is forgotten.
    pub fn ends_at(&self) -> Moment {
        match self.standing {
            Standing::Reachable | Standing::Dormant | Standing::Silent => self.binding.expires_at,
            Standing::Doubtful => self.binding.horizon,
        }
    }

    /// Whether it may be called now.
    pub fn is_reachable(&self, now: Moment) -> bool {
        match self.standing {
            Standing::Reachable => now < self.binding.expires_at,
            Standing::Doubtful | Standing::Dormant | Standing::Silent => false,
        }
    }
}

/// All bindings of a tenant. Each has a slot, by whose number the orders know it, and of what they
/// are ordered by they hold a mark: whole, it would be most of their memory.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// Boxed: most extensions have one, and what grows by doubling is half empty.
    slots: Vec<Option<Box<Registered>>>,
    free: Vec<Slot>,
    by_user: BTreeSet<(Mark, Slot)>,
    ends: BTreeSet<(Moment, Slot)>,
    sources: BTreeSet<(Mark, Slot)>,
    arrivals: u64,
}

/// A place among the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot(u32);

/// Stands for something larger in an order. Two things may have the same: what a mark leads to is
/// looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark(u32);

impl Mark {
    fn of_user(user: UserId) -> Self {
        Self::of(user)
    }

    fn of_source(peer: SocketAddr) -> Self {
        Self::of(Packed::from(peer))
    }

    fn of(what: impl Hash) -> Self {
        Self(BuildHasherDefault::<SipHasher13>::default().hash_one(what) as u32)
    }

    /// Where all that has it lies in an order.
    fn range(self) -> RangeInclusive<(Self, Slot)> {
        (self, Slot(0))..=(self, Slot(u32::MAX))
    }
}

impl Bindings {
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.by_user.iter().filter_map(|(_, slot)| self.at(*slot))
    }

    pub(super) fn of(&self, user: UserId) -> impl Iterator<Item = &Registered> {
        let marked = self.by_user.range(Mark::of_user(user).range());
        let registered = marked.filter_map(|(_, slot)| self.at(*slot));
        registered.filter(move |registered| registered.binding.user == user)
    }

    pub(super) fn find(&self, user: UserId, id: BindingId) -> Option<&Registered> {
        self.at(self.slot_of(user, id)?)
    }

    fn slot_of(&self, user: UserId, id: BindingId) -> Option<Slot> {
        let mut marked = self.by_user.range(Mark::of_user(user).range()).map(|(_, slot)| *slot);
        let is_it = |binding: &Binding| binding.id == id && binding.user == user;
        marked.find(|slot| self.at(*slot).is_some_and(|at| is_it(&at.binding)))
    }

    pub(super) fn knows_source(&self, peer: SocketAddr) -> bool {
        self.from(peer).next().is_some()
    }

    /// The bindings whose REGISTER came from there.
    pub(super) fn from(&self, peer: SocketAddr) -> impl Iterator<Item = (UserId, BindingId)> {
        let marked = self.sources.range(Mark::of_source(peer).range());
        let bindings = marked.filter_map(|(_, slot)| Some(&self.at(*slot)?.binding));
        let source = Packed::from(peer);
        let theirs = bindings.filter(move |binding| Packed::from(binding.path.peer) == source);
        theirs.map(|binding| (binding.user, binding.id))
    }

    pub(super) fn insert(&mut self, binding: Binding, standing: Standing, reach: Reach) {
        self.remove(binding.user, binding.id);
        let (user, source) = (Mark::of_user(binding.user), Mark::of_source(binding.path.peer));
        self.arrivals += 1;
        let mut registered = Registered {
            binding,
            standing,
            reach,
            kept_by: None,
            arrival: self.arrivals,
            queued_at: Moment::EPOCH,
        };
        registered.queued_at = registered.ends_at();
        let queued_at = registered.queued_at;
        let slot = self.keep(registered);
        self.ends.insert((queued_at, slot));
        self.by_user.insert((user, slot));
        self.sources.insert((source, slot));
    }

    pub(super) fn remove(&mut self, user: UserId, id: BindingId) -> Option<Binding> {
        let slot = self.slot_of(user, id)?;
        self.by_user.remove(&(Mark::of_user(user), slot));
        let registered = self.slots.get_mut(slot.place())?.take()?;
        self.free.push(slot);
        self.ends.remove(&(registered.queued_at, slot));
        self.sources.remove(&(Mark::of_source(registered.binding.path.peer), slot));
        if self.by_user.is_empty() {
            // What a storm needed is given back.
            *self = Self { arrivals: self.arrivals, ..Self::default() };
        }
        Some(registered.binding)
    }

    /// Changes a binding in place and keeps the other orders right. User and id stay as they are.
    pub(super) fn change<R>(
        &mut self,
        user: UserId,
        id: BindingId,
        change: impl FnOnce(&mut Registered) -> R,
    ) -> Option<R> {
        let slot = self.slot_of(user, id)?;
        let registered = self.slots.get_mut(slot.place())?.as_mut()?;
        let before = registered.binding.path.peer;
        let result = change(registered);
        let after = registered.binding.path.peer;
        // A later end needs no new place: whoever comes to the old one finds it and queues again.
        let ends_at = registered.ends_at();
        if ends_at < registered.queued_at {
            self.ends.remove(&(registered.queued_at, slot));
            self.ends.insert((ends_at, slot));
            registered.queued_at = ends_at;
        }
        if before != after {
            self.sources.remove(&(Mark::of_source(before), slot));
            self.sources.insert((Mark::of_source(after), slot));
        }
        Some(result)
    }

    /// When [`Self::take_ended`] is next due; it may then turn out that nothing has ended.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Removes one binding that has ended by now.
    pub(super) fn take_ended(&mut self, now: Moment) -> Option<Binding> {
        while let Some((queued_at, slot)) = self.ends.first().copied() {
            if now < queued_at {
                return None;
            }
            self.ends.pop_first();
            let Some(registered) = self.slots.get_mut(slot.place()).and_then(Option::as_mut) else {
                continue;
            };
            let ends_at = registered.ends_at();
            if ends_at <= now {
                let (user, id) = (registered.binding.user, registered.binding.id);
                return self.remove(user, id);
            }
            registered.queued_at = ends_at;
            self.ends.insert((ends_at, slot));
        }
        None
    }

    fn at(&self, slot: Slot) -> Option<&Registered> {
        self.slots.get(slot.place())?.as_deref()
    }

    /// Puts it into a slot that is free, or into a new one.
    fn keep(&mut self, registered: Registered) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            let number = u32::try_from(self.slots.len()).expect("memory ends before numbers do");
            self.slots.push(None);
            Slot(number)
        });
        if let Some(place) = self.slots.get_mut(slot.place()) {
            *place = Some(Box::new(registered));
        }
        slot
    }
}

impl Slot {
    fn place(self) -> usize {
        self.0 as usize
    }
}
