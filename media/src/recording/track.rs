//! One phone's sound in a recording: its packets in their order, unpacked, each piece at the moment when
//! it came.
//!
//! Where a piece belongs is told by its timestamp (RFC 3550 §5.1), and what the timestamps mean by the
//! packets that came fastest; so neither jitter nor loss moves anything. All of the file is there, so
//! nothing is squeezed or stretched as it must be in a call.

use std::collections::BTreeMap;

use pbx::media::{Channel, CodecKind};

use super::log;
use super::timeline::Timeline;
use crate::codec::resample::Resampler;
use crate::codec::{self, Decoder, LONGEST, LONGEST_MS, Rate};
use crate::rtp::{Datagram, Header};

/// A packet that came so much later than the next ones is not waited for.
pub(super) const WINDOW_US: i64 = 300_000;
/// Sound that belongs so near to the end of what was unpacked follows it without a seam.
const SEAM_US: i64 = 15_000;
/// So much in a row is made up where packets are missing; the rest is silence.
const MADE_UP_US: i64 = 60_000;
/// Packets tell a common clock only if they are about as late as this.
const OFF_US: i64 = 1_000_000;
/// A jump of sequence numbers that is a new stream (RFC 3550 A.1).
const JUMP: i64 = 3_000;
/// Packets that wait at most; more in 300 ms are no sound.
const WAITING: usize = 1_024;

/// One leg's.
#[derive(Debug)]
pub(super) struct Track {
    channel: Channel,
    rate: Rate,
    /// What its payload types mean; before anything was agreed on, what they mean to everybody.
    codecs: Vec<(u8, CodecKind)>,
    unpackers: Vec<(CodecKind, Unpacker)>,
    stream: Option<Stream>,
    waiting: BTreeMap<i64, Waiting>,
    unpacked: Vec<i16>,
    /// Packets in a codec that we cannot unpack.
    pub(super) strange: u64,
}

/// What turns a codec's payloads into samples.
#[derive(Debug)]
struct Unpacker {
    decoder: Decoder,
    resampler: Option<Resampler>,
    resampled: Vec<i16>,
    room: Vec<f32>,
}

#[derive(Debug)]
struct Waiting {
    came_us: i64,
    /// Where its timestamp lies.
    at_us: i64,
    kind: Option<CodecKind>,
    payload: Vec<u8>,
}

/// The stream that is heard, with numbers that do not turn over.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    clock: i64,
    sequence: i64,
    timestamp: i64,
    /// The next to be unpacked.
    next: Option<i64>,
    /// The shortest transit of late, of unknown origin.
    fastest_us: i64,
    /// The end of what was unpacked, as a sample's number; the codec that it was in.
    cursor: Option<(i64, usize)>,
}

impl Track {
    pub(super) fn new(channel: Channel, rate: Rate) -> Self {
        Self {
            channel,
            rate,
            codecs: known_to_all(),
            unpackers: Vec::new(),
            stream: None,
            waiting: BTreeMap::new(),
            unpacked: vec![0; LONGEST],
            strange: 0,
        }
    }

    /// Something else was agreed on. What came before is unpacked as it was agreed on then.
    pub(super) fn agree(&mut self, codecs: Vec<(u8, CodecKind)>) {
        self.codecs = codecs;
    }

    /// A packet came.
    pub(super) fn handle_packet(&mut self, now_us: i64, packet: &[u8], timeline: &mut Timeline) {
        let Datagram::Rtp(header) = Datagram::read(packet) else { return };
        let kind = self.codecs.iter().find(|(number, _)| *number == header.payload_type);
        let kind = kind.map(|(_, kind)| kind.clone());
        let payload = header.payload(packet);
        let clock = match (&kind, &self.stream) {
            (Some(kind), _) => i64::from(codec::clock_per_ms(kind)),
            (None, Some(stream)) => stream.clock,
            (None, None) => return,
        };
        if !self.follows(now_us, &header, clock) {
            self.flush(timeline);
            self.stream = Some(Stream::begin(now_us, &header, clock));
        }
        let Some(stream) = &mut self.stream else { return };
        let sequence = stream.number(header.sequence);
        let timestamp = stream.position(header.timestamp);
        stream.sequence = stream.sequence.max(sequence);
        stream.timestamp = stream.timestamp.max(timestamp);
        if stream.next.is_some_and(|next| sequence < next) || self.waiting.len() >= WAITING {
            return;
        }
        let at_us = timestamp * 1_000 / clock;
        if kind.is_some() {
            // It rises by 1 ms a second, faster than any two clocks part.
            stream.fastest_us = (stream.fastest_us + 20).min(now_us - at_us);
        }
        let payload = payload.to_vec();
        self.waiting.insert(sequence, Waiting { came_us: now_us, at_us, kind, payload });
    }

    fn follows(&self, now_us: i64, header: &Header, clock: i64) -> bool {
        let Some(stream) = &self.stream else { return false };
        let at_us = stream.position(header.timestamp) * 1_000 / clock;
        stream.ssrc == header.ssrc
            && stream.clock == clock
            && (stream.number(header.sequence) - stream.sequence).abs() < JUMP
            && (now_us - at_us - stream.fastest_us).abs() < OFF_US
    }

