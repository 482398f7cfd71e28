//! Sound of any rate at the one rate in which it is kept.
//!
//! A sine under a window, as wide as the lower of the two rates lets through. It is read from a table
//! between whose entries a straight line is good enough for 90 dB. Calls have few rates, whose ratios
//! are whole numbers, and their filter (`codec::resample`) is made of that.

use std::f64::consts::PI;

use crate::codec::resample::bessel;

/// Zero crossings of the sine on each side.
const CROSSINGS: usize = 24;
/// Entries of the table from one crossing to the next.
const STEPS: usize = 512;
/// Of what could be kept, so much is: the rest is the filter's slope.
const PASS: f64 = 0.94;
/// The Kaiser window's shape: 90 dB.
const BETA: f64 = 9.0;

/// Turns one recording of one rate into another.
pub(super) struct Resampler {
    from: u64,
    to: u64,
    /// Half of the filter, from its middle outwards.
    table: Vec<f32>,
    /// How far the filter reaches on each side, in samples that come.
    reach: usize,
    /// Steps of the table for each sample that comes.
    scale: f64,
    gain: f32,
    /// What may still be needed; the first is number `first`.
    past: Vec<f32>,
    first: u64,
    /// How many were given out.
    given: u64,
    /// How many came.
    came: u64,
}

impl Resampler {
    pub(super) fn new(from: u32, to: u32) -> Self {
        let cut = PASS * f64::from(to.min(from)) / f64::from(from);
        let reach = (CROSSINGS as f64 / cut).ceil() as usize + 1;
        let entry = |step: usize| {
            let at = step as f64 / STEPS as f64;
            let sine = if step == 0 { 1.0 } else { (PI * at).sin() / (PI * at) };
            let inside = (1.0 - (at / CROSSINGS as f64).powi(2)).max(0.0);
            (sine * bessel(BETA * inside.sqrt()) / bessel(BETA)) as f32
        };
        Self {
            from: u64::from(from),
            to: u64::from(to),
            table: (0..=CROSSINGS * STEPS + 1).map(entry).collect(),
            reach,
            scale: cut * STEPS as f64,
            gain: cut as f32,
            past: Vec::new(),
            first: 0,
            given: 0,
            came: 0,
        }
    }

    /// More of the recording; what can be said of it so far is added to `out`.
    pub(super) fn push(&mut self, samples: impl Iterator<Item = f32>, out: &mut Vec<f32>) {
        if self.from == self.to {
            return out.extend(samples);
        }
        let before = self.past.len();
        self.past.extend(samples);
        self.came += (self.past.len() - before) as u64;
        let ready = self.came.saturating_sub(self.reach as u64);
        while self.given * self.from / self.to < ready {
            out.push(self.sample());
        }
        self.forget();
    }

    /// That was all.
    pub(super) fn end(&mut self, out: &mut Vec<f32>) {
        if self.from == self.to {
            return;
        }
        let all = self.came * self.to / self.from;
        while self.given < all {
            out.push(self.sample());
        }
    }

    /// The next one that is given out: all around it, weighed.
    fn sample(&mut self) -> f32 {
        let at = self.given * self.from;
        let (middle, part) = (at / self.to, (at % self.to) as f64 / self.to as f64);
        self.given += 1;
        let begin = middle.saturating_sub(self.reach as u64).max(self.first);
        let skip = usize::try_from(begin - self.first).unwrap_or(usize::MAX);
        let wanted = usize::try_from(middle - begin).unwrap_or(0) + self.reach + 1;
        let around = self.past.iter().skip(skip).take(wanted);
        let mut distance = (begin as f64 - middle as f64) - part;
        let mut sum = 0.0;
        for sample in around {
            sum += sample * self.weight(distance.abs() * self.scale);
            distance += 1.0;
        }
        sum * self.gain
    }

    fn weight(&self, steps: f64) -> f32 {
        let (whole, part) = (steps as usize, steps.fract() as f32);
        match self.table.get(whole..whole + 2) {
            Some([this, next]) => this + (next - this) * part,
            Some(_) | None => 0.0,
        }
    }

    fn forget(&mut self) {
        let needed = (self.given * self.from / self.to).saturating_sub(self.reach as u64);
        let old = usize::try_from(needed.saturating_sub(self.first)).unwrap_or(0);
        if old > 65_536 {
            self.past.drain(..old.min(self.past.len()));
            self.first += old as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let many = (f64::from(rate) * seconds) as usize;
        let at = |n: usize| (2.0 * PI * hertz * n as f64 / f64::from(rate)).sin() as f32 * 0.5;
        (0..many).map(at).collect()
    }

    fn resampled(samples: &[f32], from: u32, piece: usize) -> Vec<f32> {
        let (mut resampler, mut out) = (Resampler::new(from, 16_000), Vec::new());
        for part in samples.chunks(piece) {
            resampler.push(part.iter().copied(), &mut out);
        }
        resampler.end(&mut out);
        out
    }

    fn loudness(samples: &[f32]) -> f32 {
        let sum: f32 = samples.iter().map(|s| s * s).sum();
        (sum / samples.len() as f32).sqrt()
    }

    #[test]
    fn a_tone_stays_what_it_is_at_every_rate_and_in_whatever_pieces_it_comes() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
            let out = resampled(&tone(1_000.0, rate, 1.0), rate, 997);
            assert!((15_999..=16_001).contains(&out.len()), "{rate}: {}", out.len());
            let expected = tone(1_000.0, 16_000, 1.0);
            let errors: Vec<f32> =
                out.iter().zip(&expected).map(|(a, b)| a - b).skip(200).take(15_000).collect();
            assert!(loudness(&errors) < 0.001, "{rate}: {}", loudness(&errors));
            assert_eq!(out, resampled(&tone(1_000.0, rate, 1.0), rate, 100_000));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_gone_and_comes_back_as_nothing_else() {
        let out = resampled(&tone(9_000.0, 48_000, 1.0), 48_000, 4_096);
        let inside = out.get(500..15_500).unwrap();
        assert!(loudness(inside) < 0.0001, "{}", loudness(inside));
    }
}
