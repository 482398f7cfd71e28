//! A conference: each member hears all the others and not itself, whatever codec it has.
//!
//! Pure: packets and time are arguments. `member` is one phone's part in it, `room` adds what they say,
//! twenty milliseconds at a time, `voice` packs the sum, `level` tells who speaks, `cue` makes the tones
//! that say who comes and goes, `limit` keeps many voices from breaking.

mod cue;
mod level;
mod limit;
mod member;
mod room;
mod voice;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::codec::Rate;

pub(crate) use room::{Packed, Room};

/// Sound is added at this rate: what is better than that no telephone says.
const RATE: Rate = Rate::Wide;
/// What is added at once.
const TICK: Duration = Duration::from_millis(20);
/// The same in samples.
const FRAME: usize = 20 * RATE.per_ms();
