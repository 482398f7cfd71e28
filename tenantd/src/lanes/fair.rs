//! Who is served next: tenants in turn, so that a storm costs its own tenant first.
//!
//! Pieces of what is under way and new requests wait apart. They are served alternately while
//! there is room, and new ones rarely while it is crowded: what was begun shall end well. When
//! there is no room at all, the tenant that waits with most loses its newest.

use std::collections::{HashMap, VecDeque};

use pbx::id::TenantId;
use pbx::input::Placement;

use super::inbox::Mail;

/// A tenant's messages served before the next tenant's turn.
const QUOTA: u32 = 8;

/// While it is crowded, a new request is served after so many others.
const RARELY: u32 = 8;

/// Messages of all tenants of a lane.
#[derive(Debug)]
pub struct Fair {
    known: Rota,
    new: Rota,
    limit: usize,
    since_new: u32,
}

impl Fair {
    /// Room for `limit` messages.
    pub fn new(limit: usize) -> Self {
        Self { known: Rota::default(), new: Rota::default(), limit, since_new: 0 }
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.known.len + self.new.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a message in; what has to go for it comes back, at worst itself.
    pub fn push(&mut self, mail: Mail) -> Option<Mail> {
        let crowd = self.len() >= self.limit;
        match mail.by {
            Placement::Known | Placement::Inner => {
                let out = match crowd {
                    false => None,
                    true if self.new.len > 0 => self.new.drop_newest_of_longest(),
                    true if self.known.longest() == Some(mail.tenant) => return Some(mail),
                    true => self.known.drop_newest_of_longest(),
                };
                self.known.push(mail);
                out
            }
            Placement::Domain | Placement::From => {
                let out = match crowd {
                    false => None,
                    true if self.new.is_longest(mail.tenant) => return Some(mail),
                    true => self.new.drop_newest_of_longest(),
                };
                self.new.push(mail);
                out
            }
        }
    }

    /// Takes out whose turn it is.
    pub fn take(&mut self) -> Option<Mail> {
        let crowded = self.len() > self.limit / 2;
        let patience = if crowded { RARELY } else { 1 };
        let new_first = self.since_new >= patience;
        self.since_new = if new_first { 0 } else { self.since_new + 1 };
        match new_first {
            true => self.new.take().or_else(|| self.known.take()),
            false => self.known.take().or_else(|| self.new.take()),
        }
    }
}

/// Tenants in turn.
#[derive(Debug, Default)]
struct Rota {
    waiting: HashMap<TenantId, VecDeque<Mail>>,
    turns: VecDeque<TenantId>,
    served: u32,
    len: usize,
}

impl Rota {
    fn push(&mut self, mail: Mail) {
        let tenant = mail.tenant;
        let queue = self.waiting.entry(tenant).or_default();
        if queue.is_empty() {
            self.turns.push_back(tenant);
        }
        queue.push_back(mail);
        self.len += 1;
    }

    fn take(&mut self) -> Option<Mail> {
        let tenant = *self.turns.front()?;
        let queue = self.waiting.get_mut(&tenant)?;
        let mail = queue.pop_front()?;
        self.len -= 1;
        self.served += 1;
        if queue.is_empty() {
            // Its room goes with it: a storm long ago shall hold no memory.
            self.waiting.remove(&tenant);
            self.turns.pop_front();
            self.served = 0;
        } else if self.served >= QUOTA {
            self.turns.rotate_left(1);
            self.served = 0;
        }
        Some(mail)
    }

    fn waits_with(&self, tenant: TenantId) -> usize {
        self.waiting.get(&tenant).map_or(0, VecDeque::len)
    }

    fn longest(&self) -> Option<TenantId> {
        self.turns.iter().copied().max_by_key(|tenant| self.waits_with(*tenant))
    }

    /// Whether nobody waits with more than `tenant`.
    fn is_longest(&self, tenant: TenantId) -> bool {
        self.longest().is_none_or(|longest| self.waits_with(tenant) >= self.waits_with(longest))
    }

