//! The file in which a recording is kept: samples behind a header of 44 bytes, which every program
//! reads.
//!
//! Multimedia Programming Interface and Data Specifications 1.0 (RIFF WAVE), with plain samples.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use media::upload::RATE;

use super::Recording;

const HEADER: u32 = 44;
const BYTES_A_SAMPLE: u32 = 2;

/// As many samples as last so long, and fit into a file.
pub(super) fn most_samples(longest: Duration) -> u64 {
    let most = u64::from((u32::MAX - HEADER) / BYTES_A_SAMPLE);
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    most.min(millis.saturating_mul(u64::from(RATE)) / 1_000)
}

/// A file around samples of 16 bits each, little end first.
pub(super) fn recording(samples: &[u8]) -> Recording {
    let long = u32::try_from(samples.len()).unwrap_or(u32::MAX - HEADER);
    let mut file = BytesMut::with_capacity(samples.len() + HEADER as usize);
    file.put_slice(b"RIFF");
    file.put_u32_le(long + HEADER - 8);
    file.put_slice(b"WAVEfmt ");
    file.put_u32_le(16);
    // Plain samples, in one channel.
    file.put_u16_le(1);
    file.put_u16_le(1);
    file.put_u32_le(RATE);
    file.put_u32_le(RATE * BYTES_A_SAMPLE);
    file.put_u16_le(2);
    file.put_u16_le(16);
    file.put_slice(b"data");
    file.put_u32_le(long);
    file.put_slice(samples);
    let lasts_ms = u64::from(long / BYTES_A_SAMPLE) * 1_000 / u64::from(RATE);
    let lasts_ms = u32::try_from(lasts_ms).unwrap_or(u32::MAX).max(1);
    Recording { wave: Bytes::from(file), lasts_ms }
}
