//! Whose phone is where, as far as the door saw them register: so that what only keeps a way open is
//! told to the tenant whose way it is.
//!
//! RFC 5626 §3.5. Nothing depends on it: who is forgotten here is asked by us instead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::Packed;
use crate::id::TenantId;
use crate::moment::Moment;

/// Phones in one generation; two are remembered, and the older is forgotten when the newer is full.
const MOST: usize = 65_536;

/// A tenant is told of the same phone no more often.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Where phones are. There are very many, and each lane's door knows its own, so an entry is small:
/// a packed address, a number that stands for the tenant, and a second.
#[derive(Debug, Default)]
pub(super) struct Sources {
    newer: BTreeMap<Packed, Source>,
    older: BTreeMap<Packed, Source>,
    /// By number; as many as the door ever served.
    tenants: Vec<TenantId>,
    numbers: BTreeMap<TenantId, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    tenant: u32,
    /// Seconds.
    told_at: u32,
}

impl Sources {
    /// A phone of this tenant registers from there.
    pub(super) fn learn(&mut self, peer: SocketAddr, tenant: TenantId) {
        let (peer, tenant) = (Packed::from(peer), self.number(tenant));
        match self.newer.get(&peer) {
            Some(source) if source.tenant == tenant => {}
            Some(_) | None => self.keep(peer, Source { tenant, told_at: 0 }),
        }
    }

    /// Something came from there that keeps a way open: whom to tell, if it is time to.
    pub(super) fn hear(&mut self, now: Moment, peer: SocketAddr) -> Option<TenantId> {
        let peer = Packed::from(peer);
        let source = self.newer.get(&peer).or_else(|| self.older.get(&peer)).copied()?;
        let now = u32::try_from(now.as_millis() / 1_000).unwrap_or(u32::MAX);
        if u64::from(now.saturating_sub(source.told_at)) < TOLD_EVERY.as_secs() {
            return None;
        }
        self.keep(peer, Source { told_at: now, ..source });
        self.tenants.get(usize::try_from(source.tenant).ok()?).copied()
    }

    fn keep(&mut self, peer: Packed, source: Source) {
        if self.newer.len() >= MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(peer, source);
    }

    fn number(&mut self, tenant: TenantId) -> u32 {
        *self.numbers.entry(tenant).or_insert_with(|| {
            self.tenants.push(tenant);
            u32::try_from(self.tenants.len() - 1).expect("memory ends before numbers do")
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const START: Moment = Moment::from_secs(1_000);

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn peer(number: u32) -> SocketAddr {
        SocketAddr::from((number.to_be_bytes(), 5060))
    }

    #[test]
    fn a_tenant_is_told_of_its_phone_now_and_then() {
        let mut sources = Sources::default();
        assert_eq!(sources.hear(START, peer(1)), None);
        sources.learn(peer(1), tenant(1));
        let told: Vec<u64> = (0..60)
            .filter(|s| sources.hear(START + Duration::from_secs(*s), peer(1)) == Some(tenant(1)))
            .collect();
        assert_eq!(told, [0, 15, 30, 45]);
        sources.learn(peer(1), tenant(2));
        assert_eq!(sources.hear(START, peer(1)), Some(tenant(2)), "it registered elsewhere");
    }

    #[test]
    fn strangers_who_fill_the_table_push_out_who_was_not_heard_of_for_longest() {
        let mut sources = Sources::default();
        let most = u32::try_from(MOST).unwrap();
        for number in 0..most * 2 {
            sources.learn(peer(number), tenant(1));
            if number % 1_000 == 0 {
                let now = START + Duration::from_secs(u64::from(number / 50));
                sources.hear(now, peer(0));
            }
        }
        assert!(sources.newer.len() <= MOST && sources.older.len() <= MOST);
        let later = START + Duration::from_secs(9_999);
        assert_eq!(sources.hear(later, peer(0)), Some(tenant(1)));
        sources.learn(peer(most * 2), tenant(1));
        assert_eq!(sources.hear(later, peer(1)), None);
    }
}
