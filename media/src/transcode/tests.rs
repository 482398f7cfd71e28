//! Two phones that talk through us, with a virtual clock: what the one says is measured where the other hears it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Codec, CodecKind, Protection, Reports, Side, Terms};
use pbx::moment::Moment;

use crate::codec::tests::{level, tone};
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
        events_clock: codecs.first().map_or(8_000, |(kind, _)| codec::clock_per_ms(kind) * 1_000),
        comfort_noise: None,
        ptime: 20,
        protection: Protection::Plain,
        reports: Reports::Beside,
    }
}

fn one(kind: CodecKind) -> Terms {
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
fn talk(
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

/// What is left of a tone in the last two seconds that Bob heard, in dB.
fn left(line: &Line, kind: &CodecKind, hz: f64) -> f64 {
    let (sound, rate) = heard(&line.got[1], kind);
    level(&sound[sound.len() - rate.per_ms() * 2_000..], rate, hz)
}

#[test]
fn a_tone_survives_from_each_codec_to_each_other() {
    let kinds = [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722, OPUS];
    for from in &kinds {
        for to in kinds.iter().filter(|to| *to != from) {
            let mut line = Line::new(one(from.clone()), one(to.clone()));
            let mut speaker = Speaker::new(&one(from.clone()), 440.0, 20);
            talk(&mut line, &mut speaker, 3, |_| Some(0));
            let got = &line.got[1];
            assert!((145..150).contains(&got.len()), "{} packets", got.len());
            assert!(got[0].marked && got[1..].iter().all(|got| !got.marked));
            assert!(
                got.iter().all(|got| got.header.payload_type == one(to.clone()).codecs[0].to_peer)
            );
            assert_steady(got, to, 20);
            let level = left(&line, to, 440.0);
            // Opus spends its bits on voices: the rounding of G.711 under a tone costs it 1 dB.
            assert!(level.abs() < 1.3, "{from:?} to {to:?}: {level} dB");
        }
    }
}

#[test]
fn seven_kilohertz_survive_between_wide_codecs() {
    for (from, to) in [(CodecKind::G722, OPUS), (OPUS, CodecKind::G722)] {
        let mut line = Line::new(one(from.clone()), one(to.clone()));
        let mut speaker = Speaker::new(&one(from.clone()), 6_900.0, 20);
        talk(&mut line, &mut speaker, 3, |_| Some(0));
        let level = left(&line, &to, 6_900.0);
        assert!(level > -4.0, "{from:?} to {to:?}: {level} dB");
    }
}

#[test]
fn packets_are_as_long_as_the_listener_wants_whatever_the_speaker_sends() {
    for sent in [10, 20, 30, 40, 60] {
        for wanted in [10, 20, 30, 40, 60] {
            let (ada, mut bob) = (one(CodecKind::Pcmu), one(CodecKind::Pcma));
            bob.ptime = wanted;
            let mut line = Line::new(ada.clone(), bob);
            let mut speaker = Speaker::new(&ada, 1_000.0, sent);
            talk(&mut line, &mut speaker, 3, |_| Some(0));
            assert_steady(&line.got[1], &CodecKind::Pcma, u32::from(wanted));
            let level = left(&line, &CodecKind::Pcma, 1_000.0);
            assert!(level.abs() < 0.2, "{sent} ms to {wanted} ms: {level} dB");
        }
    }
}

#[test]
fn sound_that_comes_evenly_waits_hardly_longer_than_its_packets_are() {
    let ada = one(CodecKind::Pcmu);
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcma));
    let begin = line.now;
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    let first = line.got[1][0].at.since(begin);
    assert!(first <= Duration::from_millis(22), "{first:?}");
}

#[test]
fn uneven_and_reordered_packets_are_heard_as_an_even_tone() {
    for (from, to) in [(CodecKind::Pcma, OPUS), (OPUS, CodecKind::Pcma)] {
        let mut line = Line::new(one(from.clone()), one(to.clone()));
        let mut speaker = Speaker::new(&one(from.clone()), 440.0, 20);
        // Up to 70 ms late, so that packets overtake each other.
        talk(&mut line, &mut speaker, 12, |n| Some(n * 37 % 71));
        let level = left(&line, &to, 440.0);
        assert!(level.abs() < 1.0, "{from:?} to {to:?}: {level} dB");
        assert_steady(&line.got[1], &to, 20);
    }
}

