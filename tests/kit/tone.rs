//! Which tone is heard in a sound, how loud, and for how long.
//!
//! Goertzel's algorithm: the share of a window's energy that lies at one frequency.

use std::f64::consts::TAU;

use crate::wav::Sound;

/// Windows are this long: short enough to find where a tone begins, long enough to tell 440 Hz
/// from 480.
const WINDOW_MS: u32 = 50;

/// A window holds the tone if this share of its energy is the tone's.
const PURE: f64 = 0.8;

/// Below this share of full scale (-46 dB) there is silence.
const FAINT: f64 = 0.005;

/// What one window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing to speak of.
    Silence,
    /// The tone that was asked for.
    Tone,
    /// Something else.
    Other,
}

/// What each window of the sound holds, when listening for `hz`.
pub fn windows(sound: &Sound, hz: f64) -> impl Iterator<Item = Heard> {
    let length = (sound.rate * WINDOW_MS / 1_000).max(1) as usize;
    sound.samples.chunks_exact(length).map(move |window| heard_in(window, sound.rate, hz))
}

/// For how many seconds the tone is heard in all.
pub fn seconds_of(sound: &Sound, hz: f64) -> f64 {
    seconds(windows(sound, hz).filter(|heard| *heard == Heard::Tone).count())
}

/// For how many seconds something is heard that is not the tone. The edges of a tone count as
/// something else, so a little is always there.
pub fn seconds_of_others(sound: &Sound, hz: f64) -> f64 {
    seconds(windows(sound, hz).filter(|heard| *heard == Heard::Other).count())
}

/// How loud the tone is where it is heard: its effective value, in decibels of full scale. Nothing if
/// it is not heard.
pub fn level_of(sound: &Sound, hz: f64) -> Option<f64> {
    let length = (sound.rate * WINDOW_MS / 1_000).max(1) as usize;
    let chunks = sound.samples.chunks_exact(length);
    let tones = chunks.zip(windows(sound, hz)).filter(|(_, heard)| *heard == Heard::Tone);
    let samples: Vec<f64> =
        tones.flat_map(|(chunk, _)| chunk).map(|sample| f64::from(*sample) / 32_768.0).collect();
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    (!samples.is_empty()).then(|| 10.0 * (energy / samples.len() as f64).log10())
}

/// How loud a tone is among others, over the whole of a sound: its effective value, in decibels of full
/// scale. What lies 30 Hz beside it hardly counts in a second of sound.
pub fn level_among(sound: &Sound, hz: f64) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    let whole = sound.samples.len() as f64;
    for (n, sample) in sound.samples.iter().enumerate() {
        // Hann's window: neighbours do not leak into it.
        let window = 1.0 - (TAU * n as f64 / whole).cos();
        let (sin, cos) = (TAU * hz * n as f64 / f64::from(sound.rate)).sin_cos();
        let sample = f64::from(*sample) / 32_768.0 * window;
        real += sample * cos;
        imaginary += sample * sin;
    }
    let amplitude = real.hypot(imaginary) * 2.0 / whole.max(1.0);
    20.0 * (amplitude / std::f64::consts::SQRT_2).max(1e-6).log10()
}

/// A tone at half of full scale.
pub fn sine(rate: u32, hz: f64, samples: usize) -> Sound {
    let sample = |n: usize| 16_000.0 * (TAU * hz * n as f64 / f64::from(rate)).sin();
    Sound { rate, samples: (0..samples).map(|n| sample(n) as i16).collect() }
}

fn seconds(windows: usize) -> f64 {
    windows as f64 * f64::from(WINDOW_MS) / 1_000.0
}

fn heard_in(window: &[i16], rate: u32, hz: f64) -> Heard {
    let samples = || window.iter().map(|sample| f64::from(*sample) / 32_768.0);
    let energy: f64 = samples().map(|sample| sample * sample).sum();
    let count = window.len() as f64;
    if (energy / count).sqrt() < FAINT {
        return Heard::Silence;
    }
    let turn = TAU * hz / f64::from(rate);
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (n, sample) in samples().enumerate() {
        let (sin, cos) = (turn * n as f64).sin_cos();
        real += sample * cos;
        imaginary += sample * sin;
    }
    // A pure tone of amplitude a has energy a²n/2 and correlates to an/2.
    let share = 2.0 * (real * real + imaginary * imaginary) / count / energy;
    if share > PURE { Heard::Tone } else { Heard::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_told_from_another_from_noise_and_from_silence() {
        let tone = sine(8_000, 440.0, 16_000);
        assert_eq!(seconds_of(&tone, 440.0), 2.0);
        assert_eq!(seconds_of(&tone, 700.0), 0.0);
        assert_eq!(seconds_of_others(&tone, 700.0), 2.0);

        let silence = Sound { rate: 8_000, samples: vec![3; 8_000] };
        assert!(windows(&silence, 440.0).all(|heard| heard == Heard::Silence));

        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 17) as i16
        });
        let noise = Sound { rate: 8_000, samples: noise.take(8_000).collect() };
        assert_eq!(seconds_of(&noise, 440.0), 0.0);
    }

    #[test]
    fn a_tone_is_as_loud_as_it_was_made_and_what_is_no_tone_has_no_level() {
        let mut sound = sine(16_000, 1_000.0, 16_000);
        // 16 000 of 32 768, and a sine's effective value.
        let level = level_of(&sound, 1_000.0).unwrap();
        assert!((level + 9.24).abs() < 0.05, "{level}");
        sound.samples.extend([0; 16_000]);
        assert_eq!(level_of(&sound, 1_000.0), Some(level), "silence is no part of it");
        assert_eq!(level_of(&sound, 440.0), None);
    }

    #[test]
    fn tones_are_told_from_each_other_when_they_sound_together() {
        let (a, b) = (sine(8_000, 440.0, 8_000), sine(8_000, 700.0, 8_000));
        let both = a.samples.iter().zip(&b.samples).map(|(a, b)| a / 2 + b / 20).collect();
        let both = Sound { rate: 8_000, samples: both };
        let level = |hz| level_among(&both, hz);
        assert!((level(440.0) + 15.26).abs() < 0.1, "{}", level(440.0));
        assert!((level(700.0) + 35.26).abs() < 0.1, "{}", level(700.0));
        assert!(level(1_000.0) < -70.0, "{}", level(1_000.0));
    }

    #[test]
    fn a_tone_under_another_of_the_same_level_is_not_the_tone() {
        let (a, b) = (sine(8_000, 440.0, 8_000), sine(8_000, 700.0, 8_000));
        let both = a.samples.iter().zip(&b.samples).map(|(a, b)| a / 2 + b / 2).collect();
        let both = Sound { rate: 8_000, samples: both };
        assert_eq!(seconds_of(&both, 440.0), 0.0);
        assert_eq!(seconds_of(&both, 700.0), 0.0);
    }
}
