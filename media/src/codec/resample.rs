//! Sound of one rate at another: as little as can be of what it is changes.
//!
//! A polyphase filter: the lower of the two bands is kept (a sine under a Kaiser window, 80 dB), and
//! only those products are summed that fall on a sample which is wanted. 7 kHz pass from 16 to 48 kHz
//! and back; what 8 kHz cannot hold is 60 dB down.

use std::f64::consts::PI;

use crate::codec::Rate;

/// How many samples of the slower rate the filter spans: the width of its edge.
const SPAN: usize = 80;
/// Of the slower rate's band, so much passes; the edge lies around it.
const EDGE: f64 = 0.938;
/// The window's shape: 80 dB.
const BETA: f64 = 7.857;

/// Turns one stream of one rate into another's.
#[derive(Debug)]
pub struct Resampler {
    up: usize,
    down: usize,
    taps_a_phase: usize,
    /// By phase, each in the order of the samples it is for: the oldest first.
    taps: Vec<f32>,
    /// What came before, so that the filter never starts anew.
    past: Vec<f32>,
    /// Where the next wanted sample lies after the newest given one, in steps of `up`.
    ahead: usize,
}

impl Resampler {
    /// `None` between equal rates, where nothing is to be done.
    pub fn new(from: Rate, to: Rate) -> Option<Self> {
        if from == to {
            return None;
        }
        let (up, down) = match (from.per_ms(), to.per_ms()) {
            (from, to) if from < to => (to / from, 1),
            (from, to) => (1, from / to),
        };
        let factor = up.max(down);
        let length = SPAN * factor;
        let prototype = prototype(length, factor, up as f64);
        let taps_a_phase = length / up;
        let by_phase = (0..up).rev().flat_map(|phase| prototype.iter().skip(phase).step_by(up));
        let taps = by_phase.map(|tap| *tap as f32).collect();
        Some(Self { up, down, taps_a_phase, taps, past: vec![0.0; taps_a_phase - 1], ahead: 0 })
    }

    /// Goes on where another of the same rates is: what both hear next has the same past.
    pub fn follow(&mut self, other: &Self) {
        if self.past.len() == other.past.len() {
            self.past.copy_from_slice(&other.past);
            self.ahead = other.ahead;
        }
    }

    /// Reads `from` and writes into `to`, which has room for all that comes of it; returns how many
    /// samples. `room` is where it works; it keeps its memory.
    pub fn run(&mut self, from: &[i16], to: &mut [i16], room: &mut Vec<f32>) -> usize {
        room.clear();
        room.extend_from_slice(&self.past);
        room.extend(from.iter().map(|sample| f32::from(*sample)));
        let mut wanted = to.iter_mut();
        let mut count = 0;
        for window in room.windows(self.taps_a_phase) {
            while self.ahead < self.up {
                let taps = self.taps.chunks_exact(self.taps_a_phase).nth(self.ahead);
                let Some((taps, sample)) = taps.zip(wanted.next()) else { return count };
                *sample = product(window, taps).round() as i16;
                count += 1;
                self.ahead += self.down;
            }
            self.ahead -= self.up;
        }
        let kept = room.len() - self.past.len();
        self.past.copy_from_slice(room.get(kept..).unwrap_or_default());
        count
    }
}

/// Eight sums side by side, which the processor adds at once.
fn product(window: &[f32], taps: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (samples, taps) in window.chunks_exact(8).zip(taps.chunks_exact(8)) {
        for ((sum, sample), tap) in sums.iter_mut().zip(samples).zip(taps) {
            *sum += sample * tap;
        }
    }
    sums.iter().sum()
}

/// The filter at the faster rate; it is symmetrical.
fn prototype(length: usize, factor: usize, gain: f64) -> Vec<f64> {
    let middle = (length - 1) as f64 / 2.0;
    let cut = EDGE / factor as f64;
    let tap = |n: usize| {
        let at = n as f64 - middle;
        let sine = if at == 0.0 { cut } else { (PI * cut * at).sin() / (PI * at) };
        let inside = 1.0 - (at / (middle + 0.5)).powi(2);
        sine * bessel(BETA * inside.max(0.0).sqrt()) / bessel(BETA)
    };
    let mut taps: Vec<f64> = (0..length).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap *= gain / sum);
    taps
}

/// The modified Bessel function of order zero, by its series.
pub(crate) fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}
