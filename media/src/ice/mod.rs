//! Which way to a peer works: it tries each of its addresses, proves who it is, and names the best.
//!
//! ICE, RFC 8445, as the lite side (§2.5): our address is public, so we try nothing and answer
//! everything. Checks go on for as long as the call does, since they are also the peer's way to
//! know that we still want its packets (RFC 7675).

use std::net::SocketAddr;
use std::time::Duration;

use pbx::media::Ice;
use pbx::moment::Moment;

use crate::allowance::{Allowance, Pass};
use crate::stun::check::{Credentials, Shown};

/// A browser in a home has fewer addresses; the one not heard of for longest gives way.
const WAYS: usize = 8;
/// Who checks a way does it every few seconds (RFC 7675 §5.1: consent ends after 30).
const GOOD_FOR: Duration = Duration::from_secs(30);

/// One side's.
#[derive(Debug)]
pub(crate) struct Agent {
    told: Ice,
    credentials: Option<Credentials>,
    ways: Vec<(SocketAddr, Moment)>,
    best: Best,
    strangers: Allowance,
}

/// Where our packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Best {
    Unknown,
    /// The first that worked: the peer has chosen none yet.
    First(SocketAddr),
    Chosen(SocketAddr),
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The peer is to be sent to here from now on.
    Moved(SocketAddr),
}

impl Agent {
    /// Both sides' passwords are these.
    pub(crate) fn new(told: &Ice) -> Self {
        Self {
            told: told.clone(),
            credentials: Credentials::new(&told.ours, &told.theirs.0),
            ways: Vec::new(),
            best: Best::Unknown,
            strangers: Allowance::default(),
        }
    }

    /// Signalling says the passwords again. Others begin a new round (§9, a restart); packets use the
    /// ways of the old one until a check of the new one comes.
    pub(crate) fn agree(&mut self, told: &Ice) {
        if self.told != *told {
            self.told = told.clone();
            self.credentials = Credentials::new(&told.ours, &told.theirs.0);
            self.best = match self.best {
                Best::Unknown => Best::Unknown,
                Best::First(way) | Best::Chosen(way) => Best::First(way),
            };
        }
    }

    /// A STUN message came: the answer, if it deserves one, and what it changed.
    pub(crate) fn handle_check(
        &mut self,
        now: Moment,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Option<(Vec<u8>, Change)> {
        let (shown, answer) = self.credentials.as_ref()?.answer(datagram, source)?;
        let best = match (shown, self.best) {
            // Who tries passwords is answered a thousand times a second at most.
            (Shown::Nothing, _) => {
                let passes = self.strangers.take(now) == Pass::Yes;
                return passes.then_some((answer, Change::None));
            }
            (Shown::Way, Best::Unknown) => Best::First(source),
            (Shown::Way, best @ (Best::First(_) | Best::Chosen(_))) => best,
            (Shown::BestWay, _) => Best::Chosen(source),
        };
        self.remember(now, source);
        let before = self.best.way();
        self.best = best;
        let change = match best.way() {
            Some(way) if before != Some(way) => Change::Moved(way),
            Some(_) | None => Change::None,
        };
        Some((answer, change))
    }

    fn remember(&mut self, now: Moment, source: SocketAddr) {
        let known = self.ways.iter_mut().find(|(way, _)| *way == source);
        if let Some((_, checked_at)) = known {
            *checked_at = now;
            return;
        }
        let best = self.best.way();
        let oldest = (0..self.ways.len())
            .filter(|at| self.ways.get(*at).map(|(way, _)| *way) != best)
            .min_by_key(|at| self.ways.get(*at).map(|(_, checked_at)| *checked_at));
        if self.ways.len() >= WAYS
            && let Some(oldest) = oldest
        {
            self.ways.swap_remove(oldest);
        }
        self.ways.push((source, now));
    }

    /// Whether packets from there are our peer's: it has shown the password from there lately, or
    /// chose that way.
    pub(crate) fn believes(&self, now: Moment, source: SocketAddr) -> bool {
        let is_good = |(way, checked_at): &(SocketAddr, Moment)| {
            *way == source && now.since(*checked_at) < GOOD_FOR
        };
        self.best.way() == Some(source) || self.ways.iter().any(is_good)
    }

    /// Where our packets go.
    pub(crate) fn way(&self) -> Option<SocketAddr> {
        self.best.way()
    }
}

impl Best {
    fn way(self) -> Option<SocketAddr> {
        match self {
            Self::Unknown => None,
            Self::First(way) | Self::Chosen(way) => Some(way),
        }
    }
}

#[cfg(test)]
mod tests;
