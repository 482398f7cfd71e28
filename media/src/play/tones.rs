//! The tones of each country that tell how a call goes, as its people know them.
//!
//! ITU-T E.180 and its supplement 2, which lists what each administration uses.

use std::f64::consts::TAU;

use pbx::media::{CallTone, Country, Signal};

use crate::codec::Rate;

/// Each frequency's amplitude where there are two; one alone has both. Some 12 dB below the loudest.
const LOUD: f64 = 4_000.0;
/// A tone is made so long that it holds whole packets of every length.
const WHOLE_MS: u32 = 120;
/// So long at most, then: the longest cadence is 6 s.
const LONGEST_MS: u32 = 60_000;
/// It swells and fades so long, or it would click.
const EDGE: usize = 5 * RATE.per_ms();
const RATE: Rate = Rate::Wide;

/// What is heard, again and again.
struct Cadence {
    /// In Hertz; equal, if there is but one.
    tones: [f64; 2],
    /// On, off, and so on, in milliseconds.
    steps: &'static [u32],
}

const fn one(hertz: f64, steps: &'static [u32]) -> Cadence {
    Cadence { tones: [hertz, hertz], steps }
}

const fn two(low: f64, high: f64, steps: &'static [u32]) -> Cadence {
    Cadence { tones: [low, high], steps }
}

fn cadence(tone: CallTone) -> Cadence {
    use Country::{Austria, Germany, Switzerland, UnitedKingdom, UnitedStates};
    use Signal::{Busy, Congestion, Ringback};
    match (tone.country, tone.signal) {
        (Austria, Ringback) => one(420.0, &[1_000, 5_000]),
        (Austria, Busy) => one(420.0, &[400, 400]),
        (Austria, Congestion) => one(420.0, &[200, 200]),
        (Germany, Ringback) => one(425.0, &[1_000, 4_000]),
        (Germany, Busy) => one(425.0, &[480, 480]),
        (Germany, Congestion) => one(425.0, &[240, 240]),
        (Switzerland, Ringback) => one(425.0, &[1_000, 4_000]),
        (Switzerland, Busy) => one(425.0, &[500, 500]),
        (Switzerland, Congestion) => one(425.0, &[200, 200]),
        (UnitedStates, Ringback) => two(440.0, 480.0, &[2_000, 4_000]),
        (UnitedStates, Busy) => two(480.0, 620.0, &[500, 500]),
        (UnitedStates, Congestion) => two(480.0, 620.0, &[250, 250]),
        (UnitedKingdom, Ringback) => two(400.0, 450.0, &[400, 200, 400, 2_000]),
        (UnitedKingdom, Busy) => one(400.0, &[375, 375]),
        (UnitedKingdom, Congestion) => one(400.0, &[400, 350, 225, 525]),
    }
}

/// A tone's samples: whole cadences, so that its end goes over into its beginning.
pub(super) fn make(tone: CallTone) -> Vec<i16> {
    let Cadence { tones, steps } = cadence(tone);
    let mut sound = Vec::new();
    let mut long_ms = 0;
    while long_ms == 0 || (long_ms % WHOLE_MS != 0 && long_ms < LONGEST_MS) {
        for (place, step) in steps.iter().enumerate() {
            let samples = *step as usize * RATE.per_ms();
            match place % 2 {
                0 => sound.extend((0..samples).map(|n| sample(tones, n, samples))),
                _ => sound.extend(std::iter::repeat_n(0, samples)),
            }
            long_ms += step;
        }
    }
    sound
}

fn sample(tones: [f64; 2], n: usize, of: usize) -> i16 {
    let at = TAU * n as f64 / f64::from(RATE.hertz());
    let edge = n.min(of - n).min(EDGE) as f64 / EDGE as f64;
    let sum: f64 = tones.iter().map(|hertz| (at * hertz).sin()).sum();
    (LOUD * edge * sum) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::level;

    #[test]
    fn every_country_has_its_own_tones_and_whole_packets_of_them() {
        for country in Country::ALL {
            for signal in [Signal::Ringback, Signal::Busy, Signal::Congestion] {
                let tone = CallTone { signal, country };
                let sound = make(tone);
                let Cadence { tones, steps } = cadence(tone);
                let period = steps.iter().sum::<u32>() as usize * 16;
                assert_eq!(sound.len() % (WHOLE_MS as usize * 16), 0, "{tone:?}");
                assert_eq!(sound.len() % period, 0, "{tone:?}");
                let on = &sound[..steps[0] as usize * 16];
                let off = &sound[on.len()..][..steps[1] as usize * 16];
                assert!(off.iter().all(|sample| *sample == 0), "{tone:?}");
                for hertz in tones {
                    let loud = if tones[0] == tones[1] { 0.0 } else { -6.2 };
                    let found = level(on, Rate::Wide, hertz);
                    assert!((found - loud).abs() < 0.8, "{tone:?} {hertz} {found}");
                }
            }
        }
    }
}