#[test]
fn a_doubled_packet_is_heard_once() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcmu));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    for _ in 0..150 {
        let packet = speaker.packet();
        line.send(0, Duration::ZERO, packet.clone());
        line.send(0, Duration::from_millis(3), packet);
        line.run(Duration::from_millis(20));
    }
    let level = left(&line, &CodecKind::Pcmu, 440.0);
    assert!(level.abs() < 0.2, "{level} dB");
    assert!((147..=150).contains(&line.got[1].len()));
}

#[test]
fn a_tenth_lost_leaves_most_of_the_tone_and_no_hole_in_the_stream() {
    for (from, to) in [(CodecKind::Pcma, OPUS), (OPUS, CodecKind::Pcma)] {
        let mut line = Line::new(one(from.clone()), one(to.clone()));
        let mut speaker = Speaker::new(&one(from.clone()), 440.0, 20);
        talk(&mut line, &mut speaker, 5, |n| (n % 10 != 3).then_some(0));
        assert_steady(&line.got[1], &to, 20);
        let level = left(&line, &to, 440.0);
        assert!(level > -2.0, "{from:?} to {to:?}: {level} dB");
    }
}

#[test]
fn a_wait_that_was_needed_once_is_given_up_again() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcmu));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    // A second of great unevenness, then none.
    talk(&mut line, &mut speaker, 2, |n| Some(if n < 50 { n * 61 % 160 } else { 0 }));
    talk(&mut line, &mut speaker, 60, |_| Some(0));
    // What is said now is heard soon: the tone stops, and so does its sound.
    let stopped = line.now;
    line.run(Duration::from_secs(1));
    let loud = |got: &&Got| got.payload.iter().any(|code| !(0x70..=0x7f).contains(&(code & 0x7f)));
    let last = line.got[1].iter().rfind(loud).unwrap().at;
    let late = last.since(stopped);
    assert!(late < Duration::from_millis(130), "{late:?}, with 60 ms made up");
}

#[test]
fn a_pause_is_silence_for_a_while_and_speech_after_it_begins_anew() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcmu));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    for _ in 0..500 {
        speaker.pause();
    }
    line.run(Duration::from_secs(10));
    let before = line.got[1].len();
    assert!((295..=305).contains(&before), "1 s of sound and 5 of silence: {before}");
    talk(&mut line, &mut speaker, 3, |_| Some(0));
    let got = &line.got[1];
    assert!(got[before].marked, "the first after silence");
    let (last, next) = (&got[before - 1], &got[before]);
    let apart = next.header.timestamp.wrapping_sub(last.header.timestamp) / 8;
    let passed = next.at.since(last.at).as_millis() as u32;
    assert!(apart.abs_diff(passed) <= 2, "{apart} ms by timestamp, {passed} by the clock");
    assert_eq!(next.header.sequence, last.header.sequence.wrapping_add(1));
    let level = left(&line, &CodecKind::Pcmu, 440.0);
    assert!(level.abs() < 0.2, "{level} dB");
}

#[test]
fn comfort_noise_is_heard_as_a_faint_hiss() {
    let mut ada = one(CodecKind::Pcma);
    ada.comfort_noise = Some(13);
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcmu));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    line.send(0, Duration::ZERO, rtp(13, speaker.sequence, speaker.timestamp, &[50]));
    line.run(Duration::from_secs(3));
    let (sound, _) = heard(&line.got[1][100..], &CodecKind::Pcmu);
    let power: f64 = sound.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    let level = 10.0 * (power / sound.len() as f64 / 32_768.0_f64.powi(2)).log10();
    assert!((level + 50.0).abs() < 2.0, "{level} dB");
}

