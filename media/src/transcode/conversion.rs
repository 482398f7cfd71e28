//! One phone's sound for another that does not know its codec: unpacked, brought to the right rate, packed.
//!
//! The speaker's packets wait in the jitter buffer; the listener's leave evenly, as long as its
//! description wants them (`ptime`, RFC 8866 §6.4), whatever the speaker's are. Silence, comfort
//! noise (RFC 3389) and what was lost are filled, so that the listener's stream does not stop within
//! a conversation.

use std::time::Duration;

use pbx::media::{CodecKind, Terms};
use pbx::moment::Moment;

use crate::codec::noise::Noise;
use crate::codec::resample::Resampler;
use crate::codec::{self, Decoder, Encoder, LONGEST, LONGEST_MS, LONGEST_PAYLOAD, Rate};
use crate::packet::{Fit, Packet};
use crate::rtp::Header;
use crate::transcode::jitter::{Content, Jitter, Place, Pulled};
use crate::transcode::outgoing::{HEAD, Marker, Outgoing};
use crate::transcode::route;

/// Whoever is so far behind begins anew instead of catching up.
const BEHIND: Duration = Duration::from_millis(200);
/// Ends a frame for which nothing can be found; each piece is 2.5 ms at least.
const PIECES: usize = 128;

/// One direction.
#[derive(Debug)]
pub(crate) struct Conversion {
    speaker: Vec<Source>,
    jitter: Jitter,
    /// The codec that was heard last.
    heard: Option<u8>,
    noise: Noise,
    listener: Target,
    /// Samples that are unpacked and not packed yet, at the listener's rate.
    ready: Vec<i16>,
    work: Work,
    /// When the next frame leaves.
    next_at: Option<Moment>,
    marker: Marker,
}

/// A codec of the speaker's.
#[derive(Debug)]
struct Source {
    kind: CodecKind,
    decoder: Option<Decoder>,
    resampler: Option<Resampler>,
}

/// The codec of the listener's.
#[derive(Debug)]
struct Target {
    encoder: Encoder,
    payload_type: u8,
    rate: Rate,
    clock: u32,
    frame: Duration,
}

/// Room to work in.
#[derive(Debug)]
struct Work {
    unpacked: Vec<i16>,
    second: Vec<i16>,
    resampled: Vec<i16>,
    filter: Vec<f32>,
}

/// Whether a packet was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is to be sent.
    Something,
    /// There is nothing to say.
    Nothing,
}

impl Conversion {
    /// From one side's codecs to the other's first. `None` if we do not know that.
    pub(crate) fn between(from: &Terms, to: &Terms) -> Option<Self> {
        let target = to.codecs.first()?;
        let rate = route::rate_between(from, &target.kind);
        let source = |kind: &CodecKind| {
            let decoder = Decoder::new(kind, rate);
            let theirs = decoder.as_ref().map_or(rate, Decoder::rate);
            Source { kind: kind.clone(), decoder, resampler: Resampler::new(theirs, rate) }
        };
        let longest = LONGEST_MS * rate.per_ms();
        Some(Self {
            speaker: from.codecs.iter().map(|codec| source(&codec.kind)).collect(),
            jitter: Jitter::default(),
            heard: None,
            noise: Noise::default(),
            listener: Target {
                encoder: Encoder::new(&target.kind, rate)?,
                payload_type: target.to_peer,
                rate,
                clock: codec::clock_per_ms(&target.kind),
                frame: frame(&target.kind, to.ptime),
            },
            ready: Vec::with_capacity(longest * 3),
            work: Work {
                unpacked: vec![0; LONGEST],
                second: vec![0; LONGEST],
                resampled: vec![0; LONGEST],
                filter: Vec::with_capacity(LONGEST * 2),
            },
            next_at: None,
            marker: Marker::Set,
        })
    }

