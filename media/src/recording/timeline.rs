//! Both ears of a recording side by side, until nothing can change there any more.

use std::collections::VecDeque;

use pbx::media::Channel;

/// Samples, from some number on.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// The number of the first one that is not taken yet.
    first: i64,
    /// Left and right.
    ears: [VecDeque<i16>; 2],
}

impl Timeline {
    /// Adds to what is heard there. What is before everything, or taken already, is left out.
    pub(super) fn add(&mut self, channel: Channel, at: i64, samples: &[i16]) {
        let [left, right] = &mut self.ears;
        let ear = match channel {
            Channel::Left => left,
            Channel::Right => right,
        };
        let skipped = usize::try_from(self.first - at).unwrap_or(0).min(samples.len());
        let samples = samples.get(skipped..).unwrap_or_default();
        let at = usize::try_from(at - self.first).unwrap_or(0);
        let there = ear.len().saturating_sub(at).min(samples.len());
        for (heard, more) in ear.iter_mut().skip(at).zip(samples) {
            *heard = heard.saturating_add(*more);
        }
        let rest = samples.get(there..).unwrap_or_default();
        if !rest.is_empty() {
            let silence = at.saturating_sub(ear.len());
            ear.extend(std::iter::repeat_n(0, silence));
            ear.extend(rest);
        }
    }

    /// The number of the first sample that is not taken yet.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Takes everything before a sample: pairs of both ears, in bytes as a WAV file has them.
    pub(super) fn take(&mut self, until: i64, to: &mut Vec<u8>) {
        let count = usize::try_from(until - self.first).unwrap_or(0);
        let [left, right] = &mut self.ears;
        for ear in [&mut *left, &mut *right] {
            if ear.len() < count {
                ear.resize(count, 0);
            }
        }
        for (left, right) in left.drain(..count).zip(right.drain(..count)) {
            to.extend_from_slice(&left.to_le_bytes());
            to.extend_from_slice(&right.to_le_bytes());
        }
        self.first = self.first.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(timeline: &mut Timeline, until: i64) -> Vec<i16> {
        let mut bytes = Vec::new();
        timeline.take(until, &mut bytes);
        bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn sound_lies_where_it_belongs_and_what_is_taken_changes_no_more() {
        let mut timeline = Timeline::default();
        timeline.add(Channel::Left, -1, &[9, 1, 2]);
        timeline.add(Channel::Right, 2, &[7]);
        assert_eq!(taken(&mut timeline, 2), [1, 0, 2, 0]);
        timeline.add(Channel::Left, 1, &[5, 6]);
        timeline.add(Channel::Left, 2, &[i16::MAX, 1]);
        assert_eq!(taken(&mut timeline, 5), [i16::MAX, 7, 1, 0, 0, 0]);
        assert_eq!(taken(&mut timeline, 4), []);
    }
}
