//! Finds out what a file is, decodes it, and mixes its channels into one.
//!
//! Containers and most codecs are `symphonia`'s, which is Rust throughout; Opus, which it only takes
//! out of its container (RFC 7845 for Ogg), is decoded as that of phones is.

use std::io::{Cursor, ErrorKind};

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::resample::Resampler;
use super::{Limits, RATE, Refusal};
use crate::codec::{LONGEST_MS, Rate, opus};

/// What recordings have: from a telephone's to a studio's.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;
const MOST_CHANNELS: usize = 8;
/// Opus counts at this rate, whatever it holds (RFC 7845 §4).
const OPUS_CLOCK: u32 = 48_000;
/// Our rate, at which Opus can be decoded whatever it holds.
const OPUS_RATE: Rate = Rate::Wide;
/// The longest that an Opus packet lasts, in samples of ours.
const OPUS_PACKET: usize = LONGEST_MS * OPUS_RATE.per_ms();
/// A recording may lack so much of what it claims, as many tools count badly.
const MAY_LACK_MS: u64 = 1_000;

/// All of a file's sound, mixed, at our rate.
pub(super) fn decode(file: Vec<u8>, limits: Limits) -> Result<Vec<f32>, Refusal> {
    let stream =
        MediaSourceStream::new(Box::new(Cursor::new(file)), MediaSourceStreamOptions::default());
    let (container, about) = (FormatOptions::default(), MetadataOptions::default());
    let mut reader = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, container, about)
        .map_err(|error| match error {
            // It is what we know, and says what cannot be.
            Error::DecodeError(_) => Refusal::Broken,
            error => refusal(&error, Refusal::NotSound),
        })?;
    let track = reader.default_track(TrackType::Audio).ok_or(Refusal::NotSound)?;
    let claimed_ms = claimed_ms(track);
    let (id, mut voice) = (track.id, Voice::new(track)?);
    let longest = u64::try_from(limits.longest.as_millis()).unwrap_or(u64::MAX);
    if claimed_ms.is_some_and(|claimed| claimed > longest.saturating_add(MAY_LACK_MS)) {
        return Err(Refusal::TooLong);
    }
    let most = usize::try_from(longest * u64::from(RATE) / 1_000).unwrap_or(usize::MAX);
    let mut samples = Vec::new();
    let (mut good, mut bad) = (0_u64, 0_u64);
    while let Some(packet) = next(&mut *reader)? {
        if packet.track_id != id {
            continue;
        }
        match voice.hear(&packet, &mut samples)? {
            Heard::Sound => good += 1,
            Heard::Damage => bad += 1,
        }
        if samples.len() > most {
            return Err(Refusal::TooLong);
        }
    }
    voice.end(&mut samples);
    if good == 0 {
        // It only looked like some kind of sound.
        return Err(Refusal::NotSound);
    }
    // A scratch is no reason to refuse a recording; one that is mostly scratches is none.
    if bad > good / 10 {
        return Err(Refusal::Broken);
    }
    samples.truncate(most);
    let there = samples.len() as u64 * 1_000 / u64::from(RATE);
    match claimed_ms {
        Some(claimed) if claimed > there + MAY_LACK_MS => Err(Refusal::BreaksOff),
        Some(_) | None => Ok(samples),
    }
}

/// The next packet; `None` at the end, a clean one or not.
fn next(reader: &mut dyn FormatReader) -> Result<Option<Packet>, Refusal> {
    match reader.next_packet() {
        Ok(packet) => Ok(packet),
        Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        // Another recording is chained behind this one: the first is what was meant.
        Err(Error::ResetRequired) => Ok(None),
        Err(error) => Err(refusal(&error, Refusal::Broken)),
    }
}

fn refusal(error: &Error, otherwise: Refusal) -> Refusal {
    match error {
        Error::LimitError(_) => Refusal::TooCostly,
        _ => otherwise,
    }
}

/// How long the file says that it is. A writer that could not know says the largest number.
fn claimed_ms(track: &Track) -> Option<u64> {
    let frames = track.num_frames?;
    let base = track.time_base?;
    let (num, den) = (u64::from(base.numer.get()), u64::from(base.denom.get()));
    let ms = frames.checked_mul(num)?.checked_mul(1_000)? / den;
    Some(ms)
}

