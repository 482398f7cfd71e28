//! Slows down whoever guesses passwords, without punishing the office of one forgotten phone.
//!
//! RFC 3261 §26.3.2.4 asks for limits on unauthenticated work and leaves the way open. Ours counts
//! three things: one user name from one address (a phone with an old password, or somebody
//! guessing), different user names from one address (somebody trying doors), and one user name from
//! different addresses (many guessing together). A phone that repeats its mistake therefore never
//! counts against its office, and a right password is never delayed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use siphasher::sip::SipHasher24;

use crate::chance::Chance;
use crate::moment::Moment;

/// Failures that are forgiven within [`WINDOW`].
const FORGIVEN: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// Things counted at once; beyond that the one that has been quiet longest is forgotten.
pub const LIMIT: usize = 16_384;

/// Who failed lately, and how often.
#[derive(Debug)]
pub struct Guard {
    hash_key: [u8; 16],
    limit: usize,
    tallies: BTreeMap<Suspect, Tally>,
    /// The same suspects by their last failure: the quietest first.
    by_age: BTreeSet<(Moment, Suspect)>,
    failures: u64,
}

/// How a failed attempt shall be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// At once: anybody mistypes.
    AnswerNow,
    /// After this time, and this is the first time: worth telling.
    BeginSlowing(Duration),
    /// After this time, as before.
    AnswerAfter(Duration),
}

impl Verdict {
    /// How long the answer is held back.
    pub fn delay(self) -> Duration {
        match self {
            Self::AnswerNow => Duration::ZERO,
            Self::BeginSlowing(delay) | Self::AnswerAfter(delay) => delay,
        }
    }
}

/// What is counted. User names are kept as keyed hashes: they come from anybody, at any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Suspect {
    Pair(u64, Option<IpAddr>),
    Address(IpAddr),
    Credential(u64),
}

/// One suspect's failures.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The latest ones, newest first.
    latest: [Option<Moment>; FORGIVEN],
    /// Failures in a row that were too many.
    excess: u32,
}

impl Guard {
    /// A guard that counts at most `limit` suspects (see [`LIMIT`]).
    pub fn new(chance: &mut Chance, limit: usize) -> Self {
        let mut hash_key = [0; 16];
        chance.fill(&mut hash_key);
        let (tallies, by_age) = (BTreeMap::new(), BTreeSet::new());
        Self { hash_key, limit: limit.max(1), tallies, by_age, failures: 0 }
    }

    /// A password was wrong, for this user name (whether or not it exists), from this address, if
    /// it is known.
    pub fn fail(&mut self, now: Moment, source: Option<IpAddr>, username: &str) -> Verdict {
        self.failures += 1;
        let source = source.map(site);
        let name = self.hash(username);
        let pair = Suspect::Pair(name, source);
        let wider = [source.map(Suspect::Address), Some(Suspect::Credential(name))];

        let is_repeated = self.tallies.get(&pair).is_some_and(|tally| tally.is_recent(now));
        let mut worst = self.count(now, pair);
        for suspect in wider.into_iter().flatten() {
            let excess = if is_repeated {
                // The same mistake again is no new reason to suspect the office or the user.
                self.excess(now, suspect).map_or(0, |excess| excess.max(2))
            } else {
                self.count(now, suspect)
            };
            worst = worst.max(excess);
        }
        match worst {
            0 => Verdict::AnswerNow,
            1 => Verdict::BeginSlowing(delay(worst)),
            _ => Verdict::AnswerAfter(delay(worst)),
        }
    }

    /// The password was right: whoever this is, it mistypes no longer.
    pub fn succeed(&mut self, source: Option<IpAddr>, username: &str) {
        if self.tallies.is_empty() {
            return;
        }
        let pair = Suspect::Pair(self.hash(username), source.map(site));
        if let Some(last_at) = self.tallies.remove(&pair).and_then(|tally| tally.last_at()) {
            self.by_age.remove(&(last_at, pair));
        }
    }

    /// Failures so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Suspects counted at the moment.
    pub fn len(&self) -> usize {
        self.tallies.len()
    }

    /// Whether nobody has failed lately.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    fn count(&mut self, now: Moment, suspect: Suspect) -> u32 {
        self.forget(now, suspect);
        let tally = self.tallies.entry(suspect).or_default();
        if let Some(last_at) = tally.last_at() {
            self.by_age.remove(&(last_at, suspect));
        }
        tally.add(now);
        self.by_age.insert((now, suspect));
        tally.excess
    }

    fn excess(&self, now: Moment, suspect: Suspect) -> Option<u32> {
        let tally = self.tallies.get(&suspect)?;
        (tally.is_recent(now) && tally.excess > 0).then_some(tally.excess)
    }

    /// Makes room for `newcomer`: first of those who have been quiet, then of the quietest.
    fn forget(&mut self, now: Moment, newcomer: Suspect) {
        while let Some((last_at, suspect)) = self.by_age.first().copied() {
            let is_full = self.tallies.len() >= self.limit && !self.tallies.contains_key(&newcomer);
            if now - last_at < WINDOW && !is_full {
                break;
            }
            self.by_age.pop_first();
            self.tallies.remove(&suspect);
        }
    }

    fn hash(&self, username: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(username.as_bytes());
        hasher.finish()
    }
}

