//! Makes all recordings equally loud: nobody reaches for the volume between two prompts.
//!
//! Loudness is measured as broadcasters do (EBU R 128, ITU-R BS.1770). What would get too loud for
//! its samples is held down for some milliseconds around, and what lies between samples (true peaks)
//! is kept below the limit, too, so that no codec behind it clips.

use std::collections::VecDeque;

use ebur128::{EbuR128, Mode};

use super::RATE;

/// How loud everything becomes, in LUFS: a voice on the telephone.
const TARGET: f64 = -19.0;
/// Noise is no voice: what is almost silent is not blown up further than this.
const MOST_GAIN_DB: f64 = 20.0;
/// Samples stay below this, so that there is room for what lies between them.
const CEILING: f32 = 0.84;
/// Nothing between samples gets louder than this (−1 dBTP).
const TRUE_CEILING: f64 = 0.891;
/// Held down so many samples before and after a peak: 5 ms.
const AROUND: usize = RATE as usize / 200;
/// What is shorter is measured as if it were repeated: R 128 knows no loudness of a click.
const SHORTEST: usize = RATE as usize;

/// The samples at the loudness that all have.
pub(super) fn level(mut samples: Vec<f32>) -> Vec<i16> {
    let gain = loudness(&samples).map_or(1.0, |loud| {
        let db = (TARGET - loud).min(MOST_GAIN_DB);
        10.0_f64.powf(db / 20.0)
    });
    samples.iter_mut().for_each(|sample| *sample *= gain as f32);
    hold_down(&mut samples);
    let over = true_peak(&samples).map_or(1.0, |peak| (TRUE_CEILING / peak).min(1.0));
    let scale = over as f32 * f32::from(i16::MAX);
    samples.iter().map(|sample| (sample * scale).round() as i16).collect()
}

/// In LUFS; `None`: it is silent.
fn loudness(samples: &[f32]) -> Option<f64> {
    let mut meter = EbuR128::new(1, RATE, Mode::I).ok()?;
    let mut fed = 0;
    while fed < SHORTEST && !samples.is_empty() {
        meter.add_frames_f32(samples).ok()?;
        fed += samples.len();
    }
    meter.loudness_global().ok().filter(|loud| loud.is_finite())
}

fn true_peak(samples: &[f32]) -> Option<f64> {
    let mut meter = EbuR128::new(1, RATE, Mode::TRUE_PEAK).ok()?;
    meter.add_frames_f32(samples).ok()?;
    meter.true_peak(0).ok().filter(|peak| *peak > 0.0)
}

/// Lowers what is above the ceiling, and smoothly all around it.
fn hold_down(samples: &mut [f32]) {
    let needed = |sample: f32| (CEILING / sample.abs().max(f32::MIN_POSITIVE)).min(1.0);
    let needs: Vec<f32> = samples.iter().map(|sample| needed(*sample)).collect();
    if needs.iter().all(|need| *need >= 1.0) {
        return;
    }
    // Each gain is the mean of minima that all reach to this sample, so none is above its need.
    let lowest = minima(&needs);
    let width = 2 * AROUND + 1;
    let edge = |at: isize| {
        let last = lowest.len().saturating_sub(1);
        lowest.get(usize::try_from(at).unwrap_or(0).min(last)).copied().unwrap_or(1.0)
    };
    let around = AROUND.cast_signed();
    let mut sum: f64 = (-around..=around).map(|at| f64::from(edge(at))).sum();
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample = (*sample * (sum / width as f64) as f32).clamp(-CEILING, CEILING);
        let at = at.cast_signed();
        sum += f64::from(edge(at + around + 1)) - f64::from(edge(at - around));
    }
}

/// The lowest of all within [`AROUND`] of each.
fn minima(values: &[f32]) -> Vec<f32> {
    let mut candidates: VecDeque<(usize, f32)> = VecDeque::new();
    let mut lowest = Vec::with_capacity(values.len());
    for at in 0..values.len() + AROUND {
        if let Some(value) = values.get(at) {
            while candidates.back().is_some_and(|(_, last)| last >= value) {
                candidates.pop_back();
            }
            candidates.push_back((at, *value));
        }
        if let Some(middle) = at.checked_sub(AROUND) {
            while candidates.front().is_some_and(|(place, _)| place + AROUND < middle) {
                candidates.pop_front();
            }
            lowest.push(candidates.front().map_or(1.0, |(_, value)| *value));
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use std::f32::consts::PI;

    use super::*;

    fn tone(loud: f32, seconds: f32) -> Vec<f32> {
        let many = (RATE as f32 * seconds) as usize;
        (0..many).map(|n| loud * (2.0 * PI * 440.0 * n as f32 / RATE as f32).sin()).collect()
    }

    fn measured(samples: &[i16]) -> f64 {
        let samples: Vec<f32> = samples.iter().map(|s| f32::from(*s) / 32_768.0).collect();
        loudness(&samples).unwrap()
    }

    #[test]
    fn loud_and_quiet_recordings_end_equally_loud() {
        for loud in [0.02, 0.1, 0.5, 1.0, 3.0] {
            let levelled = measured(&level(tone(loud, 3.0)));
            assert!((levelled - TARGET).abs() < 0.5, "{loud}: {levelled}");
        }
        // A click has a loudness, too.
        let levelled = measured(&level(tone(0.02, 0.1)));
        assert!((levelled - TARGET).abs() < 1.5, "{levelled}");
    }

    #[test]
    fn silence_stays_silent_and_noise_is_not_blown_up() {
        assert!(level(vec![0.0; 16_000]).iter().all(|sample| *sample == 0));
        let whisper = level(tone(0.0005, 1.0));
        let loudest = whisper.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(loudest < 200, "{loudest}");
    }

    #[test]
    fn a_shout_among_whispers_does_not_clip_nor_push_them_down() {
        let mut samples = tone(0.05, 4.0);
        for (at, sample) in samples.iter_mut().enumerate().skip(32_000).take(400) {
            *sample = if at % 2 == 0 { 3.0 } else { -3.0 };
        }
        let levelled = level(samples.clone());
        let peak = levelled.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(f32::from(peak) <= 0.9 * 32_768.0, "{peak}");
        let rest: Vec<f32> =
            levelled.iter().take(30_000).map(|s| f32::from(*s) / 32_768.0).collect();
        let ratio = rest.iter().zip(&samples).skip(10).map(|(a, b)| (a * b, b * b));
        let (ab, bb) = ratio.fold((0.0, 0.0), |(x, y), (a, b)| (x + a, y + b));
        let far_gain = ab / bb;
        let near = levelled.get(31_000).copied().map(f32::from).unwrap() / 32_768.0;
        let expected = samples.get(31_000).unwrap() * far_gain;
        assert!((near - expected).abs() < 0.01, "{near} {expected}");
    }
}
