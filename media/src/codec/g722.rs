//! Sound up to 7 kHz in as many bits as G.711 takes: two halves of the spectrum, each coded by what changes.
//!
//! ITU-T G.722 at 64 kbit/s, two samples a byte (RFC 3551 §4.5.2). The arithmetic is the package's;
//! `tests.rs` holds its decoder against a stream that another implementation decoded.

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::{Decoder as _, Encoder as _};

use crate::codec::LONGEST_MS;

/// Unpacks one stream.
#[derive(Default)]
pub struct Decoder(G722Decoder);

/// Packs one stream.
#[derive(Default)]
pub struct Encoder(G722Encoder);

impl Decoder {
    /// Unpacks; returns how many samples.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        let most = (out.len() / 2).min(LONGEST_MS * 8);
        let payload = payload.get(..payload.len().min(most)).unwrap_or_default();
        self.0.decode_into(payload, out).unwrap_or(0)
    }
}

impl Encoder {
    /// Packs; returns how many bytes.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        self.0.encode_into(samples, out).unwrap_or(0)
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}
