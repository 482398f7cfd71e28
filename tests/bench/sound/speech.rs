//! Something like a voice, packed for a codec: silence would be cheap to convert.

use std::f64::consts::TAU;
use std::sync::Arc;

use kit::failure::{Failure, Outcome};
use media::codec::{self, Decoder, Encoder, LONGEST, LONGEST_PAYLOAD, Rate};
use pbx::media::CodecKind;

/// So many packets of 20 ms are said again and again.
const FRAMES: usize = 150;
const FRAME_MS: usize = 20;

/// A voice in packets of a codec.
#[derive(Clone)]
pub(crate) struct Speech {
    pub(crate) payload_type: u8,
    /// By how much the timestamp rises in a packet.
    pub(super) ticks: u32,
    payloads: Arc<Vec<Vec<u8>>>,
}

/// Somebody who listens how loud it is.
pub(crate) struct Ear {
    decoder: Decoder,
    squares: f64,
    samples: u64,
}

impl Speech {
    /// Packs it.
    pub(crate) fn of(kind: &CodecKind, payload_type: u8) -> Outcome<Self> {
        Self::packed(kind, payload_type, frame_of)
    }

    /// Nobody speaks: what a microphone hears in a quiet room, 65 dB below full scale.
    pub(crate) fn hush(kind: &CodecKind, payload_type: u8) -> Outcome<Self> {
        Self::packed(kind, payload_type, |frame, rate| {
            let count = FRAME_MS * rate.per_ms();
            let noise = |place: usize| {
                let mixed = ((frame * count + place) as u32).wrapping_mul(0x9e37_79b9);
                (mixed >> 27) as i16 - 16
            };
            (0..count).map(noise).collect()
        })
    }

    fn packed(
        kind: &CodecKind,
        payload_type: u8,
        frame_of: impl Fn(usize, Rate) -> Vec<i16>,
    ) -> Outcome<Self> {
        let rate = match kind {
            CodecKind::Pcmu | CodecKind::Pcma => Rate::Narrow,
            CodecKind::G722 | CodecKind::Opus { .. } | CodecKind::Other { .. } => Rate::Wide,
        };
        let unknown = || Failure::new(format!("{kind:?} cannot be packed"));
        let mut encoder = Encoder::new(kind, rate).ok_or_else(unknown)?;
        let payloads = (0..FRAMES).map(|frame| {
            let mut room = [0; LONGEST_PAYLOAD];
            let len = encoder.encode(&frame_of(frame, rate), &mut room);
            room.get(..len).unwrap_or_default().to_vec()
        });
        let payloads = Arc::new(payloads.collect());
        let ticks = codec::clock_per_ms(kind) * FRAME_MS as u32;
        Ok(Self { payload_type, ticks, payloads })
    }

    pub(super) fn payload(&self, round: u64) -> &[u8] {
        let place = round as usize % FRAMES;
        self.payloads.get(place).map_or(&[], Vec::as_slice)
    }
}

impl Ear {
    /// For what comes in a codec.
    pub(crate) fn of(kind: &CodecKind) -> Outcome<Self> {
        let rate = codec::rate_of(kind);
        let decoder = rate.and_then(|rate| Decoder::new(kind, rate));
        let decoder = decoder.ok_or_else(|| Failure::new(format!("{kind:?} is not understood")))?;
        Ok(Self { decoder, squares: 0.0, samples: 0 })
    }

    pub(super) fn hear(&mut self, payload: &[u8]) {
        let mut room = [0; LONGEST];
        let count = self.decoder.decode(payload, &mut room);
        let samples = room.get(..count).unwrap_or_default();
        self.squares += squares(samples);
        self.samples += samples.len() as u64;
    }

    /// Beside what was said: 1 is as loud.
    pub(super) fn level(&self) -> f64 {
        let said: Vec<i16> = (0..FRAMES).flat_map(|frame| frame_of(frame, Rate::Wide)).collect();
        let said_each = squares(&said) / said.len() as f64;
        (self.squares / self.samples.max(1) as f64 / said_each).sqrt()
    }
}

fn squares(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

fn frame_of(frame: usize, rate: Rate) -> Vec<i16> {
    let count = FRAME_MS * rate.per_ms();
    (0..count).map(|place| sample((frame * count + place) as f64, rate)).collect()
}

/// A pitch that moves, its overtones, and syllables.
fn sample(place: f64, rate: Rate) -> i16 {
    let at = place / f64::from(rate.hertz());
    let pitch = 140.0 * TAU * at - 6.0 * (5.0 * at).cos();
    let loud = 3_000.0 * (0.55 + 0.45 * (25.0 * at).sin());
    let tones = (1..14).map(f64::from).map(|k| (pitch * k).sin() / k);
    (loud * tones.sum::<f64>()) as i16
}
