//! Sounds that are ready to be played, as many as there is room for; who wants another one says so here.
//!
//! All threads of sound share it. They never wait for it: what is not there is asked for, and whoever
//! fills the shelf puts it there later, from a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pbx::media::Stored;
use pbx::moment::Moment;

/// What is wanted and not fetched yet; more is asked for again a little later.
const MOST_WANTED: usize = 1_024;
/// What could not be had is not asked for again so soon.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Nobody who asked has put anything here for so long: it is asked for again.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// Sounds and what is known of them, at most, however short they are.
const MOST: usize = 16_384;

/// Samples of 16 bits at 16 kHz, one channel.
pub type Samples = Arc<[i16]>;

/// The shelf.
pub struct Shelf {
    limit: usize,
    inside: Mutex<Inside>,
    /// Raised whenever something is put here: who waits looks again only then.
    changes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Inside {
    places: BTreeMap<Stored, Place>,
    bytes: usize,
    wanted: VecDeque<Stored>,
    uses: u64,
}

enum Place {
    Here { samples: Samples, used: u64 },
    Wanted { since: Moment },
    Absent { since: Moment },
}

/// What the shelf says of a sound.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Here(Samples),
    /// It was asked for.
    Wanted,
    /// It cannot be had.
    Absent,
}

/// How full the shelf is, and how often it had what was wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shelved {
    /// Bytes of samples.
    pub bytes: u64,
    /// Sounds.
    pub sounds: u64,
    /// How often a sound was there.
    pub hits: u64,
    /// How often it had to be fetched.
    pub misses: u64,
}

