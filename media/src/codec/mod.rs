//! Sound as numbers: what phones send packed is unpacked into samples, and packed for another phone.
//!
//! RFC 3551 and RFC 7587 say which packing is called what. Pure: no packet, no time, no port.
//! Decoders and encoders allocate when they are made, and all but Opus's encoder never again.

pub mod conceal;
pub mod g711;
pub mod g722;
pub mod noise;
pub mod opus;
pub mod resample;

use pbx::media::CodecKind;

use crate::codec::conceal::Concealer;
use crate::codec::g711::{PCMA, PCMU};

/// The longest sound of one packet, in milliseconds (RFC 6716 §3.1).
pub const LONGEST_MS: usize = 120;
/// The most samples of one packet, at the highest rate.
pub const LONGEST: usize = LONGEST_MS * 48;
/// The most bytes of one packet that an encoder writes: 60 ms of G.711, or any Opus (RFC 6716 §3.4).
pub const LONGEST_PAYLOAD: usize = 1_275;

/// How many samples make a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// 8 kHz: sound up to 3.4 kHz, as telephones always had it.
    Narrow,
    /// 16 kHz: sound up to 7 kHz.
    Wide,
    /// 48 kHz: all that is heard.
    Full,
}

impl Rate {
    /// In Hertz.
    pub const fn hertz(self) -> u32 {
        self.per_ms() as u32 * 1_000
    }

    /// Samples a millisecond.
    pub const fn per_ms(self) -> usize {
        match self {
            Self::Narrow => 8,
            Self::Wide => 16,
            Self::Full => 48,
        }
    }
}

/// The best rate of a codec; `None` if it is not one of ours.
pub fn rate_of(kind: &CodecKind) -> Option<Rate> {
    match kind {
        CodecKind::Pcmu | CodecKind::Pcma => Some(Rate::Narrow),
        CodecKind::G722 => Some(Rate::Wide),
        CodecKind::Opus { .. } => Some(Rate::Full),
        CodecKind::Other { .. } => None,
    }
}

/// How many units of its RTP timestamps a codec counts in a millisecond.
pub fn clock_per_ms(kind: &CodecKind) -> u32 {
    match kind {
        // G.722 counts as if it were sampled at 8 kHz (RFC 3551 §4.5.2).
        CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 | CodecKind::Other { .. } => 8,
        CodecKind::Opus { .. } => 48,
    }
}

/// How long the sound of a payload is, in microseconds; `None` if it is none.
pub fn duration_us(kind: &CodecKind, payload: &[u8]) -> Option<u32> {
    match kind {
        CodecKind::Pcmu | CodecKind::Pcma | CodecKind::G722 => {
            let bytes = u32::try_from(payload.len()).ok()?;
            (1..=LONGEST_MS as u32 * 8).contains(&bytes).then_some(bytes * 125)
        }
        CodecKind::Opus { .. } => opus::duration_us(payload),
        CodecKind::Other { .. } => None,
    }
}

/// Unpacks one stream.
#[derive(Debug)]
pub struct Decoder {
    packed: Packed,
    rate: Rate,
    concealer: Option<Concealer>,
}

#[derive(Debug)]
enum Packed {
    Pcmu,
    Pcma,
    G722(Box<g722::Decoder>),
    Opus(Box<opus::Decoder>),
}

impl Decoder {
    /// Makes ready for a stream, to be heard at `rate` if the codec lets one choose. `None` for
    /// what we only pass on.
    pub fn new(kind: &CodecKind, rate: Rate) -> Option<Self> {
        let (packed, rate) = match kind {
            CodecKind::Pcmu => (Packed::Pcmu, Rate::Narrow),
            CodecKind::Pcma => (Packed::Pcma, Rate::Narrow),
            CodecKind::G722 => (Packed::G722(Box::default()), Rate::Wide),
            CodecKind::Opus { .. } => (Packed::Opus(Box::new(opus::Decoder::new(rate)?)), rate),
            CodecKind::Other { .. } => return None,
        };
        let concealer = match packed {
            Packed::Opus(_) => None,
            Packed::Pcmu | Packed::Pcma | Packed::G722(_) => Some(Concealer::new(rate)),
        };
        Some(Self { packed, rate, concealer })
    }

    /// The rate of what it says.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Unpacks a payload into `out`, which has room for [`LONGEST`]. Returns how many samples it
    /// holds; none of what is no payload of this codec.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        let count = match &mut self.packed {
            Packed::Pcmu => PCMU.decode(payload, out),
            Packed::Pcma => PCMA.decode(payload, out),
            Packed::G722(decoder) => decoder.decode(payload, out),
            Packed::Opus(decoder) => decoder.decode(payload, out),
        };
        if let (Some(concealer), Some(heard)) = (&mut self.concealer, out.get_mut(..count)) {
            concealer.handle_heard(heard);
        }
        count
    }

    /// Fills `out` with what may have been said in a packet that did not come. The packet after
    /// it, if it is there, may hold a copy (RFC 6716 §2.1.7).
    pub fn conceal(&mut self, out: &mut [i16], next: Option<&[u8]>) {
        match (&mut self.packed, &mut self.concealer) {
            (Packed::Opus(decoder), _) => decoder.conceal(out, next),
            (Packed::Pcmu | Packed::Pcma | Packed::G722(_), Some(concealer)) => {
                concealer.conceal(out);
            }
            (Packed::Pcmu | Packed::Pcma | Packed::G722(_), None) => out.fill(0),
        }
    }
}

/// Packs one stream.
#[derive(Debug)]
pub enum Encoder {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722(Box<g722::Encoder>),
    /// Opus.
    Opus(Box<opus::Encoder>),
}

impl Encoder {
    /// Makes ready for a stream whose samples come at `rate`, if the codec lets one choose, else
    /// at its own. `None` for what we only pass on.
    pub fn new(kind: &CodecKind, rate: Rate) -> Option<Self> {
        match kind {
            CodecKind::Pcmu => Some(Self::Pcmu),
            CodecKind::Pcma => Some(Self::Pcma),
            CodecKind::G722 => Some(Self::G722(Box::default())),
            CodecKind::Opus { fec, most, .. } => {
                opus::Encoder::new(rate, *most, *fec).map(Box::new).map(Self::Opus)
            }
            CodecKind::Other { .. } => None,
        }
    }

    /// Packs samples: 10, 20, 40 or 60 ms of any codec, and anything up to 60 ms of all but Opus.
    /// Returns how many bytes of `out` it takes, at most [`LONGEST_PAYLOAD`].
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        match self {
            Self::Pcmu => PCMU.encode(samples, out),
            Self::Pcma => PCMA.encode(samples, out),
            Self::G722(encoder) => encoder.encode(samples, out),
            Self::Opus(encoder) => encoder.encode(samples, out),
        }
    }

    /// What comes next continues nothing: whoever unpacks it may have heard another encoder before.
    pub fn begin_anew(&mut self) {
        match self {
            Self::Pcmu | Self::Pcma => {}
            Self::G722(encoder) => **encoder = g722::Encoder::default(),
            Self::Opus(encoder) => encoder.begin_anew(),
        }
    }

    /// The peer says which share of our packets is lost: what can be sent twice is, accordingly.
    pub fn handle_loss(&mut self, percent: u8) {
        match self {
            Self::Opus(encoder) => encoder.handle_loss(percent),
            Self::Pcmu | Self::Pcma | Self::G722(_) => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
