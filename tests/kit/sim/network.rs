//! The way between phones and switch: it delays, loses, doubles and reorders as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use pbx::chance::Chance;
use pbx::moment::Moment;

/// A datagram under way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Whence.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub bytes: Bytes,
}

/// What happens to datagrams on their way.
#[derive(Debug)]
pub struct Network {
    /// Lost ones of a hundred.
    pub loss_percent: u64,
    /// Doubled ones of a hundred.
    pub double_percent: u64,
    /// How long each takes at least.
    pub delay: Duration,
    /// How much longer it may take, which also reorders.
    pub jitter: Duration,
    /// Whoever has vanished: nothing comes from there, and nothing arrives.
    pub vanished: BTreeSet<SocketAddr>,
    chance: Chance,
    under_way: BTreeMap<(Moment, u64), Datagram>,
    sent: u64,
}

impl Network {
    /// A good line: everything arrives after ten milliseconds.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self {
            loss_percent: 0,
            double_percent: 0,
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            vanished: BTreeSet::new(),
            chance: Chance::from_seed(bytes),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Sends a datagram.
    pub fn send(&mut self, now: Moment, datagram: Datagram) {
        let ends = [&datagram.from, &datagram.to];
        if ends.into_iter().any(|end| self.vanished.contains(end)) {
            return;
        }
        if self.chance.below(100) < self.loss_percent {
            return;
        }
        let copies = 1 + u64::from(self.chance.below(100) < self.double_percent);
        for _ in 0..copies {
            let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(0);
            let late = Duration::from_micros(self.chance.below(jitter + 1));
            self.sent += 1;
            self.under_way.insert((now + self.delay + late, self.sent), datagram.clone());
        }
    }

    /// When the next datagram arrives.
    pub fn next_at(&self) -> Option<Moment> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// A datagram that has arrived.
    pub fn arrive(&mut self, now: Moment) -> Option<Datagram> {
        let first = self.under_way.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
