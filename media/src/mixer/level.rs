//! Who is loud enough to be heard, and who of them is the one who speaks.
//!
//! A phone in which nobody speaks sends the noise of its room. What is below speech is left out of the
//! sum: a hundred rooms' noise is loud, and whoever is not in the sum hears the same as all others
//! who are not.

use std::time::Duration;

use pbx::moment::Moment;

use super::TICK;

/// The mean square of a sound 52 dB below full scale, from which on a member is heard.
const OPENS: u64 = 6_775;
/// The same of 57 dB: what is still heard.
const STAYS: u64 = 2_142;
/// A pause within speech.
const HOLDS_FOR: Duration = Duration::from_millis(800);
/// Only who is louder than 42 dB below full scale is said to speak.
const SPEAKS: u64 = 67_750;
/// Who is to be followed must be twice as loud (3 dB) as who spoke,
const LOUDER: u64 = 2;
/// for so long,
const STEADY_FOR: Duration = Duration::from_millis(200);
/// and that is told so often at most.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// Whoever is not that loud for so long does not speak any more.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// How much a frame counts in the level: one in so many.
const SMOOTH: u64 = 8;

/// The mean square of a sound.
pub(super) fn power(sound: &[i16]) -> u64 {
    let sum: i64 = sound.iter().map(|sample| i64::from(i32::from(*sample).pow(2))).sum();
    sum.unsigned_abs() / sound.len().max(1) as u64
}

/// Whether a member is in the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Yes,
    No,
}

/// One member's loudness.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gate {
    /// Smoothed.
    level: u64,
    /// Of the last frame.
    power: u64,
    /// For so many ticks it is heard whatever it says.
    holds: u32,
}

impl Gate {
    /// So loud was its next frame.
    pub(super) fn handle_frame(&mut self, power: u64) -> Heard {
        self.level = (self.level * (SMOOTH - 1) + power) / SMOOTH;
        self.power = power;
        let threshold = if self.holds > 0 { STAYS } else { OPENS };
        if power >= threshold {
            self.holds = ticks(HOLDS_FOR);
        } else {
            self.holds = self.holds.saturating_sub(1);
        }
        if self.holds > 0 { Heard::Yes } else { Heard::No }
    }

    /// Nothing came of it.
    pub(super) fn handle_nothing(&mut self) {
        self.level -= self.level / SMOOTH;
        (self.power, self.holds) = (0, 0);
    }
}

/// Who speaks.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Whose voice it is now, by place.
    speaker: Option<usize>,
    next: Option<(usize, u32)>,
    /// For so many ticks the speaker was not loud.
    silent: u32,
    told_at: Option<Moment>,
}

/// What is told of who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Somebody else speaks.
    Speaks(usize),
    /// Whoever spoke last, and nobody else, has fallen silent.
    Silent(usize),
}

impl Floor {
    /// All members' loudness of this tick, by place. Says what has changed.
    pub(super) fn handle_tick<'a>(
        &mut self,
        now: Moment,
        members: impl Iterator<Item = (usize, &'a Gate)> + Clone,
    ) -> Option<Told> {
        let loudest = members.clone().max_by_key(|(_, gate)| gate.level);
        let loudest = loudest.filter(|(_, gate)| gate.level >= SPEAKS);
        let of_speaker = |speaker| members.clone().find(|(place, _)| *place == speaker);
        let level = self.speaker.and_then(of_speaker).map_or(0, |(_, gate)| gate.level);
        self.next = match (loudest, self.next) {
            (Some((place, _)), _) if self.speaker == Some(place) => None,
            (Some((_, gate)), _) if gate.level < level * LOUDER => None,
            // What only dies away is not counted.
            (Some((_, gate)), next) if gate.power < SPEAKS => next,
            (Some((place, _)), Some((same, for_ticks))) if same == place => {
                Some((place, for_ticks + 1))
            }
            (Some((place, _)), _) => Some((place, 1)),
            (None, _) => None,
        };
        self.silent = if level >= SPEAKS { 0 } else { self.silent.saturating_add(1) };
        let next = self.next.filter(|(_, so_long)| *so_long >= ticks(STEADY_FOR));
        let silent = self.speaker.filter(|_| self.silent >= ticks(SILENT_AFTER));
        let told = match (next, silent) {
            (Some((place, _)), _) => Told::Speaks(place),
            (None, Some(place)) => Told::Silent(place),
            (None, None) => return None,
        };
        if self.told_at.is_some_and(|told_at| now.since(told_at) < TOLD_EVERY) {
            return None;
        }
        (self.next, self.silent, self.told_at) = (None, 0, Some(now));
        self.speaker = match told {
            Told::Speaks(place) => Some(place),
            Told::Silent(_) => None,
        };
        Some(told)
    }

