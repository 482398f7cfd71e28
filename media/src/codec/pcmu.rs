//! Sound as American and Japanese telephones pack it: eight bits a sample, finer where it is quiet.
//!
//! G.711 µ-law. Both tables are worked out by the compiler from the formulas of ITU-T G.191: a
//! magnitude of 13 bits plus a bias of 33 is kept as its highest bit's place and the four bits below.

const BIAS: u16 = 33;
const HIGHEST: u16 = 0x1fff;

/// By code.
static SAMPLES: [i16; 256] = samples();
/// By the upper 14 bits of a sample.
static CODES: [u8; 1 << 14] = codes();

/// Unpacks; returns how many samples.
pub fn decode(payload: &[u8], out: &mut [i16]) -> usize {
    let pairs = payload.iter().zip(out);
    pairs.map(|(code, sample)| *sample = SAMPLES[usize::from(*code)]).count()
}

/// Packs; returns how many bytes.
pub fn encode(samples: &[i16], out: &mut [u8]) -> usize {
    let pairs = samples.iter().zip(out);
    pairs.map(|(sample, code)| *code = CODES[usize::from(*sample as u16 >> 2)]).count()
}

const fn codes() -> [u8; 1 << 14] {
    let mut codes = [0; 1 << 14];
    let mut upper = 0;
    while upper < codes.len() {
        codes[upper] = code_of(((upper as u16) << 2) as i16);
        upper += 1;
    }
    codes
}

const fn code_of(sample: i16) -> u8 {
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

const fn samples() -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < 256 {
        samples[code] = sample_of(code as u8);
        code += 1;
    }
    samples
}

const fn sample_of(code: u8) -> i16 {
    let kept = !code;
    let (place, below) = (kept >> 4 & 7, (kept & 0x0f) as i16);
    // In the middle of all that would be packed so.
    let magnitude = (((below << 3) + 0x84) << place) - 0x84;
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}
