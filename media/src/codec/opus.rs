//! Sound as browsers and newer phones pack it: as many bits as the voice needs, and a way to mend gaps.
//!
//! RFC 6716 (the codec), RFC 7587 (its packets). The arithmetic is `opus-pure`'s, a translation of
//! libopus without C. It can take in and give out sound at 8 or 16 kHz, so nothing is resampled
//! between Opus and another codec. Its encoder takes scratch memory while it works.

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use opus_pure::{Application, OpusDecoder, OpusEncoder, Signal};

use crate::codec::{LONGEST_PAYLOAD, Rate};

/// How hard the encoder tries, of 10. At 5 it takes two thirds of the time of 9, and few hear it.
const COMPLEXITY: i32 = 5;
/// Bits a second where the peer sets no limit (RFC 7587 §3.1.1 names 8-12 for narrow band, 16-20 for
/// wide band; more keeps tones as loud as they were, which are no voice).
const NARROW_BITRATE: u32 = 24_000;
const WIDE_BITRATE: u32 = 32_000;
/// What a peer may ask for (RFC 7587 §6.1).
const BITRATES: RangeInclusive<u32> = 6_000..=510_000;
/// In-band correction is made only where loss is expected; so much of it before anybody reported.
const EXPECTED_LOSS: u8 = 5;

/// Unpacks one stream.
pub struct Decoder {
    decoder: OpusDecoder,
    rate: Rate,
}

/// Packs one stream.
pub struct Encoder {
    encoder: OpusEncoder,
    rate: Rate,
}

/// How long a packet's sound is, in microseconds, by its first bytes (RFC 6716 §3.1, §3.2).
pub(crate) fn duration_us(payload: &[u8]) -> Option<u32> {
    let (first, rest) = payload.split_first()?;
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(rest.first()? & 0x3f),
    };
    let frame = match first >> 3 {
        config @ 0..12 => match config & 3 {
            0 => 10_000,
            1 => 20_000,
            2 => 40_000,
            _ => 60_000,
        },
        config @ 12..16 => 10_000 << (config & 1),
        config => 2_500 << (config & 3),
    };
    (1..=120_000).contains(&(frames * frame)).then_some(frames * frame)
}

impl Decoder {
    /// Makes ready for a stream; what is stereo is mixed.
    pub fn new(rate: Rate) -> Option<Self> {
        let decoder = OpusDecoder::new(rate.hertz().cast_signed(), 1).ok()?;
        Some(Self { decoder, rate })
    }

    /// Unpacks; returns how many samples.
    pub fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        let Some(long) = duration_us(payload) else { return 0 };
        let wanted = long as usize * self.rate.per_ms() / 1_000;
        let Some(out) = out.get_mut(..wanted) else { return 0 };
        self.guarded(|decoder| decoder.decode_s16(payload, wanted, out))
    }

    /// Fills `out` for a packet that did not come.
    pub fn conceal(&mut self, out: &mut [i16], next: Option<&[u8]>) {
        // Only whole steps of 2.5 ms are made up.
        let step = self.rate.per_ms() * 5 / 2;
        let whole = out.len() / step * step;
        let (made_up, rest) = out.split_at_mut(whole);
        rest.fill(0);
        if made_up.is_empty() {
            return;
        }
        let done = match next.filter(|next| duration_us(next).is_some()) {
            Some(next) => self.guarded(|decoder| decoder.decode_fec_s16(next, whole, made_up)),
            None => self.guarded(|decoder| decoder.decode_s16(&[], whole, made_up)),
        };
        if let Some(left) = made_up.get_mut(done..) {
            left.fill(0);
        }
    }

    /// The package asserts what it believes of itself. A stream that proves it wrong begins anew,
    /// and no thread ends.
    fn guarded(
        &mut self,
        work: impl FnOnce(&mut OpusDecoder) -> opus_pure::Result<usize>,
    ) -> usize {
        match catch_unwind(AssertUnwindSafe(|| work(&mut self.decoder))) {
            Ok(done) => done.unwrap_or(0),
            Err(_) => {
                if let Ok(anew) = OpusDecoder::new(self.rate.hertz().cast_signed(), 1) {
                    self.decoder = anew;
                }
                0
            }
        }
    }
}

impl Encoder {
    /// Makes ready for a stream: voice, one channel, as many bits as needed up to `most` a second.
    pub fn new(rate: Rate, most: Option<u32>, fec: bool) -> Option<Self> {
        let own = match rate {
            Rate::Narrow => NARROW_BITRATE,
            Rate::Wide | Rate::Full => WIDE_BITRATE,
        };
        let bitrate = most.map_or(own, |most| own.min(most));
        let bitrate = bitrate.clamp(*BITRATES.start(), *BITRATES.end());
        let hertz = rate.hertz().cast_signed();
        let mut encoder = OpusEncoder::new(hertz, 1, Application::Voip).ok()?;
        encoder.bitrate_bps = bitrate.cast_signed();
        encoder.complexity = COMPLEXITY;
        encoder.signal_type = Some(Signal::Voice);
        encoder.use_inband_fec = fec;
        encoder.packet_loss_perc = i32::from(EXPECTED_LOSS);
        // Steady packets: whoever hears us need not guess whether silence is silence or loss.
        encoder.use_dtx = false;
        Some(Self { encoder, rate })
    }

    /// The peer reported loss.
    pub fn handle_loss(&mut self, percent: u8) {
        self.encoder.packet_loss_perc = i32::from(percent.clamp(EXPECTED_LOSS, 30));
    }

    /// What comes next continues nothing.
    pub fn begin_anew(&mut self) {
        let _ = self.encoder.reset_state();
    }

    /// Packs 10, 20, 40 or 60 ms; returns how many bytes, none if it is another length.
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> usize {
        let step = self.rate.per_ms() * 10;
        if !samples.len().is_multiple_of(step) || !matches!(samples.len() / step, 1 | 2 | 4 | 6) {
            return 0;
        }
        let most = out.len().min(LONGEST_PAYLOAD);
        let Some(out) = out.get_mut(..most) else { return 0 };
        let work = || self.encoder.encode_s16(samples, samples.len(), out);
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(len) => len.unwrap_or(0),
            Err(_) => {
                let _ = self.encoder.reset_state();
                0
            }
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("rate", &self.rate).finish_non_exhaustive()
    }
}
