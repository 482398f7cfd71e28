//! Numbers used once: so that a proof that somebody overheard is worth nothing.
//!
//! RFC 7616 §3.3 and §5.4. A nonce says itself when and by whom it was issued, under a keyed hash,
//! so issuing one costs no memory; only those that were answered are remembered (`used`). Whatever
//! is wrong with a nonce, the answer is `stale`, never a failed password.
//!
//! The door that issues a nonce may be another node's. So what counts is not which process issued
//! it, but whether it is younger than the tenant's stay here: an older one may have been answered
//! elsewhere, and nobody here would know.

mod used;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

use self::used::Used;
use super::base32;
use crate::chance::Chance;
use crate::moment::Moment;

/// How long a nonce lasts for phones that do not count (RFC 2069): they could replay it.
const UNCOUNTED_FOR: Duration = Duration::from_secs(60);

/// Bits of a nonce that count within a series, and those that name the series.
const COUNT_BITS: u32 = 24;
const SERIES_BITS: u32 = 24;

/// Seals and opens nonces.
pub struct NonceKey {
    key: [u8; 16],
    boot: u32,
    /// The nonces of an issuer are numbered, so that a bit is enough to remember one. Nobody else
    /// can use that: what makes a nonce is its hash.
    series: Option<Series>,
}

/// Nonces that were issued one after the other.
#[derive(Clone, Copy)]
struct Series {
    /// Drawn, so that no two issuers have the same.
    number: u64,
    next: u64,
}

/// What a nonce says, once it is known to be ours and still valid: when, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issued {
    /// Milliseconds, and the upper 16 bits of its number.
    first: u64,
    /// The process, and the lower 32 bits of its number.
    second: u64,
}

/// Why a nonce is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// We did not issue it, or not for this tenant.
    Foreign,
    /// It was issued before the tenant came here, and what was counted then is not known here.
    BeforeUs,
    /// It is too old.
    TooOld,
    /// It may have been used: the memory of its time had to make room.
    Forgotten,
    /// This count was used before.
    Replayed,
}

/// Judges nonces.
#[derive(Debug)]
pub struct Nonces {
    key: NonceKey,
    valid_for: Duration,
    used: Used,
    /// Since when tenants are here, by their route numbers.
    since: BTreeMap<u64, Moment>,
}

impl Issued {
    fn at(self) -> Moment {
        Moment::from_millis(self.first >> 16)
    }

    fn boot(self) -> u32 {
        u32::try_from(self.second >> 32).unwrap_or(u32::MAX)
    }
}

impl NonceKey {
    /// From 16 secret bytes and the number of this process's start.
    pub fn new(key: [u8; 16], boot: u32) -> Self {
        Self { key, boot, series: None }
    }

    /// A new nonce for the tenant with this route number, 39 characters long.
    pub fn issue(&mut self, now: Moment, chance: &mut Chance, route: u64) -> String {
        let number = self.number(chance);
        let first = (now.as_millis() << 16) | (number >> 32);
        let second = (u64::from(self.boot) << 32) | (number & u64::from(u32::MAX));
        let text = base32::encode([first, second, self.hash(route, first, second)]);
        text.iter().map(|letter| char::from(*letter)).collect()
    }

    /// The next of the series; a series that is used up is followed by another.
    fn number(&mut self, chance: &mut Chance) -> u64 {
        let series = self.series.filter(|series| series.next < 1 << COUNT_BITS);
        let Series { number, next } = series.unwrap_or_else(|| Series {
            number: chance.number() & ((1 << SERIES_BITS) - 1),
            next: 0,
        });
        self.series = Some(Series { number, next: next + 1 });
        (number << COUNT_BITS) | next
    }

    fn open(&self, route: u64, text: &str) -> Result<Issued, Stale> {
        let [first, second, hash] = base32::decode(text.as_bytes()).ok_or(Stale::Foreign)?;
        if hash != self.hash(route, first, second) {
            return Err(Stale::Foreign);
        }
        Ok(Issued { first, second })
    }

    fn hash(&self, route: u64, first: u64, second: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        for number in [route, first, second] {
            hasher.write(&number.to_be_bytes());
        }
        hasher.finish()
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey")
    }
}

