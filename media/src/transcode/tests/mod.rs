//! Two phones that talk through us, with a virtual clock: what the one says is measured where the other hears it.

mod hold;
mod keys;
mod passing;
mod reports;
mod silence;
mod sound;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Codec, CodecKind, Protection, Reception, Reports, Side, Terms};
use pbx::moment::Moment;

use crate::codec::tests::tone;
use crate::codec::{self, Decoder, Encoder, LONGEST, LONGEST_PAYLOAD, Rate};
use crate::packet::Packet;
use crate::packet::tests::room;
use crate::rtp::{Datagram, Header};
use crate::session::{Family, Port, Sessions, Slot, Way};
use crate::stream::Aim;

pub(crate) const OPUS: CodecKind = CodecKind::Opus { stereo: false, fec: false, most: None };

pub(crate) fn terms(codecs: &[(CodecKind, u8)], events: Option<u8>) -> Terms {
    let codec = |(kind, number): &(CodecKind, u8)| Codec {
        kind: kind.clone(),
        to_peer: *number,
        from_peer: *number,
    };
    Terms {
        codecs: codecs.iter().map(codec).collect(),
        events,
        events_clock: match (events, codecs.first()) {
            (Some(_), Some((kind, _))) => codec::clock_per_ms(kind) * 1_000,
            (None, _) | (_, None) => 8_000,
        },
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection: Protection::Plain,
        reports: Reports::Beside,
    }
}

pub(crate) fn one(kind: CodecKind) -> Terms {
    let number = match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::Opus { .. } | CodecKind::Other { .. } => 96,
    };
    terms(&[(kind, number)], Some(101))
}

/// A packet that a phone gets.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) at: Moment,
    pub(crate) header: Header,
    pub(crate) marked: bool,
    pub(crate) payload: Vec<u8>,
}

/// The call, Ada on side 0 and Bob on side 1.
pub(crate) struct Line {
    pub(crate) sessions: Sessions,
    pub(crate) slots: [Slot; 2],
    pub(crate) now: Moment,
    /// By side: what its phone got.
    pub(crate) got: [Vec<Got>; 2],
    /// Reports that its phone got.
    pub(crate) reports: [Vec<Vec<u8>>; 2],
    /// On their way: when they come, from whom, and what.
    way: VecDeque<(Moment, usize, Vec<u8>)>,
}

pub(crate) fn side(leg: u16) -> Side {
    Side { call: CallId(Default::default()), leg }
}

pub(crate) fn phone(of: usize) -> SocketAddr {
    ["198.51.100.1:4000", "198.51.100.2:5000"][of].parse().unwrap()
}

impl Line {
    pub(crate) fn new(ada: Terms, bob: Terms) -> Self {
        let mut sessions = Sessions::default();
        let now = Moment::from_secs(1_000);
        let slots = [0, 1].map(|of| {
            let slot = sessions.open(side(of as u16), Family::V4).unwrap();
            let rtcp = Some(SocketAddr::new(phone(of).ip(), phone(of).port() + 1));
            let aim = Aim { rtp: Some(phone(of)), rtcp, near: None };
            sessions.aim(now, side(of as u16), aim);
            slot
        });
        sessions.agree(now, side(0), Box::new(ada));
        sessions.agree(now, side(1), Box::new(bob));
        sessions.join(side(0), side(1));
        let (got, reports) = (Default::default(), Default::default());
        Self { sessions, slots, now, got, reports, way: VecDeque::new() }
    }

    /// A phone sends, and it comes after so long.
    pub(crate) fn send(&mut self, from: usize, after: Duration, packet: Vec<u8>) {
        let at = self.now + after;
        let place = self.way.partition_point(|(other, ..)| *other <= at);
        self.way.insert(place, (at, from, packet));
    }

