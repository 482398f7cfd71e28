//! Telephone sound in eight bits a sample.
//!
//! ITU-T G.711, µ-law.

/// Samples are shifted up by this before their logarithm is taken.
const BIAS: i32 = 0x84;
const LOUDEST: i32 = 32_635;

/// One sample to one byte.
pub fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let size = i32::from(sample).abs().min(LOUDEST) + BIAS;
    // The place of the highest bit, from 7 to 14, is the segment.
    let segment = (31 - size.leading_zeros()).saturating_sub(7);
    let step = (size >> (segment + 3)) & 0x0f;
    let byte = sign | (segment << 4) | step.unsigned_abs();
    !u8::try_from(byte).unwrap_or(0)
}

/// One byte to one sample.
pub fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let (segment, step) = (u32::from(byte >> 4 & 7), i32::from(byte & 0x0f));
    let size = (((step << 3) + BIAS) << segment) - BIAS;
    let size = i16::try_from(size).unwrap_or(i16::MAX);
    if byte & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn the_table_of_the_standard_is_met_at_its_corners() {
        for (byte, sample) in [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120)] {
            assert_eq!(decode(byte), sample, "{byte:#x}");
        }
        assert_eq!((encode(0), encode(i16::MAX), encode(i16::MIN)), (0xff, 0x80, 0x00));
    }

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        for byte in 0..=u8::MAX {
            let again = encode(decode(byte));
            // There are two zeros.
            assert!(again == byte || decode(byte) == 0, "{byte:#x} became {again:#x}");
        }
    }
}
