//! Keys as people hear them: two tones at once, made and found again.
//!
//! ITU-T Q.23 names the frequencies, Q.24 what a receiver must take: 40 ms, 1.5 % beside the
//! frequency, one tone up to 8 dB weaker than the other. Speech and music hold such pairs by chance,
//! so nearly all of the sound must lie in the two tones.

use std::f64::consts::TAU;

use pbx::media::Digit;

/// Samples a second; other rates are brought to it before.
const RATE: f64 = 8_000.0;
const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// Samples that are judged together: 12.75 ms. Each half of them is judged twice.
const BLOCK: usize = 102;
const STEP: usize = BLOCK / 2;
/// So many steps in a row are a key: 40 ms hold as many at least, 20 ms never. So many without it are
/// its end.
const HITS: u8 = 4;
const MISSES: u8 = 4;
/// The weakest tone, as an amplitude: -36 dB of full scale.
const FAINTEST: f64 = 520.0;
/// How much weaker the higher tone may be, and the lower, in power: 8 and 6 dB, and what one tone and
/// frequencies that are off do to the measure of the other.
const HIGH_WEAKER: f64 = 16.0;
const LOW_WEAKER: f64 = 8.0;
/// The best of a group must stand out from its others so much, in power.
const STANDS_OUT: f64 = 4.0;
/// Share of all that is heard which the two tones must be; 1.5 % off costs a quarter of it.
const PURE: f64 = 0.70;
/// Each tone's amplitude: together half of full scale.
const LOUD: f64 = 8_000.0;

/// Fills `out` with a key's tones; `from` samples of them were made before.
pub(crate) fn make(digit: Digit, hertz: u32, from: usize, out: &mut [i16]) {
    let Some((low, high)) = pair(digit) else { return out.fill(0) };
    for (n, sample) in (from..).zip(out) {
        let at = TAU * n as f64 / f64::from(hertz);
        *sample = (LOUD * ((at * low).sin() + (at * high).sin())) as i16;
    }
}

fn pair(digit: Digit) -> Option<(f64, f64)> {
    let rows = LOW.iter().zip(KEYS);
    let mut cells = rows.flat_map(|(low, keys)| keys.into_iter().zip(HIGH).map(move |k| (*low, k)));
    let (low, (_, high)) = cells.find(|(_, (key, _))| *key == digit.key())?;
    Some((low, high))
}

/// Finds keys in sound of 8 kHz.
#[derive(Debug)]
pub(crate) struct Finder {
    block: [f64; BLOCK],
    filled: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Nothing,
    /// So many steps in a row had this key.
    Rising {
        digit: Digit,
        hits: u8,
    },
    /// It is down, since so many steps; the last ones had it not.
    Down {
        digit: Digit,
        steps: u32,
        misses: u8,
    },
}

impl Default for Finder {
    fn default() -> Self {
        Self { block: [0.0; BLOCK], filled: 0, state: State::Nothing }
    }
}

impl Finder {
    /// Sound was heard. Tells each key when it is let go, and for how many milliseconds it was down.
    pub(crate) fn handle_sound(&mut self, sound: &[i16], mut told: impl FnMut(Digit, u32)) {
        for sample in sound {
            if let Some(place) = self.block.get_mut(self.filled) {
                *place = f64::from(*sample);
            }
            self.filled += 1;
            if self.filled == BLOCK {
                if let Some((digit, steps)) = self.handle_block() {
                    told(digit, steps * STEP as u32 * 1_000 / RATE as u32);
                }
                self.block.copy_within(STEP.., 0);
                self.filled = BLOCK - STEP;
            }
        }
    }