impl Nonces {
    /// Nonces are valid for `valid_for`. Of those that were answered, memory holds `limit` places;
    /// older ones make room, and what was issued up to then counts as stale.
    pub fn new(key: NonceKey, valid_for: Duration, limit: usize) -> Self {
        Self { key, valid_for, used: Used::new(valid_for, limit), since: BTreeMap::new() }
    }

    /// The tenant with this route number is here from now on.
    pub fn admit(&mut self, now: Moment, route: u64) {
        self.since.insert(route, Moment::from_millis(now.as_millis()));
    }

    /// The tenant with this route number is not here any more.
    pub fn forget(&mut self, route: u64) {
        self.since.remove(&route);
    }

    /// A new nonce for the tenant with this route number.
    pub fn issue(&mut self, now: Moment, chance: &mut Chance, route: u64) -> String {
        self.key.issue(now, chance, route)
    }

    /// Whether `nonce` may be answered at all. Ask before the password is checked.
    pub fn examine(&self, now: Moment, route: u64, nonce: &str) -> Result<Issued, Stale> {
        let issued = self.key.open(route, nonce)?;
        let is_ours = match self.since.get(&route) {
            Some(since) => issued.at() >= *since,
            None => issued.boot() == self.key.boot,
        };
        if !is_ours {
            return Err(Stale::BeforeUs);
        }
        if now - issued.at() > self.valid_for {
            return Err(Stale::TooOld);
        }
        Ok(issued)
    }

    /// Takes note that it was answered with the `count` of its `nc`, if the phone counts. Ask after
    /// the password was right: nobody else shall be able to use up a phone's counts.
    pub fn spend(&mut self, now: Moment, nonce: Issued, count: Option<u32>) -> Result<(), Stale> {
        let Some(count) = count else {
            let uncounted_for = now - nonce.at();
            return if uncounted_for <= UNCOUNTED_FOR { Ok(()) } else { Err(Stale::TooOld) };
        };
        self.used.spend(now, nonce, count)
    }

    /// Places in memory that are taken.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const START: Moment = Moment::from_secs(1_700_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const ROUTE: u64 = 77;

    fn nonces(limit: usize) -> (Nonces, Chance) {
        let key = NonceKey::new([6; 16], 3);
        (Nonces::new(key, HOUR, limit), Chance::from_seed([9; 32]))
    }

    #[test]
    fn a_nonce_is_valid_for_its_time_and_for_its_tenant() {
        let (mut nonces, mut chance) = nonces(10);
        let nonce = nonces.issue(START, &mut chance, ROUTE);
        assert_eq!(nonce.len(), 39);
        assert!(nonces.examine(START, ROUTE, &nonce).is_ok());
        assert!(nonces.examine(START + HOUR, ROUTE, &nonce).is_ok());
        let late = START + HOUR + Duration::from_millis(1);
        assert_eq!(nonces.examine(late, ROUTE, &nonce), Err(Stale::TooOld));
        assert_eq!(nonces.examine(START, ROUTE + 1, &nonce), Err(Stale::Foreign));
        assert_eq!(nonces.examine(START, ROUTE, "dcd98b7102dd2f0e8b11"), Err(Stale::Foreign));
    }

    #[test]
    fn a_nonce_from_before_the_tenant_came_is_stale_whoever_issued_it() {
        let (mut nonces, mut chance) = nonces(10);
        let mut elsewhere = NonceKey::new([6; 16], 2);
        let earlier = elsewhere.issue(START, &mut chance, ROUTE);
        assert_eq!(nonces.examine(START, ROUTE, &earlier), Err(Stale::BeforeUs));
        nonces.admit(START + HOUR, ROUTE);
        let ours = nonces.issue(START, &mut chance, ROUTE);
        for early in [&earlier, &ours] {
            assert_eq!(nonces.examine(START + HOUR, ROUTE, early), Err(Stale::BeforeUs));
        }
        let later = elsewhere.issue(START + HOUR, &mut chance, ROUTE);
        assert!(nonces.examine(START + HOUR, ROUTE, &later).is_ok(), "another node's door");
    }

    #[test]
    fn a_changed_nonce_is_foreign() {
        let (mut nonces, mut chance) = nonces(10);
        for _ in 0..2_000 {
            let mut text = nonces.issue(START, &mut chance, ROUTE).into_bytes();
            let at = chance.below(39) as usize;
            let other = b"abcdefghijklmnopqrstuvwxyz234567"[chance.below(32) as usize];
            if text[at] != other {
                text[at] = other;
                let text = String::from_utf8(text).unwrap();
                assert_eq!(nonces.examine(START, ROUTE, &text), Err(Stale::Foreign));
            }
        }
    }