    /// Somebody left, and another may have the place.
    pub(super) fn handle_left(&mut self, place: usize) {
        self.speaker = self.speaker.filter(|speaker| *speaker != place);
        self.next = self.next.filter(|(next, _)| *next != place);
    }
}

fn ticks(long: Duration) -> u32 {
    (long.as_millis() / TICK.as_millis()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Rate;
    use crate::codec::tests::tone;

    fn at(dbfs: f64) -> u64 {
        (32_768.0 * 10.0_f64.powf(dbfs / 20.0)).powi(2) as u64
    }

    #[test]
    fn noise_of_a_room_is_left_out_and_pauses_of_speech_are_not() {
        let mut gate = Gate::default();
        assert_eq!(gate.handle_frame(at(-55.0)), Heard::No);
        assert_eq!(gate.handle_frame(at(-30.0)), Heard::Yes);
        for tick in 1..=39 {
            assert_eq!(gate.handle_frame(at(-70.0)), Heard::Yes, "{tick}");
        }
        assert_eq!(gate.handle_frame(at(-70.0)), Heard::No);
        gate.handle_frame(at(-30.0));
        for _ in 0..200 {
            assert_eq!(gate.handle_frame(at(-55.0)), Heard::Yes, "softly, but on");
        }
        let full = power(&tone(Rate::Wide, 440.0, 0, 320));
        assert!((full as f64 / at(-15.05) as f64 - 1.0).abs() < 0.02, "{full}");
    }

    /// Levels of members a tick, in dB; who is told, and in which tick.
    fn told(levels: impl Iterator<Item = [f64; 3]>) -> Vec<(usize, Told)> {
        let (mut floor, mut gates) = (Floor::default(), [Gate::default(); 3]);
        let mut told = vec![];
        for (tick, levels) in levels.enumerate() {
            for (gate, level) in gates.iter_mut().zip(levels) {
                gate.handle_frame(at(level));
            }
            let now = Moment::from_secs(1_000) + TICK * tick as u32;
            told.extend(floor.handle_tick(now, gates.iter().enumerate()).map(|who| (tick, who)));
        }
        told
    }

    #[test]
    fn who_speaks_is_told_once_and_followed_when_another_is_clearly_louder() {
        let one_then_other = (0..300).map(|tick| match tick {
            0..100 => [-25.0, -60.0, -60.0],
            100..200 => [-25.0, -24.0, -60.0],
            _ => [-60.0, -24.0, -60.0],
        });
        let told = told(one_then_other);
        let who: Vec<Told> = told.iter().map(|(_, who)| *who).collect();
        assert_eq!(who, [Told::Speaks(0), Told::Speaks(1)], "{told:?}");
        assert!(told[0].0 < 20 && (200..225).contains(&told[1].0), "{told:?}");
    }

    #[test]
    fn who_falls_silent_is_told_once_and_told_to_speak_again() {
        let breathes = (0..700).map(|tick| match tick {
            // A pause of a second and a half is part of speech.
            0..100 | 175..300 | 500..600 => [-70.0, -25.0, -70.0],
            _ => [-70.0, -50.0, -70.0],
        });
        let told = told(breathes);
        let who: Vec<Told> = told.iter().map(|(_, who)| *who).collect();
        assert_eq!(who, [Told::Speaks(1), Told::Silent(1), Told::Speaks(1)], "{told:?}");
        assert!((400..430).contains(&told[1].0), "{told:?}");
    }

    #[test]
    fn a_quarrel_is_told_twice_a_second_at_most() {
        let quarrel = (0..500).map(|tick| match tick / 15 % 3 {
            0 => [-20.0, -60.0, -60.0],
            1 => [-60.0, -20.0, -60.0],
            _ => [-60.0, -60.0, -20.0],
        });
        let told = told(quarrel);
        assert!(told.len() <= 20 && told.len() > 3, "{told:?}");
        assert!(told.windows(2).all(|two| two[1].0 - two[0].0 >= 25), "{told:?}");
        let cough = (0..100).map(|tick| if tick < 4 { [-25.0, -70.0, -70.0] } else { [-70.0; 3] });
        assert_eq!(super::tests::told(cough), [], "a cough is no speech");
    }
}