#[test]
fn the_stream_goes_on_when_the_call_is_negotiated_anew() {
    let (ada, mut bob) = (one(CodecKind::Pcma), one(OPUS));
    let mut line = Line::new(ada.clone(), bob.clone());
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    let first = line.got[1].last().cloned().unwrap();
    bob.ptime = 40;
    line.sessions.agree(line.now, side(1), Box::new(bob));
    let before = line.got[1].len();
    talk(&mut line, &mut speaker, 3, |_| Some(0));
    let next = &line.got[1][before];
    assert_eq!(next.header.ssrc, first.header.ssrc);
    assert_eq!(next.header.sequence, first.header.sequence.wrapping_add(1));
    let ahead = next.header.timestamp.wrapping_sub(first.header.timestamp);
    assert_eq!(ahead / 48, next.at.since(first.at).as_millis() as u32);
    assert_steady(&line.got[1][before..], &OPUS, 40);
    let level = left(&line, &OPUS, 440.0);
    assert!(level.abs() < 1.3, "{level} dB");
}

#[test]
fn alike_sides_are_relayed_with_the_listeners_numbers_and_nothing_else_changed() {
    let ada = terms(&[(OPUS, 96)], Some(97));
    let bob = terms(&[(OPUS, 111)], Some(126));
    let mut line = Line::new(ada, bob);
    for (number, expected) in [(96, 111), (97, 126), (96 | 0x80, 111 | 0x80)] {
        let sent = rtp(number, 7, 8, &[1, 2, 3, 4, 5]);
        let way = line.come(0, Port::Sound, &sent);
        assert!(matches!(way, Way::To(..)), "{way:?}");
        let got = line.got[1].last().unwrap();
        assert_eq!(got.header.payload_type, expected & 0x7f);
        assert_eq!(got.marked, expected & 0x80 != 0);
        assert_eq!(got.payload, [1, 2, 3, 4, 5]);
        assert_eq!((got.header.sequence, got.header.timestamp, got.header.ssrc), (7, 8, 7));
    }
    let eve = line.come(0, Port::Sound, &rtp(111, 8, 9, &[1; 20]));
    assert_eq!(eve, Way::Unheard, "Bob would take it for Opus");
    assert!(line.sessions.poll_transmit().is_none());
}

#[test]
fn events_pass_between_unlike_sides_with_their_own_numbers_and_clock() {
    pass_a_digit(48_000, [960, 1920, 2880, 3840, 4800, 5760, 5760, 5760]);
}

#[test]
fn an_opus_phone_whose_events_count_in_8000_gets_lengths_as_they_were() {
    pass_a_digit(8_000, [160, 320, 480, 640, 800, 960, 960, 960]);
}

/// Ada, with G.711, presses a key; Bob has Opus and this clock for events.
fn pass_a_digit(clock: u32, lengths: [u16; 8]) {
    let ada = terms(&[(CodecKind::Pcma, 8)], Some(101));
    let bob = Terms { events_clock: clock, ..terms(&[(OPUS, 96)], Some(110)) };
    let mut line = Line::new(ada.clone(), bob);
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    let before = line.got[1].len();
    let (begin, mut sequence) = (speaker.timestamp, speaker.sequence);
    for n in 1..=8_u16 {
        let (end, long) = (if n > 5 { 0x80 } else { 0 }, n.min(6) * 160);
        let [l0, l1] = long.to_be_bytes();
        line.send(0, Duration::ZERO, rtp(101, sequence, begin, &[5, end | 10, l0, l1]));
        sequence = sequence.wrapping_add(1);
        line.run(Duration::from_millis(if n < 6 { 20 } else { 0 }));
        line.run(Duration::from_millis(1));
        speaker.pause();
    }
    speaker.sequence = sequence;
    talk(&mut line, &mut speaker, 3, |_| Some(0));
    let got = &line.got[1][before..];
    let events: Vec<_> = got.iter().filter(|got| got.header.payload_type == 110).collect();
    assert_eq!(events.len(), 8);
    assert!(events[0].marked && !events[1].marked);
    let longs: Vec<u16> =
        events.iter().map(|got| u16::from_be_bytes([got.payload[2], got.payload[3]])).collect();
    assert_eq!(longs, lengths);
    assert!(events.iter().all(|got| got.header.timestamp == events[0].header.timestamp));
    assert!(events.iter().all(|got| got.payload[0] == 5));
    for pair in got.windows(2) {
        assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
    }
    let from = got.iter().rposition(|got| got.header.payload_type == 110).unwrap();
    let (sound, rate) = heard(&got[from + 1..], &OPUS);
    let level = level(&sound[sound.len() - rate.per_ms() * 2_000..], rate, 440.0);
    assert!(level.abs() < 1.0, "{level} dB after the digit");
}

