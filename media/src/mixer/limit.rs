//! Many voices at once are louder than a sample can say: all become softer together, instead of being cut.
//!
//! A cut turns peaks into crackling. Here the loudest peak of a tick says how much softer it must be;
//! that comes within two milliseconds and goes within half a second. What is too loud in those two
//! milliseconds is bent.

/// The loudest peak that is left: 0.5 dB below full scale.
const LOUDEST: i32 = 30_934;
/// Samples in which it becomes softer.
const ATTACK: usize = 32;
/// What a tick may be louder than the one before.
const RELEASE: f32 = 0.04;
/// A sample up to here is what it is.
const KNEE: i32 = 31_000;
/// What is left above.
const ROOM: i32 = i16::MAX as i32 - KNEE;

/// One sum's loudness.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limiter {
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: 1.0 }
    }
}

impl Limiter {
    /// The next tick's sum as samples.
    pub(super) fn run(&mut self, sum: &[i32], out: &mut [i16]) {
        let peak = sum.iter().fold(0, |peak, sample| peak.max(sample.saturating_abs()));
        let needed = if peak > LOUDEST { LOUDEST as f32 / peak as f32 } else { 1.0 };
        let (before, after) = (self.gain, needed.min(self.gain + RELEASE));
        self.gain = after;
        if (before, after) == (1.0, 1.0) {
            out.iter_mut().zip(sum).for_each(|(sample, sum)| *sample = *sum as i16);
            return;
        }
        let slope = if after < before { ATTACK } else { out.len().max(1) };
        let (step, mut gain) = ((after - before) / slope as f32, before);
        let middle = slope.min(out.len());
        let (changing, steady) = out.split_at_mut(middle);
        for (sample, sum) in changing.iter_mut().zip(sum) {
            gain += step;
            *sample = bend((*sum as f32 * gain) as i32);
        }
        for (sample, sum) in steady.iter_mut().zip(sum.iter().skip(middle)) {
            *sample = bend((*sum as f32 * after) as i32);
        }
    }
}

/// Comes nearer and nearer to full scale without reaching it.
fn bend(sum: i32) -> i16 {
    if (-KNEE..=KNEE).contains(&sum) {
        return sum as i16;
    }
    let above = i64::from(sum.unsigned_abs()) - i64::from(KNEE);
    // Its slope is one at the knee.
    let bent = above * i64::from(ROOM) / (above + i64::from(ROOM));
    let size = (i64::from(KNEE) + bent) as i16;
    if sum < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Rate;
    use crate::codec::tests::level;

    #[test]
    fn what_is_not_too_loud_stays_as_it_is() {
        let sum: Vec<i32> = (-30_000..=30_000).step_by(200).collect();
        let mut out = vec![0; sum.len()];
        Limiter::default().run(&sum, &mut out);
        assert!(sum.iter().zip(&out).all(|(sum, sample)| *sum == i32::from(*sample)));
    }

    #[test]
    fn louder_is_never_quieter_and_never_turns_over() {
        let mut last = i16::MIN;
        for sum in (-4_000_000..=4_000_000).step_by(97) {
            let sample = bend(sum);
            assert!(sample >= last, "{sum}: {last} and then {sample}");
            assert_eq!(bend(-sum), -sample);
            last = sample;
        }
        let mut out = [0; 320];
        Limiter::default().run(&[i32::MIN; 320], &mut out);
        assert!(out.iter().all(|sample| *sample < -30_000), "{out:?}");
    }

    #[test]
    fn three_voices_that_are_too_loud_stay_clean_and_nobody_else_is_soft_for_long() {
        let (mut limiter, mut heard) = (Limiter::default(), vec![]);
        let sound = |n: usize, loud: f64| {
            let at = std::f64::consts::TAU * n as f64 / 16_000.0;
            [500.0, 700.0, 1_100.0].map(|hz| (loud * (at * hz).sin()) as i32).iter().sum()
        };
        let mut tick = |from: usize, loud| {
            let sum: Vec<i32> = (from..from + 320).map(|n| sound(n, loud)).collect();
            let mut out = [0; 320];
            limiter.run(&sum, &mut out);
            heard.extend(out);
        };
        (0..100).for_each(|n| tick(n * 320, 29_000.0));
        (100..150).for_each(|n| tick(n * 320, 3_000.0));
        let of = |sound: &[i16], hz| level(sound, Rate::Wide, hz);
        let loud = &heard[16_000..32_000];
        for hz in [500.0, 700.0, 1_100.0] {
            assert!((0.5..4.0).contains(&of(loud, hz)), "{}", of(loud, hz));
        }
        let beside = [300.0, 900.0, 1_300.0, 2_300.0, 3_100.0].map(|hz| of(loud, hz));
        assert!(beside.iter().all(|level| *level < -40.0), "{beside:?}");
        let after = of(&heard[42_000..48_000], 700.0);
        assert!((after + 8.72).abs() < 0.3, "{after}");
    }
}