    #[test]
    fn each_count_is_accepted_once_and_in_any_order_of_the_last_64() {
        let (mut nonces, mut chance) = nonces(10);
        let text = nonces.issue(START, &mut chance, ROUTE);
        let nonce = nonces.examine(START, ROUTE, &text).unwrap();
        assert_eq!(nonces.spend(START, nonce, Some(1)), Ok(()));
        assert_eq!(nonces.spend(START, nonce, Some(1)), Err(Stale::Replayed));
        assert_eq!(nonces.spend(START, nonce, Some(70)), Ok(()));
        assert_eq!(nonces.spend(START, nonce, Some(7)), Ok(()));
        assert_eq!(nonces.spend(START, nonce, Some(7)), Err(Stale::Replayed));
        assert_eq!(nonces.spend(START, nonce, Some(6)), Err(Stale::Replayed), "too far behind");
        assert_eq!(nonces.spend(START, nonce, Some(u32::MAX)), Ok(()));
        assert_eq!(nonces.spend(START, nonce, Some(70)), Err(Stale::Replayed));
        assert_eq!(nonces.len(), 2, "that it was used once, and its window");
    }

    #[test]
    fn the_window_agrees_with_a_list_of_all_counts() {
        let (mut nonces, mut chance) = nonces(10);
        let text = nonces.issue(START, &mut chance, ROUTE);
        let nonce = nonces.examine(START, ROUTE, &text).unwrap();
        let (mut used, mut middle) = (BTreeSet::new(), 100);
        for _ in 0..20_000 {
            middle += chance.below(3) as u32;
            let count = middle + chance.below(100) as u32;
            let highest = used.last().copied().unwrap_or(count);
            let fresh = !used.contains(&count) && (count > highest || highest - count < 64);
            assert_eq!(nonces.spend(START, nonce, Some(count)).is_ok(), fresh);
            if fresh {
                used.insert(count);
            }
        }
    }

    #[test]
    fn without_counts_a_nonce_lasts_a_minute() {
        let (mut nonces, mut chance) = nonces(10);
        let text = nonces.issue(START, &mut chance, ROUTE);
        let nonce = nonces.examine(START, ROUTE, &text).unwrap();
        assert_eq!(nonces.spend(START, nonce, None), Ok(()));
        let minute = START + Duration::from_secs(60);
        assert_eq!(nonces.spend(minute, nonce, None), Ok(()));
        let later = minute + Duration::from_millis(1);
        assert_eq!(nonces.spend(later, nonce, None), Err(Stale::TooOld));
        assert!(nonces.is_empty());
    }

    #[test]
    fn when_full_the_oldest_are_forgotten_and_count_as_used() {
        let (mut nonces, mut chance) = nonces(2);
        let mut issued = vec![];
        for second in 0..4 {
            let at = START + Duration::from_secs(second);
            // So that each has a place of its own.
            let in_a_row: Vec<_> = (0..64).map(|_| nonces.issue(at, &mut chance, ROUTE)).collect();
            issued.push(nonces.examine(at, ROUTE, &in_a_row[0]).unwrap());
        }
        let now = START + Duration::from_secs(10);
        for nonce in &issued[1..] {
            assert_eq!(nonces.spend(now, *nonce, Some(1)), Ok(()));
        }
        assert_eq!(nonces.len(), 2);
        assert_eq!(nonces.spend(now, issued[1], Some(2)), Err(Stale::Forgotten));
        assert_eq!(nonces.spend(now, issued[0], Some(1)), Err(Stale::Forgotten));
        // A second count needs a second place.
        assert_eq!(nonces.spend(now, issued[3], Some(2)), Ok(()));
        assert_eq!(nonces.spend(now, issued[2], Some(2)), Err(Stale::Forgotten));
        assert_eq!(nonces.len(), 2);
    }

