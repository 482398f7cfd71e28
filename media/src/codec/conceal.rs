//! Filling the gap that a lost packet leaves: the last tone of the voice goes on, and fades.
//!
//! As ITU-T G.711 appendix I does it, but simpler: the pitch is sought in what was heard last, its
//! last period is repeated for 10 ms at full strength, and is gone after 60. Opus does this itself.

use crate::codec::Rate;

/// What is remembered, in milliseconds: two of the longest periods, and what they are held against.
const REMEMBERED_MS: usize = 30;
/// Periods of voices, in milliseconds: 66 to 400 Hz.
const LONGEST_MS: usize = 15;
const SHORTEST_MS_HALVES: usize = 5;
/// The fade begins and ends here.
const FULL_MS: usize = 10;
const GONE_MS: usize = 60;
/// Over so many milliseconds a gap's end runs into what is heard again.
const SEAM_MS: usize = 4;

/// Remembers what was heard last.
#[derive(Debug)]
pub struct Concealer {
    per_ms: usize,
    heard: Vec<i16>,
    gap: Option<Gap>,
}

/// What is being made up.
#[derive(Debug, Clone, Copy)]
struct Gap {
    period: usize,
    /// How many samples were made up so far.
    at: usize,
}

impl Concealer {
    /// For sound of this rate.
    pub fn new(rate: Rate) -> Self {
        let per_ms = rate.per_ms();
        Self { per_ms, heard: vec![0; REMEMBERED_MS * per_ms], gap: None }
    }

    /// Sound was heard: it is remembered, and runs out of what was made up before it.
    pub fn handle_heard(&mut self, samples: &mut [i16]) {
        if let Some(mut gap) = self.gap.take() {
            let seam = SEAM_MS * self.per_ms;
            for (n, sample) in samples.iter_mut().take(seam).enumerate() {
                let (made_up, n) = (i32::from(self.next(&mut gap)), n as i32);
                let mixed = i32::from(*sample) * n + made_up * (seam as i32 - n);
                *sample = (mixed / seam as i32) as i16;
            }
        }
        let kept = self.heard.len();
        let new = samples.get(samples.len().saturating_sub(kept)..).unwrap_or_default();
        self.heard.copy_within(new.len().., 0);
        if let Some(end) = self.heard.get_mut(kept - new.len()..) {
            end.copy_from_slice(new);
        }
    }

    /// Fills with what may have been said.
    pub fn conceal(&mut self, out: &mut [i16]) {
        let mut gap = match self.gap {
            Some(gap) => gap,
            None => Gap { period: self.period(), at: 0 },
        };
        out.fill_with(|| self.next(&mut gap));
        self.gap = Some(gap);
    }

    fn next(&self, gap: &mut Gap) -> i16 {
        let (full, gone) = (FULL_MS * self.per_ms, GONE_MS * self.per_ms);
        let left = gone.saturating_sub(gap.at).min(gone - full) as i32;
        let from = self.heard.len() - gap.period + gap.at % gap.period;
        let sample = self.heard.get(from).copied().unwrap_or(0);
        gap.at += 1;
        (i32::from(sample) * left / (gone - full) as i32) as i16
    }

    /// The lag at which what was heard last resembles itself the most.
    fn period(&self) -> usize {
        let (shortest, longest) = (SHORTEST_MS_HALVES * self.per_ms / 2, LONGEST_MS * self.per_ms);
        let window = self.heard.len() - longest;
        let last = self.heard.get(longest..).unwrap_or_default();
        let alike = |lag: usize| -> f32 {
            let before = self.heard.get(longest - lag..).unwrap_or_default();
            let (mut product, mut energy) = (0.0_f32, 1.0_f32);
            for (a, b) in last.iter().zip(before).take(window) {
                let (a, b) = (f32::from(*a), f32::from(*b));
                product += a * b;
                energy += b * b;
            }
            product / energy.sqrt()
        };
        let lags = (shortest..=longest).map(|lag| (lag, alike(lag)));
        lags.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(longest, |(lag, _)| lag)
    }
}