    fn handle_block(&mut self) -> Option<(Digit, u32)> {
        let found = judge(&self.block);
        let mut told = None;
        self.state = match (self.state, found) {
            (State::Nothing, None) | (State::Rising { .. }, None) => State::Nothing,
            (State::Rising { digit, hits }, Some(found)) if digit == found => match hits + 1 {
                HITS.. => State::Down { digit, steps: u32::from(hits) + 1, misses: 0 },
                hits => State::Rising { digit, hits },
            },
            (State::Nothing | State::Rising { .. }, Some(digit)) => {
                State::Rising { digit, hits: 1 }
            }
            (State::Down { digit, steps, misses }, Some(found)) if digit == found => {
                State::Down { digit, steps: steps + u32::from(misses) + 1, misses: 0 }
            }
            (State::Down { digit, steps, misses }, other) => match (misses + 1, other) {
                (MISSES.., other) => {
                    told = Some((digit, steps));
                    other.map_or(State::Nothing, |digit| State::Rising { digit, hits: 1 })
                }
                (misses, _) => State::Down { digit, steps, misses },
            },
        };
        told
    }
}

/// Which key a block holds, if any.
fn judge(block: &[f64; BLOCK]) -> Option<Digit> {
    let energy: f64 = block.iter().map(|sample| sample * sample).sum();
    let (row, low) = best(LOW.map(|hz| power(block, hz)))?;
    let (column, high) = best(HIGH.map(|hz| power(block, hz)))?;
    let faintest = (FAINTEST * BLOCK as f64 / 2.0).powi(2);
    let pure = (low + high) * 2.0 / BLOCK as f64 / energy;
    let clear = low >= faintest && high >= faintest && pure >= PURE;
    let even = high * HIGH_WEAKER >= low && low * LOW_WEAKER >= high;
    let key = KEYS.get(row)?.get(column)?;
    (clear && even).then(|| Digit::from_key(*key))?
}

/// The strongest of a group, if it stands out.
fn best(powers: [f64; 4]) -> Option<(usize, f64)> {
    let (place, best) =
        powers.iter().copied().enumerate().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let others = powers.iter().enumerate().filter(|(other, _)| *other != place);
    let stands_out = others.into_iter().all(|(_, other)| best >= other * STANDS_OUT);
    stands_out.then_some((place, best))
}

/// Goertzel's algorithm: the power at one frequency.
fn power(block: &[f64; BLOCK], hz: f64) -> f64 {
    let turn = 2.0 * (TAU * hz / RATE).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in block {
        (one, two) = (sample + turn * one - two, one);
    }
    one * one + two * two - turn * one * two
}

#[cfg(test)]
mod tests {
    use pbx::chance::Chance;

    use super::*;

    fn found(sound: &[i16]) -> String {
        let mut finder = Finder::default();
        let mut keys = String::new();
        let silence = [0; 800];
        for piece in [sound, &silence] {
            finder.handle_sound(piece, |digit, _| keys.push(digit.key()));
        }
        keys
    }

    /// Two tones in a little noise, after some silence.
    fn tones(low: (f64, f64), high: (f64, f64), ms: usize, from: usize) -> Vec<i16> {
        let mut chance = Chance::from_seed([9; 32]);
        let mut sound = vec![0; from];
        for n in 0..ms * 8 {
            let at = TAU * n as f64 / RATE;
            let noise = chance.below(60) as f64 - 30.0;
            sound.push((low.1 * (at * low.0).sin() + high.1 * (at * high.0).sin() + noise) as i16);
        }
        sound
    }

    #[test]
    fn every_key_is_found_in_its_own_tones() {
        for key in "0123456789*#ABCD".chars() {
            let mut sound = [0; 8 * 60];
            make(Digit::from_key(key).unwrap(), 8_000, 0, &mut sound);
            assert_eq!(found(&sound), key.to_string());
        }
    }

    #[test]
    fn forty_milliseconds_are_enough_wherever_they_begin_and_twenty_are_not() {
        for from in 0..BLOCK {
            assert_eq!(found(&tones((770.0, 6e3), (1_336.0, 6e3), 40, from)), "5", "{from}");
            assert_eq!(found(&tones((770.0, 6e3), (1_336.0, 6e3), 20, from)), "", "{from}");
        }
    }