impl Shelf {
    /// An empty one, for so many bytes of samples; a minute has two million.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            inside: Mutex::default(),
            changes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bell: OnceLock::new(),
        }
    }

    /// From now on `ring` is called whenever something is wanted; it must not block. The first one
    /// that is named stays.
    pub fn on_wanted(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _first_stays = self.bell.set(Box::new(ring));
        self.ring();
    }

    /// The next sound that is to be fetched, and [put](Self::put) here.
    pub fn next_wanted(&self) -> Option<Stored> {
        self.inside().wanted.pop_front()
    }

    /// Puts a sound here; `None`: it cannot be had. What was not used for longest makes room.
    pub fn put(&self, now: Moment, sound: &Stored, samples: Option<Samples>) {
        let mut inside = self.inside();
        inside.take(sound);
        let place = match samples.filter(|samples| size(samples) <= self.limit) {
            Some(samples) => {
                inside.bytes += size(&samples);
                inside.uses += 1;
                Place::Here { samples, used: inside.uses }
            }
            None => Place::Absent { since: now },
        };
        inside.places.insert(*sound, place);
        while inside.bytes > self.limit || inside.places.len() > MOST {
            let Some(key) = inside.least_used() else { break };
            inside.take(&key);
        }
        drop(inside);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How it stands.
    pub fn shelved(&self) -> Shelved {
        let inside = self.inside();
        let here = inside.places.values().filter(|place| matches!(place, Place::Here { .. }));
        Shelved {
            bytes: inside.bytes as u64,
            sounds: here.count() as u64,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// Another number whenever something was put here.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// A sound, or word that it is on its way. Asking again counts as no other question.
    pub(crate) fn find(&self, now: Moment, sound: &Stored) -> Found {
        let mut inside = self.inside();
        inside.uses += 1;
        let uses = inside.uses;
        match inside.places.get_mut(sound) {
            Some(Place::Here { samples, used }) => {
                *used = uses;
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Found::Here(Arc::clone(samples));
            }
            Some(Place::Wanted { since }) if now.since(*since) < GIVEN_UP_AFTER => {
                return Found::Wanted;
            }
            Some(Place::Absent { since }) if now.since(*since) < ASKED_AGAIN_AFTER => {
                return Found::Absent;
            }
            Some(Place::Wanted { .. } | Place::Absent { .. }) | None => {}
        }
        if inside.wanted.len() < MOST_WANTED {
            self.misses.fetch_add(1, Ordering::Relaxed);
            inside.wanted.push_back(*sound);
            inside.places.insert(*sound, Place::Wanted { since: now });
            drop(inside);
            self.ring();
        }
        Found::Wanted
    }

    fn ring(&self) {
        if let Some(ring) = self.bell.get() {
            ring();
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn take(&mut self, key: &Stored) {
        if let Some(Place::Here { samples, .. }) = self.places.remove(key) {
            self.bytes -= size(&samples);
        }
    }

    fn least_used(&self) -> Option<Stored> {
        let used = |place: &Place| match place {
            Place::Here { used, .. } => *used,
            Place::Wanted { .. } | Place::Absent { .. } => 0,
        };
        let heavy = self.places.iter().filter(|(_, place)| match place {
            Place::Here { .. } => true,
            Place::Wanted { .. } | Place::Absent { .. } => self.places.len() > MOST,
        });
        heavy.min_by_key(|(_, place)| used(place)).map(|(key, _)| *key)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("shelved", &self.shelved()).finish_non_exhaustive()
    }
}

fn size(samples: &[i16]) -> usize {
    size_of_val(samples)
}

#[cfg(test)]
mod tests {
    use pbx::chance::Chance;
    use pbx::id::TenantId;

    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    fn sound(number: u64) -> Stored {
        let (tenant, object) = (TenantId(Default::default()), Default::default());
        Stored { tenant, object, sha256: [0; 32], bytes: number }
    }

    fn is_here(shelf: &Shelf, number: u64) -> bool {
        matches!(shelf.find(NOW, &sound(number)), Found::Here(_))
    }

    #[test]
    fn what_is_not_there_is_asked_for_once_and_then_found() {
        let shelf = Shelf::new(1_000);
        let rung = Arc::new(AtomicU64::new(0));
        let bell = Arc::clone(&rung);
        shelf.on_wanted(move || {
            bell.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 0..3 {
            assert!(matches!(shelf.find(NOW, &sound(1)), Found::Wanted));
        }
        assert_eq!(rung.load(Ordering::Relaxed), 2, "at first, and for the one");
        assert_eq!(shelf.next_wanted(), Some(sound(1)));
        assert_eq!(shelf.next_wanted(), None);
        let before = shelf.changes();
        shelf.put(NOW, &sound(1), Some(vec![7; 100].into()));
        assert_ne!(shelf.changes(), before);
        assert!(is_here(&shelf, 1));
        let shelved = Shelved { bytes: 200, sounds: 1, hits: 1, misses: 1 };
        assert_eq!(shelf.shelved(), shelved);
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let shelf = Shelf::new(1_000);
        for number in 1..=5 {
            shelf.put(NOW, &sound(number), Some(vec![0; 100].into()));
        }
        assert!(is_here(&shelf, 1));
        shelf.put(NOW, &sound(6), Some(vec![0; 100].into()));
        assert!(is_here(&shelf, 1) && !is_here(&shelf, 2) && is_here(&shelf, 6));
        assert_eq!(shelf.shelved().bytes, 1_000);
        shelf.put(NOW, &sound(7), Some(vec![0; 501].into()));
        assert!(matches!(shelf.find(NOW, &sound(7)), Found::Absent), "it is larger than all");
        assert_eq!(shelf.shelved().sounds, 5);
    }

    #[test]
    fn what_cannot_be_had_is_asked_for_again_after_a_while() {
        let shelf = Shelf::new(1_000);
        shelf.find(NOW, &sound(1));
        shelf.next_wanted();
        shelf.put(NOW, &sound(1), None);
        assert!(matches!(shelf.find(NOW, &sound(1)), Found::Absent));
        assert_eq!(shelf.next_wanted(), None);
        let later = NOW + ASKED_AGAIN_AFTER;
        assert!(matches!(shelf.find(later, &sound(1)), Found::Wanted));
        assert_eq!(shelf.next_wanted(), Some(sound(1)));
    }

    #[test]
    fn two_companies_with_the_same_object_have_two_places() {
        let shelf = Shelf::new(1_000);
        let other = Stored { tenant: TenantId(Chance::from_seed([1; 32]).uuid(NOW)), ..sound(1) };
        shelf.put(NOW, &sound(1), Some(vec![1; 10].into()));
        assert!(matches!(shelf.find(NOW, &other), Found::Wanted));
    }
}
