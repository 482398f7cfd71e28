//! The faint hiss of a line on which nobody speaks, so that nobody thinks it dead.
//!
//! Comfort noise, RFC 3389: its first byte is how loud the silence is, in dB below full scale. The
//! shape of its spectrum, which may follow, is not imitated.

/// The loudest silence that is believed; whoever says louder means something else.
const LOUDEST: u8 = 40;
/// Below this nothing is heard, and nothing is made.
const FAINTEST: u8 = 80;

/// Makes noise of one loudness.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    state: u32,
    /// The highest sample.
    peak: i32,
}

impl Default for Noise {
    fn default() -> Self {
        Self { state: 0x9e37_79b9, peak: 0 }
    }
}

impl Noise {
    /// The phone says how its silence sounds.
    pub fn handle_payload(&mut self, payload: &[u8]) {
        let Some(level) = payload.first().map(|first| first & 0x7f) else { return };
        self.peak = match level {
            FAINTEST.. => 0,
            level => {
                let below = f32::from(level.max(LOUDEST));
                // Evenly spread samples have a power of a third of their peak's.
                (32_768.0 * 3.0_f32.sqrt() * 10.0_f32.powf(-below / 20.0)) as i32
            }
        };
    }

    /// Fills with it; with silence if no loudness was told.
    pub fn fill(&mut self, out: &mut [i16]) {
        if self.peak == 0 {
            out.fill(0);
            return;
        }
        for sample in out {
            // A linear congruence (Numerical Recipes' numbers): nobody guesses at noise.
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let spread = (self.state >> 16) as i32 - 32_768;
            *sample = (spread * self.peak / 32_768) as i16;
        }
    }
}