    #[test]
    fn frequencies_may_be_off_and_one_tone_weaker() {
        for low in [0.985, 1.0, 1.015] {
            for high in [0.985, 1.0, 1.015] {
                for (weak, strong) in [(1.0, 1.0), (0.4, 1.0), (1.0, 0.5)] {
                    for ((row, keys), (column, hz)) in LOW
                        .iter()
                        .zip(KEYS)
                        .flat_map(|row| HIGH.iter().enumerate().map(move |c| (row, c)))
                    {
                        let (low, high) = ((row * low, strong * 6e3), (hz * high, weak * 6e3));
                        let key = keys[column].to_string();
                        assert_eq!(found(&tones(low, high, 50, 33)), key, "{low:?} {high:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_of_keys_is_told_apart_and_their_lengths_are_known() {
        let mut sound = Vec::new();
        for key in "1123#".chars() {
            let mut tone = [0; 8 * 80];
            make(Digit::from_key(key).unwrap(), 8_000, 0, &mut tone);
            sound.extend(tone);
            sound.extend([0; 8 * 50]);
        }
        let mut finder = Finder::default();
        let mut told = Vec::new();
        finder.handle_sound(&sound, |digit, ms| told.push((digit.key(), ms)));
        let keys: String = told.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, "1123#");
        assert!(told.iter().all(|(_, ms)| (60..=90).contains(ms)), "{told:?}");
    }

    #[test]
    fn one_tone_a_wrong_pair_and_a_pair_that_is_too_uneven_are_no_key() {
        let (low, high) = ((770.0, 6e3), (1_336.0, 6e3));
        assert_eq!(found(&tones(low, (1_336.0, 0.0), 200, 0)), "");
        assert_eq!(found(&tones((770.0, 0.0), high, 200, 0)), "");
        assert_eq!(found(&tones(low, (852.0, 6e3), 200, 0)), "");
        assert_eq!(found(&tones(low, (1_336.0, 6e3 / 6.0), 200, 0)), "");
        assert_eq!(found(&tones((440.0, 6e3), (480.0, 6e3), 200, 0)), "", "a ringing tone");
        assert_eq!(found(&tones((770.0, 100.0), (1_336.0, 100.0), 200, 0)), "", "too faint");
    }

    #[test]
    fn half_an_hour_of_noise_voices_and_chords_holds_no_key() {
        let mut chance = Chance::from_seed([4; 32]);
        let noise: Vec<i16> =
            (0..8_000 * 300).map(|_| chance.below(20_000) as i16 - 10_000).collect();
        assert_eq!(found(&noise), "");
        // Voices: a pitch that wanders, with its harmonics.
        let mut voice = Vec::new();
        let (mut phase, mut pitch) = (0.0_f64, 120.0_f64);
        for n in 0..8_000 * 900 {
            if n % 400 == 0 {
                pitch = (pitch + chance.below(41) as f64 - 20.0).clamp(70.0, 420.0);
            }
            phase += TAU * pitch / RATE;
            let harmonics = (1..=9).map(|k| (phase * f64::from(k)).sin() / f64::from(k));
            voice.push((5_000.0 * harmonics.sum::<f64>()) as i16);
        }
        assert_eq!(found(&voice), "");
        // Music: chords of three notes, with their overtones.
        let mut music = Vec::new();
        for _ in 0..3_000 {
            let note = |chance: &mut Chance| 110.0 * 2.0_f64.powf(chance.below(48) as f64 / 12.0);
            let notes = [note(&mut chance), note(&mut chance), note(&mut chance)];
            for n in 0..1_600 {
                let at = TAU * f64::from(n) / RATE;
                let note = |hz: f64| {
                    [(1.0, 1.0), (2.0, 0.5), (3.0, 0.3)].map(|(k, a)| a * (at * hz * k).sin())
                };
                let sum: f64 = notes.map(note).iter().flatten().sum();
                music.push((2_500.0 * sum) as i16);
            }
        }
        assert_eq!(found(&music), "");
    }
}
