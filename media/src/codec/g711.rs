//! Sound as telephones always packed it: eight bits a sample, finer where it is quiet.
//!
//! G.711 has two laws. Their tables are worked out by the compiler from the formulas of ITU-T G.191.
//! European telephones speak A-law: of a magnitude of 11 bits the highest bit's place and the four bits
//! below are kept, and every second bit is turned over, so that silence is no row of zeros. American and
//! Japanese ones speak µ-law: a magnitude of 13 bits plus a bias of 33 is kept in the same way.

/// A-law.
pub static PCMA: Law<{ 1 << 12 }> = Law::of(Which::A);
/// µ-law.
pub static PCMU: Law<{ 1 << 14 }> = Law::of(Which::Mu);

const TURNED: u8 = 0x55;
const BIAS: u16 = 33;
const HIGHEST: u16 = 0x1fff;

/// How samples are packed.
#[derive(Debug)]
pub struct Law<const CODES: usize> {
    /// By code.
    samples: [i16; 256],
    /// By the upper bits of a sample.
    codes: [u8; CODES],
    /// How many lower bits do not matter.
    below: u32,
}

#[derive(Clone, Copy)]
enum Which {
    A,
    Mu,
}

impl<const CODES: usize> Law<CODES> {
    /// Unpacks; returns how many samples.
    pub fn decode(&self, payload: &[u8], out: &mut [i16]) -> usize {
        let pairs = payload.iter().zip(out);
        pairs.map(|(code, sample)| *sample = self.samples[usize::from(*code)]).count()
    }

    /// Packs; returns how many bytes.
    pub fn encode(&self, samples: &[i16], out: &mut [u8]) -> usize {
        let pairs = samples.iter().zip(out);
        let place = |sample: i16| usize::from(sample as u16 >> self.below);
        pairs.map(|(sample, code)| *code = self.codes[place(*sample)]).count()
    }

    const fn of(which: Which) -> Self {
        let below = 16 - CODES.ilog2();
        let (mut samples, mut codes) = ([0; 256], [0; CODES]);
        let mut code = 0;
        while code < 256 {
            samples[code] = match which {
                Which::A => a_sample(code as u8),
                Which::Mu => mu_sample(code as u8),
            };
            code += 1;
        }
        let mut upper = 0;
        while upper < CODES {
            let sample = ((upper as u16) << below) as i16;
            codes[upper] = match which {
                Which::A => a_code(sample),
                Which::Mu => mu_code(sample),
            };
            upper += 1;
        }
        Self { samples, codes, below }
    }
}

const fn a_code(sample: i16) -> u8 {
    let (magnitude, sign) = if sample < 0 { (!sample, 0) } else { (sample, 0x80) };
    let magnitude = magnitude as u16 >> 4;
    let kept = match magnitude {
        0..32 => magnitude as u8,
        32.. => {
            let place = 15 - magnitude.leading_zeros() as u8;
            ((place - 3) << 4) | ((magnitude >> (place - 4)) as u8 & 0x0f)
        }
    };
    (sign | kept) ^ TURNED
}

const fn a_sample(code: u8) -> i16 {
    let kept = code ^ TURNED;
    let (place, below) = (kept >> 4 & 7, (kept & 0x0f) as i16);
    // In the middle of all that would be packed so.
    let magnitude = match place {
        0 => (below << 4) + 8,
        _ => ((below << 4) + 0x108) << (place - 1),
    };
    if kept & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn mu_code(sample: i16) -> u8 {
    let (magnitude, sign) = if sample < 0 { (!sample, 0) } else { (sample, 0x80) };
    let mut biased = (magnitude as u16 >> 2) + BIAS;
    if biased > HIGHEST {
        biased = HIGHEST;
    }
    // 33 at least, so the highest bit is the sixth (place 5) or above.
    let place = 15 - biased.leading_zeros() as u8;
    let below = (biased >> (place - 4)) as u8 & 0x0f;
    sign | ((12 - place) << 4) | (0x0f - below)
}

const fn mu_sample(code: u8) -> i16 {
    let kept = !code;
    let (place, below) = (kept >> 4 & 7, (kept & 0x0f) as i16);
    // In the middle of all that would be packed so.
    let magnitude = (((below << 3) + 0x84) << place) - 0x84;
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}