#[test]
fn reports_about_a_stream_that_is_packed_anew_are_not_passed_on() {
    let mut line = Line::new(one(CodecKind::Pcma), one(OPUS));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    assert_eq!(line.come(0, Port::Reports, &report), Way::Ended);
    let mut line = Line::new(one(OPUS), one(OPUS));
    assert!(matches!(line.come(0, Port::Reports, &report), Way::To(..)));
}

#[test]
fn a_stall_is_not_caught_up_with() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(OPUS));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 1, |_| Some(0));
    let before = line.got[1].len();
    // The worker did not run for two seconds.
    line.now += Duration::from_secs(2);
    line.run(Duration::from_millis(100));
    assert!(line.got[1].len() - before < 10);
}

#[test]
fn a_phone_whose_partner_it_never_sees_gets_reports_of_ours() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(OPUS));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    // A twentieth of what Ada sends is lost.
    talk(&mut line, &mut speaker, 20, |n| (n % 20 != 3).then_some(0));
    // Ada, who gets no sound, hears how hers comes; Bob hears what we sent.
    for (of, sends) in [(0, false), (1, true)] {
        let reports = &line.reports[of];
        assert!((3..=9).contains(&reports.len()), "{} in 20 s", reports.len());
        let last = reports.last().unwrap();
        assert_eq!(last[1], if sends { 200 } else { 201 });
        if !sends {
            let (fraction, lost) =
                (last[12], u32::from_be_bytes([0, last[13], last[14], last[15]]));
            assert!((9..=17).contains(&fraction), "{fraction} of 256");
            assert!((35..=50).contains(&lost), "{lost} lost");
        }
    }
    let sent = line.reports[1].last().unwrap();
    let ssrc = u32::from_be_bytes([sent[4], sent[5], sent[6], sent[7]]);
    assert_eq!(ssrc, line.got[1][0].header.ssrc);
    let packets = u32::from_be_bytes([sent[20], sent[21], sent[22], sent[23]]);
    assert!(packets as usize <= line.got[1].len() && packets > 500);
    line.sessions.say_goodbye(line.now, side(1));
    let made = line.sessions.poll_transmit().unwrap();
    let end = made.bytes.len() - 8;
    assert_eq!((made.port, &made.bytes[end..end + 4]), (Port::Reports, &[0x81, 203, 0, 1][..]));
}

#[test]
fn the_phones_own_reports_pass_between_alike_sides_and_ours_stay_away() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), ada.clone());
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    for _ in 0..10 {
        line.come(0, Port::Reports, &report);
        line.come(1, Port::Reports, &report);
        talk(&mut line, &mut speaker, 2, |_| Some(0));
    }
    for of in [0, 1] {
        assert!(line.reports[of].iter().all(|got| *got == report), "ours came to {of}");
    }
    // Bob's phone stops reporting: Ada is told by us.
    for _ in 0..10 {
        line.come(0, Port::Reports, &report);
        talk(&mut line, &mut speaker, 2, |_| Some(0));
    }
    assert!(line.reports[0].iter().any(|got| *got != report));
    assert!(line.reports[1].iter().all(|got| *got == report));
}

#[test]
fn what_a_phone_reports_is_in_what_was_heard_of_it() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), one(OPUS));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    for _ in 0..20 {
        talk(&mut line, &mut speaker, 1, |_| Some(0));
        // Bob answers our last report, and says that he held it for 10 ms.
        let Some(got) = line.reports[1].pop() else { continue };
        line.reports[1].clear();
        let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        answer.extend(&got[4..8]);
        answer.extend([0, 0, 0, 42, 0, 0, 1, 0, 0, 0, 0, 5]);
        answer.extend(&got[10..14]);
        answer.extend(655_u32.to_be_bytes());
        line.come(1, Port::Reports, &answer);
    }
    let (_, adas) = line.sessions.close(line.now, side(0)).unwrap();
    let (_, bobs) = line.sessions.close(line.now, side(1)).unwrap();
    assert_eq!(bobs.reported_lost, Some(42));
    assert!(bobs.round_trip_ms.is_some());
    assert_eq!((adas.reported_lost, adas.round_trip_ms), (None, None));
    let opinion = adas.opinion.unwrap();
    assert!((4.2..4.5).contains(&opinion), "{opinion}");
    assert_eq!(bobs.opinion, None, "Bob said nothing");
}

