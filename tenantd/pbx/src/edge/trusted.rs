//! Whose network a source lies in, for phones that can name no company.
//!
//! A range that two companies trust says nothing: then nobody is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::id::TenantId;

/// The trusted ranges of all tenants. A look costs a search for each length of prefix in use.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    ranges: BTreeMap<Range, BTreeSet<TenantId>>,
    lengths: BTreeMap<(Family, u8), usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

/// A network: its length and its first bits, the others zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    family: Family,
    length: u8,
    bits: u128,
}

impl Range {
    fn of(address: IpAddr, length: u8) -> Self {
        let (family, width, bits) = match address.to_canonical() {
            IpAddr::V4(address) => (Family::V4, 32, u128::from(address.to_bits())),
            IpAddr::V6(address) => (Family::V6, 128, address.to_bits()),
        };
        let length = length.min(width);
        let host = u32::from(width - length);
        // A shift by the whole width, as a range of length 0 needs it, is none in Rust.
        let bits = bits.checked_shr(host).and_then(|bits| bits.checked_shl(host)).unwrap_or(0);
        Self { family, length, bits }
    }
}

impl Trusted {
    pub(super) fn learn(&mut self, tenant: TenantId, ranges: &[(IpAddr, u8)]) {
        for (address, length) in ranges {
            let range = Range::of(*address, *length);
            let tenants = self.ranges.entry(range).or_default();
            if tenants.is_empty() {
                *self.lengths.entry((range.family, range.length)).or_default() += 1;
            }
            tenants.insert(tenant);
        }
    }

    pub(super) fn forget(&mut self, tenant: TenantId, ranges: &[(IpAddr, u8)]) {
        for (address, length) in ranges {
            let range = Range::of(*address, *length);
            let Some(tenants) = self.ranges.get_mut(&range) else { continue };
            tenants.remove(&tenant);
            if !tenants.is_empty() {
                continue;
            }
            self.ranges.remove(&range);
            if let Some(ranges) = self.lengths.get_mut(&(range.family, range.length)) {
                *ranges -= 1;
                if *ranges == 0 {
                    self.lengths.remove(&(range.family, range.length));
                }
            }
        }
    }

    /// The only tenant that trusts this source.
    pub(super) fn only_one(&self, source: IpAddr) -> Option<TenantId> {
        let family = Range::of(source, 0).family;
        let mut found = None;
        for (_, length) in self.lengths.range((family, 0)..=(family, 128)).map(|(key, _)| *key) {
            for tenant in self.ranges.get(&Range::of(source, length)).into_iter().flatten() {
                if found.is_some_and(|found| found != *tenant) {
                    return None;
                }
                found = Some(*tenant);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn range(text: &str) -> (IpAddr, u8) {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_looked_for_in_ranges_of_every_length() {
        let mut trusted = Trusted::default();
        trusted.learn(tenant(1), &[range("192.0.2.64/26"), range("2001:db8:1::/48")]);
        trusted.learn(tenant(2), &[range("198.51.100.7/32"), range("10.1.2.3/8")]);
        assert_eq!(trusted.only_one(ip("192.0.2.64")), Some(tenant(1)));
        assert_eq!(trusted.only_one(ip("192.0.2.127")), Some(tenant(1)));
        assert_eq!(trusted.only_one(ip("192.0.2.128")), None);
        assert_eq!(trusted.only_one(ip("2001:db8:1:2::3")), Some(tenant(1)));
        assert_eq!(trusted.only_one(ip("2001:db8:2::")), None);
        assert_eq!(trusted.only_one(ip("198.51.100.7")), Some(tenant(2)));
        assert_eq!(trusted.only_one(ip("::ffff:10.9.9.9")), Some(tenant(2)));
    }

    #[test]
    fn a_source_that_two_companies_trust_is_nobodys() {
        let mut trusted = Trusted::default();
        trusted.learn(tenant(1), &[range("0.0.0.0/0")]);
        assert_eq!(trusted.only_one(ip("192.0.2.1")), Some(tenant(1)));
        trusted.learn(tenant(1), &[range("192.0.2.0/24")]);
        assert_eq!(trusted.only_one(ip("192.0.2.1")), Some(tenant(1)), "twice the same");
        trusted.learn(tenant(2), &[range("192.0.2.0/24")]);
        assert_eq!(trusted.only_one(ip("192.0.2.1")), None);
        assert_eq!(trusted.only_one(ip("192.0.3.1")), Some(tenant(1)));
        trusted.forget(tenant(1), &[range("0.0.0.0/0"), range("192.0.2.0/24")]);
        assert_eq!(trusted.only_one(ip("192.0.2.1")), Some(tenant(2)));
        trusted.forget(tenant(2), &[range("192.0.2.0/24")]);
        assert_eq!(trusted.only_one(ip("192.0.2.1")), None);
        assert!(trusted.ranges.is_empty() && trusted.lengths.is_empty());
    }
}