    /// A packet of the speaker's came, in its codec of this place.
    pub(crate) fn handle_sound(&mut self, now: Moment, header: &Header, codec: u8, payload: &[u8]) {
        let Some(source) = self.speaker.get(usize::from(codec)) else { return };
        let long_us = codec::duration_us(&source.kind, payload);
        let content = match long_us {
            Some(_) => Content::Sound { codec },
            None => Content::Nothing,
        };
        let place = self.place(header, &source.kind, long_us.unwrap_or(0));
        self.take(now, place, content, payload);
    }

    /// The speaker's silence sounds so.
    pub(crate) fn handle_noise(&mut self, now: Moment, header: &Header, payload: &[u8]) {
        let Some(source) = self.spoken() else { return };
        let place = self.place(header, &source.kind, 0);
        self.take(now, place, Content::Noise, payload);
    }

    /// A packet came that is heard by other ways: it is not missing.
    pub(crate) fn handle_other(&mut self, now: Moment, header: &Header) {
        let Some(source) = self.spoken() else { return };
        let place = self.place(header, &source.kind, 0);
        self.take(now, place, Content::Nothing, &[]);
    }

    /// Units of a millisecond, the listener's.
    pub(crate) fn listeners_clock(&self) -> u32 {
        self.listener.clock
    }

    fn spoken(&self) -> Option<&Source> {
        self.speaker.get(usize::from(self.heard.unwrap_or(0)))
    }

    fn place(&self, header: &Header, kind: &CodecKind, long_us: u32) -> Place {
        Place {
            ssrc: header.ssrc,
            sequence: header.sequence,
            timestamp: header.timestamp,
            clock: codec::clock_per_ms(kind),
            long_us,
        }
    }

    fn take(&mut self, now: Moment, place: Place, content: Content, payload: &[u8]) {
        self.jitter.handle_packet(now, place, content, payload);
        if self.next_at.is_none() {
            self.next_at = self.jitter.begins_at();
        }
    }

    /// The listener reported which share of our packets is lost.
    pub(crate) fn handle_loss(&mut self, percent: u8) {
        self.listener.encoder.handle_loss(percent);
    }

    /// When the next packet is to be made.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.next_at
    }

    /// Makes the next packet, if it is time; `aloud` says whether it is to be sent, or gives way.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        aloud: Aloud,
        outgoing: &mut Outgoing,
        packet: &mut Packet<'_>,
    ) -> Said {
        let Some(at) = self.next_at.filter(|at| *at <= now) else { return Said::Nothing };
        let at = if now.since(at) > BEHIND { now } else { at };
        let frame = self.listener.frame;
        let samples = frame.as_millis() as usize * self.listener.rate.per_ms();
        if !self.fill(now, samples) {
            (self.next_at, self.marker) = (None, Marker::Set);
            self.ready.clear();
            return Said::Nothing;
        }
        self.next_at = Some(at + frame);
        outgoing.resume(at, self.listener.clock);
        let said = match aloud {
            Aloud::Yes => self.say(samples, outgoing, packet),
            Aloud::No => Said::Nothing,
        };
        self.ready.drain(..samples);
        outgoing.advance(frame);
        said
    }

    fn say(&mut self, samples: usize, to: &mut Outgoing, packet: &mut Packet<'_>) -> Said {
        let most = HEAD + LONGEST_PAYLOAD;
        let Some(frame) = self.ready.get(..samples) else { return Said::Nothing };
        if packet.set_len(most) == Fit::TooLong {
            return Said::Nothing;
        }
        let room = packet.bytes_mut().get_mut(HEAD..).unwrap_or_default();
        let len = self.listener.encoder.encode(frame, room);
        let kind = (self.listener.payload_type, self.marker);
        if len == 0 || to.write(packet, kind, None, len) == Fit::TooLong {
            return Said::Nothing;
        }
        self.marker = Marker::Clear;
        Said::Something
    }

    /// Unpacks until there are so many samples; false if there is nothing to say.
    fn fill(&mut self, now: Moment, samples: usize) -> bool {
        for _ in 0..PIECES {
            if self.ready.len() >= samples {
                return true;
            }
            let Self { speaker, jitter, heard, noise, listener, ready, work, .. } = self;
            match jitter.pull(now) {
                Pulled::Nothing => {
                    if ready.is_empty() {
                        return false;
                    }
                    hush(noise, ready, samples - ready.len());
                }
                Pulled::Silence { long_us } => {
                    hush(noise, ready, count(long_us, listener.rate));
                }
                Pulled::Noise(payload) => noise.handle_payload(payload),
                Pulled::Sound { codec, payload } => {
                    let Some(source) = speaker.get_mut(usize::from(codec)) else { continue };
                    *heard = Some(codec);
                    let mut len = source.unpack(payload, &mut work.unpacked);
                    if jitter.is_crowded()
                        && let Pulled::Sound { codec: next, payload } = jitter.pull(now)
                        && next == codec
                    {
                        let second = source.unpack(payload, &mut work.second);
                        len = squeeze(&mut work.unpacked, len, &work.second, second);
                    }
                    source.pass_on(len, work, ready);
                }
                Pulled::Lost { long_us, next } => {
                    let Some(source) = speaker.get_mut(usize::from(heard.unwrap_or(0))) else {
                        continue;
                    };
                    let len = source.conceal(long_us, next, &mut work.unpacked);
                    source.pass_on(len, work, ready);
                }
            }
        }
        hush(&mut self.noise, &mut self.ready, samples);
        true
    }
}