/// What was told of sound that goes one way.
fn one_way(line: &mut Line) -> Vec<Side> {
    let events = std::iter::from_fn(|| line.sessions.poll_event());
    let sides = events.filter_map(|event| match event {
        pbx::media::Event::OneWay { side } => Some(side),
        _ => None,
    });
    sides.collect()
}

#[test]
fn a_phone_that_is_not_heard_while_the_other_is_is_told_within_five_seconds_and_once() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), ada.clone());
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 2, |_| Some(0));
    assert_eq!(one_way(&mut line), []);
    talk(&mut line, &mut speaker, 3, |_| Some(0));
    assert_eq!(one_way(&mut line), [side(1)]);
    talk(&mut line, &mut speaker, 60, |_| Some(0));
    assert_eq!(one_way(&mut line), []);
    // Signalling speaks of Bob again: he has another chance.
    let aim = Aim { rtp: Some(phone(1)), rtcp: None, near: None };
    line.sessions.aim(line.now, side(1), aim);
    talk(&mut line, &mut speaker, 6, |_| Some(0));
    assert_eq!(one_way(&mut line), [side(1)]);
}

#[test]
fn nobody_is_missed_who_speaks_or_is_on_hold_or_while_both_are_silent() {
    let ada = one(CodecKind::Pcma);
    let mut line = Line::new(ada.clone(), ada.clone());
    line.run(Duration::from_secs(20));
    assert_eq!(one_way(&mut line), [], "both are silent");
    let aim = Aim { rtp: None, rtcp: None, near: None };
    line.sessions.aim(line.now, side(1), aim);
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    talk(&mut line, &mut speaker, 20, |_| Some(0));
    assert_eq!(one_way(&mut line), [], "Bob is on hold");
    let aim = Aim { rtp: Some(phone(1)), rtcp: None, near: None };
    line.sessions.aim(line.now, side(1), aim);
    let mut other = Speaker::new(&ada, 440.0, 20);
    for _ in 0..10 {
        let packet = other.packet();
        line.send(1, Duration::ZERO, packet);
        talk(&mut line, &mut speaker, 1, |_| Some(0));
    }
    assert_eq!(one_way(&mut line), [], "Bob spoke");
}

#[test]
fn rubbish_of_every_kind_between_every_pair_breaks_nothing_and_no_stream() {
    let mut chance = pbx::chance::Chance::from_seed([8; 32]);
    let kinds = [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::G722, OPUS];
    for ada in &kinds {
        for bob in &kinds {
            let events = [None, Some(101)][chance.below(2) as usize];
            let (mut ada, bob) = (one(ada.clone()), one(bob.clone()));
            (ada.events, ada.comfort_noise) = (events, Some(13));
            let mut line = Line::new(ada.clone(), bob);
            line.sessions.listen(side(0), pbx::media::Tones::Heard);
            for _ in 0..1_000 {
                let number = [ada.codecs[0].from_peer, 101, 13, 0, 96][chance.below(5) as usize];
                let mut payload = vec![0; chance.below(200) as usize];
                chance.fill(&mut payload);
                let (sequence, timestamp) = match chance.below(4) {
                    0 => (chance.number() as u16, chance.number() as u32),
                    _ => (chance.below(300) as u16, chance.below(60_000) as u32),
                };
                line.come(0, Port::Sound, &rtp(number, sequence, timestamp, &payload));
                if chance.below(20) == 0 {
                    let mut report = vec![0x80 | payload.len() as u8 & 31, 200, 0, 6];
                    report.extend(&payload);
                    report.resize(28, 0);
                    line.come(1, Port::Reports, &report);
                }
                line.run(Duration::from_millis(chance.below(50)));
            }
            // What we make ourselves has another source than Ada's phone.
            let ours: Vec<_> = line.got[1].iter().filter(|got| got.header.ssrc != 7).collect();
            for pair in ours.windows(2) {
                assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
            }
        }
    }
}
