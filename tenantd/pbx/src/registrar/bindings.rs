//! The table of bindings: by extension, by where they came from, and by when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

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

/// All bindings of a tenant. Each is boxed: most extensions have one, and trees are sparse.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    by_user: BTreeMap<(UserId, BindingId), Box<Registered>>,
    ends: BTreeSet<(Moment, UserId, BindingId)>,
    sources: BTreeSet<(Source, UserId, BindingId)>,
    arrivals: u64,
}

/// A peer's address, packed: most are not shared, so each costs an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source([u8; 18]);

impl Bindings {
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.by_user.values().map(|registered| &**registered)
    }

    pub(super) fn of(&self, user: UserId) -> impl Iterator<Item = &Registered> {
        let (first, last) = (BindingId(uuid::Uuid::nil()), BindingId(uuid::Uuid::max()));
        self.by_user.range((user, first)..=(user, last)).map(|(_, registered)| &**registered)
    }

    pub(super) fn find(&self, user: UserId, id: BindingId) -> Option<&Registered> {
        self.by_user.get(&(user, id)).map(|registered| &**registered)
    }

    pub(super) fn knows_source(&self, peer: SocketAddr) -> bool {
        self.from(peer).next().is_some()
    }

    /// The bindings whose REGISTER came from there.
    pub(super) fn from(&self, peer: SocketAddr) -> impl Iterator<Item = (UserId, BindingId)> {
        let (first, last) = (uuid::Uuid::nil(), uuid::Uuid::max());
        let source = Source::from(peer);
        let range =
            (source, UserId(first), BindingId(first))..=(source, UserId(last), BindingId(last));
        self.sources.range(range).map(|(_, user, id)| (*user, *id))
    }

    pub(super) fn insert(&mut self, binding: Binding, standing: Standing, reach: Reach) {
        self.remove(binding.user, binding.id);
        let key = (binding.user, binding.id);
        let source = Source::from(binding.path.peer);
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
        self.ends.insert((registered.queued_at, key.0, key.1));
        self.by_user.insert(key, Box::new(registered));
        self.sources.insert((source, key.0, key.1));
    }

    pub(super) fn remove(&mut self, user: UserId, id: BindingId) -> Option<Binding> {
        let registered = self.by_user.remove(&(user, id))?;
        self.ends.remove(&(registered.queued_at, user, id));
        self.sources.remove(&(Source::from(registered.binding.path.peer), user, id));
        Some(registered.binding)
    }

    /// Changes a binding in place and keeps the other orders right. User and id stay as they are.
    pub(super) fn change<R>(
        &mut self,
        user: UserId,
        id: BindingId,
        change: impl FnOnce(&mut Registered) -> R,
    ) -> Option<R> {
        let registered = self.by_user.get_mut(&(user, id))?;
        let before = registered.binding.path.peer;
        let result = change(registered);
        let after = registered.binding.path.peer;
        // A later end needs no new place: whoever comes to the old one finds it and queues again.
        let ends_at = registered.ends_at();
        if ends_at < registered.queued_at {
            self.ends.remove(&(registered.queued_at, user, id));
            self.ends.insert((ends_at, user, id));
            registered.queued_at = ends_at;
        }
        if before != after {
            self.sources.remove(&(Source::from(before), user, id));
            self.sources.insert((Source::from(after), user, id));
        }
        Some(result)
    }

    /// When [`Self::take_ended`] is next due; it may then turn out that nothing has ended.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.ends.first().map(|(at, _, _)| *at)
    }

    /// Removes one binding that has ended by now.
    pub(super) fn take_ended(&mut self, now: Moment) -> Option<Binding> {
        while let Some((queued_at, user, id)) = self.ends.first().copied() {
            if now < queued_at {
                return None;
            }
            self.ends.pop_first();
            let Some(registered) = self.by_user.get_mut(&(user, id)) else { continue };
            let ends_at = registered.ends_at();
            if ends_at <= now {
                return self.remove(user, id);
            }
            registered.queued_at = ends_at;
            self.ends.insert((ends_at, user, id));
        }
        None
    }
}

impl From<SocketAddr> for Source {
    fn from(peer: SocketAddr) -> Self {
        let address = match peer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut packed = [0; 18];
        packed[..16].copy_from_slice(&address);
        packed[16..].copy_from_slice(&peer.port().to_be_bytes());
        Self(packed)
    }
}
