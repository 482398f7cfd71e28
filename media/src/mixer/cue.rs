//! Short tones that say what happens in a conference, where no words are kept.

use std::f32::consts::TAU;

use pbx::media::Cue;

use super::RATE;

/// Each tone's amplitude: 20 dB below full scale.
const LOUD: f32 = 3_277.0;
/// A tone begins and ends within so many samples, so that it does not click.
const SLOPE: usize = 5 * RATE.per_ms();

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// For all: somebody came.
    Entered,
    /// For all: somebody left.
    Left,
    /// For one.
    Told(Cue),
}

/// One that is being played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Playing {
    pub(super) sign: Sign,
    /// So many samples were played.
    played: usize,
}

/// Whether there is more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Some,
    Nothing,
}

impl Sign {
    /// Its notes: Hertz (0 is a pause), and how long in milliseconds.
    fn notes(self) -> &'static [(f32, usize)] {
        match self {
            Self::Entered => &[(587.0, 120), (880.0, 160)],
            Self::Left => &[(880.0, 120), (587.0, 160)],
            Self::Told(Cue::AskPin) => &[(1_000.0, 180), (0.0, 120), (1_000.0, 180)],
            Self::Told(Cue::WrongPin) => &[(400.0, 250), (0.0, 100), (400.0, 250)],
            Self::Told(Cue::Muted) => &[(660.0, 90), (440.0, 140)],
            Self::Told(Cue::Unmuted) => &[(440.0, 90), (660.0, 140)],
        }
    }
}

impl Playing {
    /// From its first sample on.
    pub(super) fn begin(sign: Sign) -> Self {
        Self { sign, played: 0 }
    }

    /// Adds the next samples to a sum.
    pub(super) fn add_to(&mut self, sum: &mut [i32]) -> Left {
        let (mut samples, mut from) = (sum.iter_mut(), 0);
        for (hertz, ms) in self.sign.notes() {
            let long = ms * RATE.per_ms();
            while self.played < from + long {
                let Some(sample) = samples.next() else { return Left::Some };
                *sample += tone(*hertz, self.played - from, long);
                self.played += 1;
            }
            from += long;
        }
        Left::Nothing
    }
}

fn tone(hertz: f32, at: usize, long: usize) -> i32 {
    let edge = at.min(long - 1 - at).min(SLOPE) as f32 / SLOPE as f32;
    let angle = TAU * (hertz * at as f32 / RATE.hertz() as f32).fract();
    (LOUD * edge * angle.sin()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::strength;

    #[test]
    fn a_sign_is_its_notes_one_after_the_other_and_then_nothing() {
        let mut playing = Playing::begin(Sign::Entered);
        let (mut heard, mut left) = (vec![], Left::Some);
        while left == Left::Some {
            let mut sum = [0; 320];
            left = playing.add_to(&mut sum);
            heard.extend(sum.map(|sample| sample as i16));
        }
        assert_eq!(heard.len(), 280 * 16);
        let (first, second) = heard.split_at(120 * 16);
        let loud = |sound: &[i16], hz| 20.0 * (strength(sound, RATE, hz) / 32_768.0).log10();
        assert!((loud(first, 587.0) + 20.0).abs() < 1.0, "{}", loud(first, 587.0));
        assert!((loud(second, 880.0) + 20.0).abs() < 1.0, "{}", loud(second, 880.0));
        assert!(loud(second, 587.0) < -50.0);
    }
}
