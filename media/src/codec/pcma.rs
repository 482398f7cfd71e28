//! Sound as European telephones pack it: eight bits a sample, finer where it is quiet.
//!
//! G.711 A-law. Both tables are worked out by the compiler from the formulas of ITU-T G.191: of a
//! magnitude of 11 bits the highest bit's place and the four bits below are kept, and every second
//! bit is turned over, so that silence is no row of zeros.

const TURNED: u8 = 0x55;

/// By code.
static SAMPLES: [i16; 256] = samples();
/// By the upper 12 bits of a sample.
static CODES: [u8; 1 << 12] = codes();

/// Unpacks; returns how many samples.
pub fn decode(payload: &[u8], out: &mut [i16]) -> usize {
    let pairs = payload.iter().zip(out);
    pairs.map(|(code, sample)| *sample = SAMPLES[usize::from(*code)]).count()
}

/// Packs; returns how many bytes.
pub fn encode(samples: &[i16], out: &mut [u8]) -> usize {
    let pairs = samples.iter().zip(out);
    pairs.map(|(sample, code)| *code = CODES[usize::from(*sample as u16 >> 4)]).count()
}

const fn codes() -> [u8; 1 << 12] {
    let mut codes = [0; 1 << 12];
    let mut upper = 0;
    while upper < codes.len() {
        codes[upper] = code_of(((upper as u16) << 4) as i16);
        upper += 1;
    }
    codes
}

const fn code_of(sample: i16) -> u8 {
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
    let kept = code ^ TURNED;
    let (place, below) = (kept >> 4 & 7, (kept & 0x0f) as i16);
    // In the middle of all that would be packed so.
    let magnitude = match place {
        0 => (below << 4) + 8,
        _ => ((below << 4) + 0x108) << (place - 1),
    };
    if kept & 0x80 == 0 { -magnitude } else { magnitude }
}
