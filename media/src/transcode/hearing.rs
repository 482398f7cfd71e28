//! One phone's sound as samples: its packets wait in the jitter buffer, and are unpacked when they are
//! wanted.
//!
//! Silence, comfort noise (RFC 3389) and what was lost are filled, so that whoever wants samples gets
//! them, as long as the speaker's conversation goes on.

use pbx::media::{CodecKind, Terms};
use pbx::moment::Moment;

use crate::codec::noise::Noise;
use crate::codec::resample::Resampler;
use crate::codec::{self, Decoder, LONGEST, LONGEST_MS, Rate};
use crate::rtp::Header;
use crate::transcode::jitter::{Content, Jitter, Place, Pulled};

/// Ends a frame for which nothing can be found; each piece is 2.5 ms at least.
const PIECES: usize = 128;

/// One speaker.
#[derive(Debug)]
pub(crate) struct Hearing {
    speaker: Vec<Source>,
    jitter: Jitter,
    /// The codec that was heard last.
    heard: Option<u8>,
    noise: Noise,
    rate: Rate,
    /// Samples that are unpacked and not taken yet.
    ready: Vec<i16>,
    work: Work,
}

/// A codec of the speaker's.
#[derive(Debug)]
struct Source {
    kind: CodecKind,
    decoder: Option<Decoder>,
    resampler: Option<Resampler>,
}

/// Room to work in.
#[derive(Debug)]
struct Work {
    unpacked: Vec<i16>,
    second: Vec<i16>,
    resampled: Vec<i16>,
    filter: Vec<f32>,
}

/// Whether there is something to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is, be it silence.
    Yes,
    /// The speaker's conversation is over, or has not begun.
    Nothing,
}

impl Hearing {
    /// A speaker who agreed on this, heard at this rate.
    pub(crate) fn new(from: &Terms, rate: Rate) -> Self {
        let source = |kind: &CodecKind| {
            let decoder = Decoder::new(kind, rate);
            let theirs = decoder.as_ref().map_or(rate, Decoder::rate);
            Source { kind: kind.clone(), decoder, resampler: Resampler::new(theirs, rate) }
        };
        let longest = LONGEST_MS * rate.per_ms();
        Self {
            speaker: from.codecs.iter().map(|codec| source(&codec.kind)).collect(),
            jitter: Jitter::default(),
            heard: None,
            noise: Noise::default(),
            rate,
            ready: Vec::with_capacity(longest * 3),
            work: Work {
                unpacked: vec![0; LONGEST],
                second: vec![0; LONGEST],
                resampled: vec![0; LONGEST],
                filter: Vec::with_capacity(LONGEST * 2),
            },
        }
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
    }

    /// When what came first is to be heard.
    pub(crate) fn begins_at(&self) -> Option<Moment> {
        self.jitter.begins_at()
    }

    /// Unpacks until there are so many samples.
    pub(crate) fn fill(&mut self, now: Moment, samples: usize) -> Filled {
        for _ in 0..PIECES {
            if self.ready.len() >= samples {
                return Filled::Yes;
            }
            let Self { speaker, jitter, heard, noise, rate, ready, work } = self;
            match jitter.pull(now) {
                Pulled::Nothing => {
                    if ready.is_empty() {
                        return Filled::Nothing;
                    }
                    hush(noise, ready, samples - ready.len());
                }
                Pulled::Silence { long_us } => {
                    hush(noise, ready, count(long_us, *rate));
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
        Filled::Yes
    }

    /// So many samples of what is [filled](Self::fill).
    pub(crate) fn samples(&self, count: usize) -> &[i16] {
        self.ready.get(..count).unwrap_or_default()
    }

    /// So many samples were heard.
    pub(crate) fn pass(&mut self, count: usize) {
        self.ready.drain(..count.min(self.ready.len()));
    }

    /// What came is not heard any more, and what comes next begins anew.
    pub(crate) fn forget(&mut self) {
        self.jitter.forget();
        self.ready.clear();
    }

    /// What is unpacked is not heard any more: the speaker has stopped.
    pub(crate) fn end(&mut self) {
        self.ready.clear();
    }
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
