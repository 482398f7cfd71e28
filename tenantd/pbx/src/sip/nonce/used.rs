//! Which nonces were answered, and with which counts, so that no answer is accepted twice.
//!
//! RFC 7616 §3.4 (`nc`). Nearly all nonces are answered once, with the count 1: that is a bit each,
//! 64 of one issuer in a row to a place. Only one that is used again has a window of 64 counts,
//! because phones on a bad line send out of order. Memory is cut into spans of time, so that what is
//! too old, or has to make room, goes in one piece.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Issued, Stale};
use crate::moment::Moment;

/// How many spans the time of validity, and the room, are cut into.
const SPANS: u32 = 8;

/// The nonces that were answered, by their issue.
#[derive(Debug)]
pub(super) struct Used {
    valid_for: Duration,
    limit: usize,
    /// The oldest first; each begins where the one before ends.
    spans: VecDeque<Span>,
    len: usize,
    forgotten_until: Moment,
}

/// Those that were issued within some time.
#[derive(Debug)]
struct Span {
    begins_at: Moment,
    newest_at: Moment,
    once: BTreeMap<Block, u64>,
    again: BTreeMap<Issued, Window>,
}

/// 64 nonces in a row of one issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block(u16, u64);

/// The highest count so far, and which of the 64 up to it were used: bit 0 is the highest.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u32,
    used: u64,
}

/// What memory says of a nonce.
enum Known {
    Never,
    Once,
    Again,
}

impl Used {
    pub(super) fn new(valid_for: Duration, limit: usize) -> Self {
        let (spans, forgotten_until) = (VecDeque::new(), Moment::EPOCH);
        Self { valid_for, limit: limit.max(1), spans, len: 0, forgotten_until }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn forgotten_until(&self) -> Moment {
        self.forgotten_until
    }

    /// Takes note of an answer with this count.
    pub(super) fn spend(&mut self, now: Moment, nonce: Issued, count: u32) -> Result<(), Stale> {
        let span = self.span(nonce.at()).and_then(|place| self.spans.get_mut(place));
        match (span.as_ref().map_or(Known::Never, |span| span.known(nonce)), count) {
            (Known::Again, _) => {
                let window = span.and_then(|span| span.again.get_mut(&nonce));
                return window.map_or(Err(Stale::Forgotten), |window| window.spend(count));
            }
            (Known::Once, 1) => return Err(Stale::Replayed),
            (Known::Once, _) => {}
            (Known::Never, _) if nonce.at() <= self.forgotten_until => {
                return Err(Stale::Forgotten);
            }
            (Known::Never, 1) => {
                if let Some(span) = span
                    && let Some(block) = span.once.get_mut(&Block::of(nonce))
                {
                    *block |= bit(nonce);
                    span.newest_at = span.newest_at.max(nonce.at());
                    return Ok(());
                }
            }
            (Known::Never, _) => {}
        }
        self.make_room(now);
        // It may itself have had to go.
        if nonce.at() <= self.forgotten_until {
            return Err(Stale::Forgotten);
        }
        let span = self.span_for(nonce.at());
        match (span.known(nonce), count) {
            (Known::Never, 1) => drop(span.once.insert(Block::of(nonce), bit(nonce))),
            (Known::Never | Known::Again, _) => {
                span.again.insert(nonce, Window { highest: count, used: 1 });
            }
            (Known::Once, _) => {
                let mut window = Window { highest: 1, used: 1 };
                window.spend(count)?;
                span.again.insert(nonce, window);
            }
        }
        self.len += 1;
        Ok(())
    }

    /// Which span a nonce of this moment is in, if it is in any.
    fn span(&self, at: Moment) -> Option<usize> {
        self.spans.partition_point(|span| span.begins_at <= at).checked_sub(1)
    }

    /// The same, made where there is none.
    fn span_for(&mut self, at: Moment) -> &mut Span {
        let share = (self.limit / SPANS as usize).max(1);
        let is_new = self.spans.back().is_none_or(|last| {
            let is_full = last.len() >= share || at - last.begins_at > self.valid_for / SPANS;
            is_full && at > last.newest_at
        });
        if is_new {
            self.spans.push_back(Span::new(at));
        }
        let place = self.span(at).unwrap_or(0);
        let span = self.spans.get_mut(place).expect("there is one, or one was just made");
        span.begins_at = span.begins_at.min(at);
        span.newest_at = span.newest_at.max(at);
        span
    }

    /// Lets go of what is too old, and if that is not enough, of the oldest.
    fn make_room(&mut self, now: Moment) {
        while let Some(oldest) = self.spans.front() {
            let is_too_old = now - oldest.newest_at > self.valid_for;
            if !is_too_old {
                if self.len < self.limit {
                    return;
                }
                self.forgotten_until = oldest.newest_at;
            }
            self.len -= oldest.len();
            self.spans.pop_front();
        }
    }
}

impl Span {
    fn new(begins_at: Moment) -> Self {
        let (once, again) = (BTreeMap::new(), BTreeMap::new());
        Self { begins_at, newest_at: begins_at, once, again }
    }

    fn len(&self) -> usize {
        self.once.len() + self.again.len()
    }

    fn known(&self, nonce: Issued) -> Known {
        let once = self.once.get(&Block::of(nonce)).is_some_and(|block| block & bit(nonce) != 0);
        match (self.again.contains_key(&nonce), once) {
            (true, _) => Known::Again,
            (false, true) => Known::Once,
            (false, false) => Known::Never,
        }
    }
}

impl Block {
    fn of(nonce: Issued) -> Self {
        let [.., high, low] = nonce.first.to_be_bytes();
        Self(u16::from_be_bytes([high, low]), nonce.second >> 6)
    }
}

/// Its place within its block.
fn bit(nonce: Issued) -> u64 {
    1 << (nonce.second & 63)
}

impl Window {
    fn spend(&mut self, count: u32) -> Result<(), Stale> {
        if let Some(ahead) = count.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return Ok(());
        }
        let bit = 1_u64.checked_shl(self.highest - count).ok_or(Stale::Replayed)?;
        if self.used & bit != 0 {
            return Err(Stale::Replayed);
        }
        self.used |= bit;
        Ok(())
    }
}