    fn drop_newest_of_longest(&mut self) -> Option<Mail> {
        let tenant = self.longest()?;
        let queue = self.waiting.get_mut(&tenant)?;
        let mail = queue.pop_back()?;
        self.len -= 1;
        if queue.is_empty() {
            self.waiting.remove(&tenant);
            if self.turns.front() == Some(&tenant) {
                self.served = 0;
            }
            self.turns.retain(|other| *other != tenant);
        }
        Some(mail)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pbx::flow::{Flow, InnerPath};
    use pbx::sip::message::Message;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_storm_of_one_tenant_delays_another_by_one_quota() {
        let mut fair = Fair::new(1_000);
        (0..500).for_each(|_| assert!(fair.push(mail(1, Placement::Domain)).is_none()));
        assert!(fair.push(mail(2, Placement::Domain)).is_none());
        let order: Vec<_> = std::iter::from_fn(|| fair.take()).map(|mail| mail.tenant).collect();
        assert_eq!(order.len(), 501);
        assert_eq!(order.iter().position(|t| *t == tenant(2)), Some(QUOTA as usize));
    }

    #[test]
    fn when_there_is_no_room_the_storm_loses_and_not_the_others() {
        let mut fair = Fair::new(100);
        (0..100).for_each(|_| assert!(fair.push(mail(1, Placement::Domain)).is_none()));
        for _ in 0..10 {
            assert_eq!(fair.push(mail(1, Placement::Domain)).unwrap().tenant, tenant(1));
            assert_eq!(fair.push(mail(2, Placement::From)).unwrap().tenant, tenant(1));
            assert_eq!(fair.push(mail(3, Placement::Known)).unwrap().tenant, tenant(1));
        }
        assert_eq!(fair.len(), 100);
        let of = |fair: &Fair, number| fair.new.waits_with(tenant(number));
        assert_eq!((of(&fair, 1), of(&fair, 2)), (80, 10));
    }

    #[test]
    fn a_storm_of_known_messages_loses_to_another_tenants_known_one() {
        let mut fair = Fair::new(10);
        (0..10).for_each(|_| assert!(fair.push(mail(1, Placement::Known)).is_none()));
        assert_eq!(fair.push(mail(1, Placement::Known)).unwrap().tenant, tenant(1));
        assert_eq!(fair.push(mail(2, Placement::Inner)).unwrap().tenant, tenant(1));
        // New work never displaces what is under way.
        assert_eq!(fair.push(mail(3, Placement::Domain)).unwrap().tenant, tenant(3));
    }

    #[test]
    fn what_is_under_way_goes_first_in_a_crowd_yet_new_requests_never_starve() {
        let mut fair = Fair::new(100);
        for _ in 0..40 {
            fair.push(mail(1, Placement::Domain));
            fair.push(mail(1, Placement::Known));
        }
        let first: Vec<_> = (0..27).filter_map(|_| fair.take()).map(|mail| mail.by).collect();
        let new = first.iter().filter(|by| **by == Placement::Domain).count();
        assert_eq!(new, 3);
        // No longer crowded: alternately.
        let then: Vec<_> = (0..20).filter_map(|_| fair.take()).map(|mail| mail.by).collect();
        assert!(then.iter().filter(|by| **by == Placement::Domain).count() >= 8);
    }

    #[test]
    fn one_tenants_messages_keep_their_order_and_leave_no_room_behind() {
        let mut fair = Fair::new(100);
        for number in 0..30 {
            let mut mail = mail(1, Placement::Domain);
            mail.flow = inner(number);
            fair.push(mail);
        }
        let flows: Vec<_> = std::iter::from_fn(|| fair.take()).map(|mail| mail.flow).collect();
        assert_eq!(flows, (0..30).map(inner).collect::<Vec<_>>());
        assert!(fair.is_empty() && fair.new.waiting.is_empty() && fair.new.turns.is_empty());
        assert!(fair.take().is_none());
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn inner(number: u128) -> Flow {
        Flow::Inner(InnerPath { here: tenant(number), there: tenant(number) })
    }

    fn mail(number: u128, by: Placement) -> Mail {
        let text = "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@x>\
                    ;tag=1\r\nTo: <sip:x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let message = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
        Mail { tenant: tenant(number), by, flow: inner(number), message }
    }
}