    /// Time goes on, in steps of a millisecond.
    pub(crate) fn run(&mut self, long: Duration) {
        for _ in 0..long.as_millis() {
            self.now += Duration::from_millis(1);
            while self.way.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, from, bytes) = self.way.pop_front().unwrap();
                self.come(from, Port::Sound, &bytes);
            }
            while self.sessions.deadline().is_some_and(|at| at <= self.now) {
                self.sessions.handle_deadline(self.now);
                while let Some(made) = self.sessions.poll_transmit() {
                    let to = usize::from(made.slot == self.slots[1]);
                    let (port, bytes) = (made.port, made.bytes.to_vec());
                    assert_eq!(made.to.ip(), phone(to).ip());
                    self.take(to, port, &bytes);
                }
            }
        }
    }

    pub(crate) fn come(&mut self, from: usize, port: Port, bytes: &[u8]) -> Way {
        let (mut room, len) = room(bytes);
        let mut packet = Packet::new(&mut room, len).unwrap();
        let mut source = phone(from);
        if port == Port::Reports {
            source.set_port(source.port() + 1);
        }
        let at = (self.slots[from], port);
        let way = self.sessions.handle_datagram(self.now, at, source, &mut packet);
        if let Way::To(slot, port, address) = way {
            let to = usize::from(slot == self.slots[1]);
            assert_eq!(address.ip(), phone(to).ip());
            let bytes = packet.bytes().to_vec();
            self.take(to, port, &bytes);
        }
        way
    }

    fn take(&mut self, to: usize, port: Port, bytes: &[u8]) {
        match (port, Datagram::read(bytes)) {
            (Port::Sound, Datagram::Rtp(header)) => self.got[to].push(Got {
                at: self.now,
                header,
                marked: bytes[1] & 0x80 != 0,
                payload: header.payload(bytes).to_vec(),
            }),
            (Port::Reports, Datagram::Rtcp) => self.reports[to].push(bytes.to_vec()),
            (port, other) => panic!("{other:?} came to {port:?}"),
        }
    }
}

/// A phone's microphone: a tone, packed.
pub(crate) struct Speaker {
    encoder: Encoder,
    rate: Rate,
    hz: f64,
    number: u8,
    clock: u32,
    ms: usize,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    at: usize,
}

impl Speaker {
    pub(crate) fn new(terms: &Terms, hz: f64, ms: usize) -> Self {
        let codec = &terms.codecs[0];
        let rate = codec::rate_of(&codec.kind).unwrap();
        Self {
            encoder: Encoder::new(&codec.kind, rate).unwrap(),
            rate,
            hz,
            number: codec.from_peer,
            clock: codec::clock_per_ms(&codec.kind),
            ms,
            sequence: 65_500,
            timestamp: u32::MAX - 20_000,
            at: 0,
        }
    }

    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let sound = tone(self.rate, self.hz, self.at, self.rate.per_ms() * self.ms);
        let mut payload = [0; LONGEST_PAYLOAD];
        let len = self.encoder.encode(&sound, &mut payload);
        let packet = rtp(self.number, self.sequence, self.timestamp, &payload[..len]);
        self.skip();
        packet
    }

    /// Says nothing for a frame.
    pub(crate) fn pause(&mut self) {
        self.at += self.rate.per_ms() * self.ms;
        self.timestamp = self.timestamp.wrapping_add(self.clock * self.ms as u32);
    }

    fn skip(&mut self) {
        self.pause();
        self.sequence = self.sequence.wrapping_add(1);
    }
}

pub(crate) fn rtp(number: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, number];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a phone hears: its packets unpacked, one after the other.
pub(crate) fn heard(got: &[Got], kind: &CodecKind) -> (Vec<i16>, Rate) {
    let rate = codec::rate_of(kind).unwrap();
    let mut decoder = Decoder::new(kind, rate).unwrap();
    let mut sound = Vec::new();
    for packet in got {
        let mut out = [0; LONGEST];
        let count = decoder.decode(&packet.payload, &mut out);
        assert!(count > 0, "{packet:?}");
        sound.extend(&out[..count]);
    }
    (sound, rate)
}

/// That a stream of ours is whole: consecutive numbers, and timestamps as long as the sound.
pub(crate) fn assert_steady(got: &[Got], kind: &CodecKind, ms: u32) {
    for pair in got.windows(2) {
        let [one, next] = pair else { unreachable!() };
        assert_eq!(next.header.ssrc, one.header.ssrc);
        assert_eq!(next.header.sequence, one.header.sequence.wrapping_add(1));
        let step = next.header.timestamp.wrapping_sub(one.header.timestamp);
        assert_eq!(step, ms * codec::clock_per_ms(kind));
        let apart = next.at.since(one.at).as_millis() as i64;
        assert!((apart - i64::from(ms)).abs() <= 1, "{apart} ms apart");
    }
}

/// Ada speaks a tone to Bob for so many seconds, each packet late by what `late` says; `None` is lost.
pub(crate) fn talk(
    line: &mut Line,
    speaker: &mut Speaker,
    seconds: u64,
    mut late: impl FnMut(u64) -> Option<u64>,
) {
    for n in 0..seconds * 1_000 / speaker.ms as u64 {
        let packet = speaker.packet();
        if let Some(late) = late(n) {
            line.send(0, Duration::from_millis(late), packet);
        }
        line.run(Duration::from_millis(speaker.ms as u64));
    }
}