/// Whether what is said is sent, or something else has the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aloud {
    Yes,
    No,
}

/// Fills with silence as it is on that line.
fn hush(noise: &mut Noise, ready: &mut Vec<i16>, samples: usize) {
    let from = ready.len();
    ready.resize(from + samples, 0);
    noise.fill(ready.get_mut(from..).unwrap_or_default());
}

/// Two frames in the time of one: the first runs into the second. Returns how long that is.
fn squeeze(first: &mut [i16], len: usize, second: &[i16], second_len: usize) -> usize {
    if len != second_len || len == 0 {
        return len;
    }
    for (n, (a, b)) in first.iter_mut().zip(second).take(len).enumerate() {
        let mixed = i64::from(*a) * (len - n) as i64 + i64::from(*b) * n as i64;
        *a = (mixed / len as i64) as i16;
    }
    len
}

fn count(long_us: u32, rate: Rate) -> usize {
    long_us as usize * rate.per_ms() / 1_000
}

/// How much sound a packet holds: what the description asks for, if the codec can.
fn frame(kind: &CodecKind, ptime: u8) -> Duration {
    let ms = match (ptime, kind) {
        (30, CodecKind::Opus { .. }) => 20,
        (10 | 20 | 30 | 40 | 60, _) => ptime,
        _ => 20,
    };
    Duration::from_millis(u64::from(ms))
}

impl Source {
    fn unpack(&mut self, payload: &[u8], out: &mut [i16]) -> usize {
        let Some(decoder) = &mut self.decoder else { return 0 };
        match decoder.decode(payload, out) {
            // It is rubbish, and as good as lost.
            0 => self.conceal(codec::duration_us(&self.kind, payload).unwrap_or(0), None, out),
            len => len,
        }
    }

    fn conceal(&mut self, long_us: u32, next: Option<&[u8]>, out: &mut [i16]) -> usize {
        let Some(decoder) = &mut self.decoder else { return 0 };
        let len = count(long_us, decoder.rate()).min(out.len());
        decoder.conceal(out.get_mut(..len).unwrap_or_default(), next);
        len
    }

    fn pass_on(&mut self, len: usize, work: &mut Work, ready: &mut Vec<i16>) {
        let unpacked = work.unpacked.get(..len).unwrap_or_default();
        match &mut self.resampler {
            None => ready.extend_from_slice(unpacked),
            Some(resampler) => {
                let len = resampler.run(unpacked, &mut work.resampled, &mut work.filter);
                ready.extend_from_slice(work.resampled.get(..len).unwrap_or_default());
            }
        }
    }
}
