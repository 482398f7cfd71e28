//! The table of bindings: by extension, by where they came from, and by when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

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

/// All bindings of a tenant. Each has a slot, by whose number the orders know it: a number is a
/// tenth of what names a binding, and each order would hold one.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// Boxed: most extensions have one, and what grows by doubling is half empty.
    slots: Vec<Option<Box<Registered>>>,
    free: Vec<Slot>,
    by_user: BTreeMap<(UserId, BindingId), Slot>,
    ends: BTreeSet<(Moment, Slot)>,
    sources: BTreeSet<(Packed, Slot)>,
    arrivals: u64,
}

/// A place among the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot(u32);

impl Bindings {
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.by_user.values().filter_map(|slot| self.at(*slot))
    }

    pub(super) fn of(&self, user: UserId) -> impl Iterator<Item = &Registered> {
        let (first, last) = (BindingId(uuid::Uuid::nil()), BindingId(uuid::Uuid::max()));
        let slots = self.by_user.range((user, first)..=(user, last));
        slots.filter_map(|(_, slot)| self.at(*slot))
    }

    pub(super) fn find(&self, user: UserId, id: BindingId) -> Option<&Registered> {
        self.at(*self.by_user.get(&(user, id))?)
    }

    pub(super) fn knows_source(&self, peer: SocketAddr) -> bool {
        self.from(peer).next().is_some()
    }

    /// The bindings whose REGISTER came from there.
    pub(super) fn from(&self, peer: SocketAddr) -> impl Iterator<Item = (UserId, BindingId)> {
        let source = Packed::from(peer);
        let theirs = self.sources.range((source, Slot(0))..=(source, Slot(u32::MAX)));
        let registered = theirs.filter_map(|(_, slot)| self.at(*slot));
        registered.map(|registered| (registered.binding.user, registered.binding.id))
    }

    pub(super) fn insert(&mut self, binding: Binding, standing: Standing, reach: Reach) {
        self.remove(binding.user, binding.id);
        let key = (binding.user, binding.id);
        let source = Packed::from(binding.path.peer);
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
        self.by_user.insert(key, slot);
        self.sources.insert((source, slot));
    }

    pub(super) fn remove(&mut self, user: UserId, id: BindingId) -> Option<Binding> {
        let slot = self.by_user.remove(&(user, id))?;
        let registered = self.slots.get_mut(slot.place())?.take()?;
        self.free.push(slot);
        self.ends.remove(&(registered.queued_at, slot));
        self.sources.remove(&(Packed::from(registered.binding.path.peer), slot));
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
        let slot = *self.by_user.get(&(user, id))?;
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
            self.sources.remove(&(Packed::from(before), slot));
            self.sources.insert((Packed::from(after), slot));
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