    /// Unpacks what nothing can come before any more.
    pub(super) fn advance(&mut self, now_us: i64, timeline: &mut Timeline) {
        while let Some(first) = self.waiting.first_entry()
            && first.get().came_us + WINDOW_US <= now_us
        {
            let (sequence, packet) = first.remove_entry();
            self.unpack(sequence, &packet, timeline);
        }
    }

    /// Unpacks everything; what comes next is another stream.
    pub(super) fn flush(&mut self, timeline: &mut Timeline) {
        while let Some((sequence, packet)) = self.waiting.pop_first() {
            self.unpack(sequence, &packet, timeline);
        }
        self.stream = None;
    }

    fn unpack(&mut self, sequence: i64, packet: &Waiting, timeline: &mut Timeline) {
        let Some(stream) = &mut self.stream else { return };
        let missing = stream.next.is_some_and(|next| next < sequence);
        stream.next = Some(sequence + 1);
        let Some(kind) = &packet.kind else { return };
        let long_us = codec::duration_us(kind, &packet.payload);
        let (Some(which), Some(long_us)) = (self.unpacker(kind), long_us) else {
            self.strange += 1;
            return;
        };
        let Some(stream) = &mut self.stream else { return };
        let Some((_, unpacker)) = self.unpackers.get_mut(which) else { return };
        let samples = |us: i64| us * self.rate.per_ms() as i64 / 1_000;
        let belongs = samples(packet.at_us + stream.fastest_us);
        let mut begins = belongs;
        if let Some((cursor, by)) = stream.cursor {
            if missing && by == which {
                let long = samples(i64::from(long_us));
                let mut hole = cursor;
                while hole + long / 2 < belongs && hole < cursor + samples(MADE_UP_US) {
                    let next = (hole + long + long / 2 >= belongs).then_some(&packet.payload[..]);
                    let count = unpacker.conceal(i64::from(long_us), next, &mut self.unpacked);
                    let made_up = unpacker.resampled.get(..count).unwrap_or_default();
                    timeline.add(self.channel, hole, made_up);
                    hole += count.max(1) as i64;
                }
                begins = hole;
            } else {
                begins = cursor;
            }
            if (begins - belongs).abs() > samples(SEAM_US) {
                begins = belongs;
            }
        }
        let count = unpacker.decode(&packet.payload, &mut self.unpacked);
        let heard = unpacker.resampled.get(..count).unwrap_or_default();
        // Where it lies over what is there already, its beginning is cut.
        let over = stream.cursor.map_or(0, |(cursor, _)| (cursor - begins).max(0));
        let rest = heard.get(usize::try_from(over).unwrap_or(0)..).unwrap_or_default();
        timeline.add(self.channel, begins + over, rest);
        let end = (begins + count as i64).max(stream.cursor.map_or(i64::MIN, |(cursor, _)| cursor));
        stream.cursor = Some((end, which));
    }

    fn unpacker(&mut self, kind: &CodecKind) -> Option<usize> {
        if let Some(known) = self.unpackers.iter().position(|(known, _)| known == kind) {
            return Some(known);
        }
        let decoder = Decoder::new(kind, self.rate)?;
        let resampler = Resampler::new(decoder.rate(), self.rate);
        let longest = LONGEST_MS * self.rate.per_ms();
        let resampled = vec![0; longest];
        let room = Vec::with_capacity(LONGEST * 2);
        self.unpackers.push((kind.clone(), Unpacker { decoder, resampler, resampled, room }));
        Some(self.unpackers.len() - 1)
    }
}

impl Unpacker {
    fn decode(&mut self, payload: &[u8], work: &mut [i16]) -> usize {
        let count = self.decoder.decode(payload, work);
        self.bring(work.get(..count).unwrap_or_default())
    }

    fn conceal(&mut self, long_us: i64, next: Option<&[u8]>, work: &mut [i16]) -> usize {
        let long = usize::try_from(long_us).unwrap_or(0) * self.decoder.rate().per_ms() / 1_000;
        let Some(hole) = work.get_mut(..long) else { return 0 };
        self.decoder.conceal(hole, next);
        self.bring(hole)
    }

    /// Brings samples to the recording's rate.
    fn bring(&mut self, samples: &[i16]) -> usize {
        match &mut self.resampler {
            Some(resampler) => resampler.run(samples, &mut self.resampled, &mut self.room),
            None => {
                let room = self.resampled.get_mut(..samples.len());
                room.map_or(0, |room| {
                    room.copy_from_slice(samples);
                    samples.len()
                })
            }
        }
    }
}

impl Stream {
    fn begin(now_us: i64, header: &Header, clock: i64) -> Self {
        let timestamp = i64::from(header.timestamp);
        Self {
            ssrc: header.ssrc,
            clock,
            sequence: i64::from(header.sequence),
            timestamp,
            next: None,
            fastest_us: now_us - timestamp * 1_000 / clock,
            cursor: None,
        }
    }

    fn number(&self, sequence: u16) -> i64 {
        let ahead = sequence.wrapping_sub(self.sequence as u16) as i16;
        self.sequence + i64::from(ahead)
    }

    fn position(&self, timestamp: u32) -> i64 {
        let ahead = timestamp.wrapping_sub(self.timestamp as u32) as i32;
        self.timestamp + i64::from(ahead)
    }
}

/// The static payload types (RFC 3551 §6), for phones with which nothing was agreed on.
fn known_to_all() -> Vec<(u8, CodecKind)> {
    log::read_codecs(&[0, 0, 8, 1, 9, 2])
}
