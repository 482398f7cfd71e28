//! The reels of one thread of sound: who wants to hear a clip gets the one that others hear already.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pbx::media::{CallTone, Clip, Stored};
use pbx::moment::Moment;

use crate::play::reel::{Packing, Reel, Room, Target};
use crate::play::shelf::{Found, Samples, Shelf};
use crate::play::tones;

/// Packed sounds that nobody hears just now are kept up to so many bytes, and so many of them.
const KEPT_BYTES: usize = 32 << 20;
const KEPT: usize = 1_024;

/// A reel's place in its booth, as long as it has listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReelId(u32);

/// How a clip is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// From where it is wanted.
    Alone,
    /// From where it is for all.
    Together,
}

/// What comes of wanting to hear a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It can be heard, from this packet on.
    At(ReelId, u32),
    /// It is being fetched.
    Later,
    /// It cannot be had.
    Never,
}

/// The reels.
pub(crate) struct Booth {
    shelf: Arc<Shelf>,
    reels: Vec<Option<(Key, Reel)>>,
    free: Vec<ReelId>,
    by_key: HashMap<Key, ReelId>,
    tones: HashMap<CallTone, Samples>,
    room: Room,
    /// Reels that nobody hears.
    idle: usize,
    /// Packets that were packed.
    packed: u64,
    listeners: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    what: What,
    packing: Packing,
    frame: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Stored(Stored),
    Tone(CallTone),
}

impl Default for Booth {
    /// One in which nothing can be heard but tones.
    fn default() -> Self {
        Self::new(Arc::new(Shelf::new(0)))
    }
}

impl Booth {
    /// An empty one, beside this shelf.
    pub(crate) fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            reels: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            tones: HashMap::new(),
            room: Room::default(),
            idle: 0,
            packed: 0,
            listeners: 0,
        }
    }

    /// Somebody wants to hear a clip, after so much of it. Who does must [close](Self::close) it.
    pub(crate) fn open(
        &mut self,
        now: Moment,
        (clip, played): (&Clip, Duration),
        target: &Target,
    ) -> Opened {
        let what = match clip {
            Clip::Sound(stored) | Clip::Music(stored) => What::Stored(*stored),
            Clip::Tone(tone) => What::Tone(*tone),
        };
        let key = Key { what, packing: target.packing, frame: target.frame };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => {
                let samples = match what {
                    What::Tone(tone) => {
                        let made =
                            self.tones.entry(tone).or_insert_with(|| tones::make(tone).into());
                        Arc::clone(made)
                    }
                    What::Stored(stored) => match self.shelf.find(now, &stored) {
                        Found::Here(samples) => samples,
                        Found::Wanted => return Opened::Later,
                        Found::Absent => return Opened::Never,
                    },
                };
                let Some(reel) = Reel::new(now, samples, target) else { return Opened::Never };
                self.add(key, reel)
            }
        };
        let Some(Some((_, reel))) = self.reels.get_mut(id.0 as usize) else { return Opened::Never };
        if reel.listeners == 0 {
            self.idle = self.idle.saturating_sub(1);
        }
        reel.listeners += 1;
        reel.used_at = now;
        self.listeners += 1;
        let place = match heard(clip) {
            Heard::Alone => {
                let before = played.as_micros() / target.frame.as_micros().max(1);
                reel.nearest(u32::try_from(before).unwrap_or(u32::MAX))
            }
            Heard::Together => reel.join(now),
        };
        Opened::At(id, place)
    }

    fn add(&mut self, key: Key, reel: Reel) -> ReelId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.reels.push(None);
            ReelId(self.reels.len() as u32 - 1)
        });
        if let Some(place) = self.reels.get_mut(id.0 as usize) {
            *place = Some((key, reel));
        }
        self.by_key.insert(key, id);
        self.idle += 1;
        id
    }

    /// A listener hears no more of it.
    pub(crate) fn close(&mut self, now: Moment, id: ReelId, heard: Heard) {
        let Some(Some((_, reel))) = self.reels.get_mut(id.0 as usize) else { return };
        if heard == Heard::Together {
            reel.leave(now);
        }
        reel.listeners = reel.listeners.saturating_sub(1);
        reel.used_at = now;
        self.listeners = self.listeners.saturating_sub(1);
        if reel.listeners == 0 {
            self.idle += 1;
            self.make_room();
        }
    }

    /// Lets go of what nobody heard for longest.
    fn make_room(&mut self) {
        let idle = |place: &Option<(Key, Reel)>| {
            place.as_ref().is_some_and(|(_, reel)| reel.listeners == 0)
        };
        let bytes = |place: &Option<(Key, Reel)>| place.as_ref().map_or(0, |(_, reel)| reel.size());
        let mut kept: usize = self.reels.iter().filter(|reel| idle(reel)).map(bytes).sum();
        while self.idle > 0 && (kept > KEPT_BYTES || self.idle > KEPT) {
            let idle = self.reels.iter().enumerate().filter_map(|(index, place)| {
                let (_, reel) = place.as_ref().filter(|(_, reel)| reel.listeners == 0)?;
                Some((reel.used_at, index))
            });
            let Some((_, index)) = idle.min() else { break };
            let Some((key, reel)) = self.reels.get_mut(index).and_then(Option::take) else { break };
            kept -= reel.size();
            self.by_key.remove(&key);
            self.free.push(ReelId(index as u32));
            self.idle -= 1;
        }
    }

    /// A packet of a reel, to be copied.
    pub(crate) fn packet(&mut self, id: ReelId, place: u32) -> &[u8] {
        let Some(Some((_, reel))) = self.reels.get_mut(id.0 as usize) else { return &[] };
        self.packed += u64::from(reel.is_new(place));
        reel.packet(place, &mut self.room)
    }

    /// How many packets a reel has: when it is played once, and when it goes round.
    pub(crate) fn lengths(&self, id: ReelId) -> (u32, u32) {
        let reel = self.reels.get(id.0 as usize).and_then(Option::as_ref);
        reel.map_or((0, 1), |(_, reel)| (reel.whole(), reel.round()))
    }

    /// Another number whenever a sound has come that somebody may wait for.
    pub(crate) fn changes(&self) -> u64 {
        self.shelf.changes()
    }

    /// How many packets were packed so far; all others are copies.
    pub(crate) fn packed(&self) -> u64 {
        self.packed
    }

    /// How many hear something now.
    pub(crate) fn listeners(&self) -> u64 {
        self.listeners
    }
}

/// How a clip is heard.
pub(crate) fn heard(clip: &Clip) -> Heard {
    match clip {
        Clip::Music(_) => Heard::Together,
        Clip::Sound(_) | Clip::Tone(_) => Heard::Alone,
    }
}

impl fmt::Debug for Booth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Booth").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
