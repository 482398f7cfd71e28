//! Ports that are open already and wait for any call: whoever opens a side claims one and knows its
//! number at once, without waking the thread of sound and being woken by it.
//!
//! A worker offers pairs of its [spare ones](crate::spare) that are at rest, and hears of a claim by
//! the wish that follows it. Each pair is either here or claimed, and the lock decides.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one worker offers, the oldest first; [`spare`](crate::spare) says how many.
#[derive(Debug, Default)]
pub(crate) struct Stock(Mutex<Vec<Offered>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offered {
    local: IpAddr,
    port: u16,
}

impl Stock {
    /// Offers a pair that is open on this address.
    pub(crate) fn offer(&self, local: IpAddr, port: u16) {
        self.lock().push(Offered { local, port });
    }

    /// Takes a pair on this address for a side.
    pub(crate) fn claim(&self, local: IpAddr) -> Option<u16> {
        let mut offered = self.lock();
        let found = offered.iter().position(|pair| pair.local == local)?;
        Some(offered.remove(found).port)
    }

    /// Takes an offer back.
    pub(crate) fn withdraw(&self, port: u16) -> Offer {
        let mut offered = self.lock();
        match offered.iter().position(|pair| pair.port == port) {
            Some(found) => {
                offered.remove(found);
                Offer::Open
            }
            None => Offer::Claimed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Offered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nobody has taken it.
    Open,
    /// Somebody has: a wish follows.
    Claimed,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_pair_is_claimed_once_and_on_its_own_address_only() {
        let stock = Stock::default();
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        stock.offer(v4, 4_000);
        stock.offer(v4, 4_002);
        assert_eq!(stock.claim(v6), None);
        assert_eq!(stock.claim(v4), Some(4_000));
        assert_eq!(stock.withdraw(4_000), Offer::Claimed);
        assert_eq!(stock.withdraw(4_002), Offer::Open);
        assert_eq!(stock.claim(v4), None);
    }
}