/// How a packet went.
enum Heard {
    Sound,
    Damage,
}

/// What turns packets into samples.
enum Voice {
    Plain { decoder: Box<dyn AudioDecoder>, form: Option<Form>, room: Vec<f32> },
    Opus { decoder: Box<opus::Decoder>, room: Vec<i16> },
}

/// What a recording claims to be, and keeps to.
struct Form {
    rate: u32,
    channels: usize,
    resampler: Resampler,
}

impl Voice {
    fn new(track: &Track) -> Result<Self, Refusal> {
        let about = track.codec_params.as_ref().and_then(|about| about.audio());
        let about: &AudioCodecParameters = about.ok_or(Refusal::NotSound)?;
        if about.sample_rate.is_some_and(|rate| !RATES.contains(&rate)) {
            return Err(Refusal::Strange);
        }
        let channels = about.channels.as_ref().map(|channels| channels.count());
        if channels.is_some_and(|count| !(1..=MOST_CHANNELS).contains(&count)) {
            return Err(Refusal::Strange);
        }
        if about.codec == CODEC_ID_OPUS {
            // More channels are several streams in one (RFC 7845 §5.1.1).
            if channels.is_some_and(|count| count > 2) {
                return Err(Refusal::Unsupported);
            }
            let decoder = opus::Decoder::new(OPUS_RATE).ok_or(Refusal::Unsupported)?;
            return Ok(Self::Opus { decoder: Box::new(decoder), room: vec![0; OPUS_PACKET] });
        }
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(about, &AudioDecoderOptions::default())
            .map_err(|error| match error {
                Error::Unsupported(_) => Refusal::Unsupported,
                error => refusal(&error, Refusal::Broken),
            })?;
        Ok(Self::Plain { decoder, form: None, room: Vec::new() })
    }

    fn hear(&mut self, packet: &Packet, samples: &mut Vec<f32>) -> Result<Heard, Refusal> {
        match self {
            Self::Opus { decoder, room } => {
                let long = match decoder.decode(&packet.data, room) {
                    0 => return Ok(Heard::Damage),
                    long => long,
                };
                let step = u64::from(OPUS_CLOCK / RATE);
                let skip =
                    |units: u64| usize::try_from(units / step).unwrap_or(usize::MAX).min(long);
                let (start, end) = (skip(packet.trim_start.get()), skip(packet.trim_end.get()));
                let kept = start..long.saturating_sub(end).max(start);
                let kept = room.get(kept).unwrap_or_default().iter();
                samples.extend(kept.map(|sample| f32::from(*sample) / 32_768.0));
                Ok(Heard::Sound)
            }
            Self::Plain { decoder, form, room } => {
                let sound = match decoder.decode(packet) {
                    Ok(sound) => sound,
                    Err(Error::DecodeError(_) | Error::IoError(_)) => return Ok(Heard::Damage),
                    Err(error) => return Err(refusal(&error, Refusal::Broken)),
                };
                if sound.frames() == 0 {
                    return Ok(Heard::Sound);
                }
                let (rate, channels) = (sound.spec().rate(), sound.spec().channels().count());
                if !RATES.contains(&rate) || !(1..=MOST_CHANNELS).contains(&channels) {
                    return Err(Refusal::Strange);
                }
                let form = form.get_or_insert_with(|| Form {
                    rate,
                    channels,
                    resampler: Resampler::new(rate, RATE),
                });
                if (form.rate, form.channels) != (rate, channels) {
                    return Err(Refusal::Broken);
                }
                sound.copy_to_vec_interleaved(room);
                let mixed = room.chunks_exact(channels).map(|frame| {
                    sane(frame.iter().copied().map(sane).sum::<f32>() / channels as f32)
                });
                form.resampler.push(mixed, samples);
                Ok(Heard::Sound)
            }
        }
    }

    /// What the resampler still holds.
    fn end(&mut self, samples: &mut Vec<f32>) {
        if let Self::Plain { form: Some(form), .. } = self {
            form.resampler.end(samples);
        }
    }
}

/// A sample that can be reckoned with: files can hold what is no number.
fn sane(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-4.0, 4.0) } else { 0.0 }
}