    #[test]
    fn of_nonces_that_are_used_once_64_share_a_place_and_none_is_used_twice() {
        let (mut nonces, mut chance) = nonces(1_000);
        let mut issued = vec![];
        for number in 0..10_000 {
            let now = START + Duration::from_millis(number);
            let text = nonces.issue(now, &mut chance, ROUTE);
            issued.push(nonces.examine(now, ROUTE, &text).unwrap());
        }
        let now = START + Duration::from_secs(20);
        for expected in [Ok(()), Err(Stale::Replayed)] {
            for nonce in &issued {
                assert_eq!(nonces.spend(now, *nonce, Some(1)), expected);
            }
        }
        assert!(nonces.len() < 10_000 / 64 + 20, "{}", nonces.len());
        assert_eq!(nonces.spend(now, issued[17], Some(2)), Ok(()));
        assert_eq!(nonces.spend(now, issued[17], Some(1)), Err(Stale::Replayed));
        assert_eq!(nonces.spend(now, issued[18], Some(1)), Err(Stale::Replayed));
    }

    #[test]
    fn whatever_the_order_and_the_spans_no_answer_is_accepted_twice() {
        // Room for all, in spans that are soon full: 8 places each.
        let (mut nonces, mut chance) = nonces(64);
        let mut door = NonceKey::new([6; 16], 3);
        let (mut spent, mut accepted) = (BTreeSet::new(), 0);
        let mut issued = vec![];
        for second in 0..2_000 {
            let now = START + Duration::from_secs(second);
            for _ in 0..chance.below(3) {
                let mine = nonces.issue(now, &mut chance, ROUTE);
                let theirs = door.issue(now, &mut chance, ROUTE);
                issued
                    .extend([mine, theirs].map(|text| nonces.examine(now, ROUTE, &text).unwrap()));
            }
            for _ in 0..4 {
                let back = chance.below(issued.len().min(40) as u64 + 1) as usize;
                let Some(nonce) = issued.len().checked_sub(back).and_then(|at| issued.get(at))
                else {
                    continue;
                };
                let count = 1 + chance.below(3) as u32;
                let is_new = !spent.contains(&(*nonce, count));
                if nonces.spend(now, *nonce, Some(count)).is_ok() {
                    assert!(is_new, "{nonce:?} with {count}");
                    spent.insert((*nonce, count));
                    accepted += 1;
                }
                assert!(nonces.len() <= 64, "{}", nonces.len());
            }
        }
        assert!(accepted > 2_000, "{accepted}");
    }

    #[test]
    fn two_issuers_never_take_each_others_nonces_for_their_own() {
        let (mut nonces, mut chance) = nonces(1_000);
        let mut door = NonceKey::new([6; 16], 3);
        for _ in 0..200 {
            for text in
                [nonces.issue(START, &mut chance, ROUTE), door.issue(START, &mut chance, ROUTE)]
            {
                let nonce = nonces.examine(START, ROUTE, &text).unwrap();
                assert_eq!(nonces.spend(START, nonce, Some(1)), Ok(()));
            }
        }
    }

    #[test]
    fn a_series_that_is_used_up_is_followed_by_another() {
        let (mut nonces, mut chance) = nonces(10);
        nonces.issue(START, &mut chance, ROUTE);
        let first = nonces.key.series.unwrap();
        nonces.key.series = Some(Series { next: (1 << COUNT_BITS) - 1, ..first });
        let last = nonces.issue(START, &mut chance, ROUTE);
        let next = nonces.issue(START, &mut chance, ROUTE);
        assert_ne!(nonces.key.series.unwrap().number, first.number);
        for text in [last, next] {
            let nonce = nonces.examine(START, ROUTE, &text).unwrap();
            assert_eq!(nonces.spend(START, nonce, Some(1)), Ok(()));
        }
    }

    #[test]
    fn what_is_too_old_makes_room_without_making_others_stale() {
        let (mut nonces, mut chance) = nonces(2);
        let spend = |nonces: &mut Nonces, chance: &mut Chance, now: Moment| {
            let text = nonces.issue(now, chance, ROUTE);
            let nonce = nonces.examine(now, ROUTE, &text).unwrap();
            assert_eq!(nonces.spend(now, nonce, Some(1)), Ok(()));
        };
        spend(&mut nonces, &mut chance, START);
        spend(&mut nonces, &mut chance, START);
        let later = START + HOUR + Duration::from_secs(1);
        spend(&mut nonces, &mut chance, later);
        assert_eq!((nonces.len(), nonces.used.forgotten_until()), (1, Moment::EPOCH));
    }

    #[test]
    fn the_key_is_not_shown() {
        let (nonces, _) = nonces(2);
        assert!(format!("{nonces:?}").contains("key: NonceKey,"));
    }
}