impl Tally {
    fn add(&mut self, now: Moment) {
        let is_excess = self.latest[FORGIVEN - 1].is_some_and(|at| now - at < WINDOW);
        self.excess = if is_excess { self.excess.saturating_add(1) } else { 0 };
        self.latest.rotate_right(1);
        self.latest[0] = Some(now);
    }

    fn last_at(&self) -> Option<Moment> {
        self.latest[0]
    }

    fn is_recent(&self, now: Moment) -> bool {
        self.last_at().is_some_and(|at| now - at < WINDOW)
    }
}

/// 1, 2, 4, 8 and 8 seconds.
fn delay(excess: u32) -> Duration {
    let doublings = excess.saturating_sub(1).min(8);
    (Duration::from_secs(1) * (1 << doublings)).min(LONGEST_DELAY)
}

/// An IPv6 site chooses among 2^64 addresses of its network, so the network is what counts.
fn site(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_failure_within_a_minute_waits_and_each_further_one_longer() {
        let mut guard = guard(LIMIT);
        let verdicts: Vec<_> =
            (0..11).map(|second| guard.fail(at(second), office(), "101")).collect();
        let later = [2, 4, 8, 8, 8].map(|s| Verdict::AnswerAfter(Duration::from_secs(s)));
        assert_eq!(verdicts[..5], [Verdict::AnswerNow; 5]);
        assert_eq!(verdicts[5], Verdict::BeginSlowing(Duration::from_secs(1)));
        assert_eq!(verdicts[6..], later);
        assert_eq!(guard.failures(), 11);
    }

    #[test]
    fn five_failures_in_more_than_a_minute_are_forgiven() {
        let mut guard = guard(LIMIT);
        for turn in 0..50 {
            assert_eq!(guard.fail(at(turn * 13), office(), "101"), Verdict::AnswerNow);
        }
    }

    #[test]
    fn a_minute_of_silence_starts_from_the_beginning() {
        let mut guard = guard(LIMIT);
        for _ in 0..9 {
            let _ = guard.fail(at(0), office(), "101");
        }
        assert_eq!(guard.fail(at(60), office(), "101"), Verdict::AnswerNow);
    }

    #[test]
    fn a_forgotten_phone_never_slows_down_its_neighbours() {
        let mut guard = guard(LIMIT);
        for second in 0..50 {
            let _ = guard.fail(at(second), office(), "101");
        }
        assert_eq!(guard.fail(at(50), office(), "102"), Verdict::AnswerNow);
        assert_eq!(guard.fail(at(50), elsewhere(1), "101"), Verdict::AnswerNow);
    }

    #[test]
    fn trying_many_names_from_one_address_is_slowed_down() {
        let mut guard = guard(LIMIT);
        let verdicts: Vec<_> = (101..=110)
            .map(|name| guard.fail(at(0), office(), &name.to_string()).delay().as_secs())
            .collect();
        assert_eq!(verdicts, [0, 0, 0, 0, 0, 1, 2, 4, 8, 8]);
        assert_eq!(guard.fail(at(1), office(), "101").delay().as_secs(), 8, "nor a second round");
        assert_eq!(guard.fail(at(1), elsewhere(1), "111"), Verdict::AnswerNow);
    }

    #[test]
    fn guessing_one_password_from_many_addresses_is_slowed_down() {
        let mut guard = guard(LIMIT);
        let delays: Vec<_> =
            (1..=8).map(|n| guard.fail(at(0), elsewhere(n), "101").delay().as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4]);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let mut guard = guard(LIMIT);
        let host = |n: u16| Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).into());
        let last = (1..=6).map(|n| guard.fail(at(0), host(n), "101")).last();
        assert_eq!(last, Some(Verdict::BeginSlowing(Duration::from_secs(1))));
    }

    #[test]
    fn the_right_password_clears_the_name_of_that_phone() {
        let mut guard = guard(LIMIT);
        for _ in 0..6 {
            let _ = guard.fail(at(0), office(), "101");
        }
        guard.succeed(office(), "101");
        assert_eq!(guard.fail(at(1), office(), "101"), Verdict::AnswerNow);
    }

    #[test]
    fn a_full_table_forgets_the_quietest_and_never_grows() {
        let mut guard = guard(9);
        for second in 0..6 {
            let _ = guard.fail(at(second), office(), "101");
        }
        for n in 0..200 {
            let _ = guard.fail(at(6), elsewhere(n), &format!("user{n}"));
            assert!(guard.len() <= 9 && guard.by_age.len() == guard.len());
        }
        assert_eq!(guard.fail(at(7), office(), "101"), Verdict::AnswerNow, "it was forgotten");
    }

    #[test]
    fn who_is_quiet_for_a_minute_leaves_the_table() {
        let mut guard = guard(LIMIT);
        for n in 0..100 {
            let _ = guard.fail(at(0), elsewhere(n), "101");
        }
        let _ = guard.fail(at(60), office(), "102");
        assert_eq!((guard.len(), guard.by_age.len()), (3, 3));
    }

    fn guard(limit: usize) -> Guard {
        Guard::new(&mut Chance::from_seed([1; 32]), limit)
    }

    fn at(second: u64) -> Moment {
        Moment::from_secs(1_000 + second)
    }

    fn office() -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, 1]))
    }

    fn elsewhere(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, n]))
    }
}
