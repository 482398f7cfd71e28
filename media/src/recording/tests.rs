//! Recordings made by hand: what is late, lost, swapped, paused, packed anew or torn, and where it is
//! heard then.

use std::path::PathBuf;

use pbx::id::{CallId, RecordingId, TenantId};
use pbx::media::{
    Channel, Codec, CodecKind, Kept, Protection, Reception, Recording, Reports, Terms,
};
use pbx::moment::Moment;

use super::log::{Entry, Kind, MAGIC, Place, about, codecs};
use super::{Failure, Rendering};
use crate::codec::{Encoder, Rate};

const BEGIN_US: u64 = 1_790_000_000_000_000;
const MS: u64 = 1_000;

/// A part of a recording, being written.
struct Part {
    bytes: Vec<u8>,
}

impl Part {
    fn begin(at_us: u64) -> Self {
        let mut part = Self { bytes: MAGIC.to_vec() };
        let about = about(&recording());
        part.add(at_us, Channel::Left, Kind::About, &about);
        part
    }

    fn add(&mut self, at_us: u64, channel: Channel, kind: Kind, body: &[u8]) {
        let leg = match channel {
            Channel::Left => 0,
            Channel::Right => 1,
        };
        let place = Place { at: Moment::from_micros(BEGIN_US + at_us), leg, channel };
        Entry { kind, place, body }.write(&mut self.bytes);
    }

    fn agree(&mut self, at_us: u64, channel: Channel, numbers: &[(u8, CodecKind)]) {
        self.add(at_us, channel, Kind::Terms, &codecs(&terms(numbers), Kept::Said));
    }

    fn save(self, name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("recording-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, self.bytes).unwrap();
        path
    }
}

fn recording() -> Recording {
    Recording {
        id: RecordingId(Default::default()),
        tenant: TenantId(Default::default()),
        call: CallId(Default::default()),
        asked_by: "101".to_owned(),
    }
}

fn terms(numbers: &[(u8, CodecKind)]) -> Terms {
    let codec = |(number, kind): &(u8, CodecKind)| Codec {
        kind: kind.clone(),
        to_peer: *number,
        from_peer: *number,
    };
    Terms {
        codecs: numbers.iter().map(codec).collect(),
        events: Some(101),
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection: Protection::Plain,
        reports: Reports::Beside,
    }
}

/// A phone that says the same tone all the time, from some moment on.
struct Phone {
    encoder: Encoder,
    number: u8,
    clock: u32,
    samples: usize,
    rate: Rate,
    hz: f64,
    said: usize,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Phone {
    fn new(kind: &CodecKind, number: u8, hz: f64) -> Self {
        let rate = crate::codec::rate_of(kind).unwrap();
        Self {
            encoder: Encoder::new(kind, rate).unwrap(),
            number,
            clock: crate::codec::clock_per_ms(kind),
            samples: rate.per_ms() * 20,
            rate,
            hz,
            said: 0,
            sequence: 65_530,
            timestamp: u32::MAX - 1_000,
            ssrc: 7,
        }
    }

    /// The next 20 ms.
    fn packet(&mut self) -> Vec<u8> {
        let step = self.hz * std::f64::consts::TAU / f64::from(self.rate.hertz());
        let wave = |n: usize| ((n as f64 * step).sin() * 12_000.0) as i16;
        let samples: Vec<i16> = (self.said..self.said + self.samples).map(wave).collect();
        let mut payload = vec![0; crate::codec::LONGEST_PAYLOAD];
        let len = self.encoder.encode(&samples, &mut payload);
        let mut packet = vec![0x80, self.number];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend(&payload[..len]);
        self.skip();
        packet
    }

    fn skip(&mut self) {
        self.said += self.samples;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.clock * 20);
    }
}

/// A rendered recording.
struct Heard {
    rate: u32,
    ears: [Vec<i16>; 2],
}

fn hear(parts: Vec<PathBuf>) -> Heard {
    let rendering = Rendering::open(parts).unwrap();
    let mut wave = Vec::new();
    rendering
        .render(|piece| {
            wave.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    let number = |at: usize| u32::from_le_bytes(wave[at..at + 4].try_into().unwrap());
    assert_eq!(
        (&wave[..4], &wave[8..16], &wave[36..40]),
        (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..])
    );
    assert_eq!((number(4) as usize, number(40) as usize), (wave.len() - 8, wave.len() - 44));
    let sample = |pair: &[u8]| i16::from_le_bytes([pair[0], pair[1]]);
    let ear = |skip: usize| wave[44 + skip..].chunks(4).map(sample).collect();
    Heard { rate: number(24), ears: [ear(0), ear(2)] }
}

impl Heard {
    fn seconds(&self) -> f64 {
        self.ears[0].len() as f64 / f64::from(self.rate)
    }

    /// When an ear hears something for the first time, in milliseconds.
    fn begins_ms(&self, ear: usize) -> f64 {
        let first = self.ears[ear].iter().position(|sample| sample.abs() > 1_500).unwrap();
        first as f64 * 1_000.0 / f64::from(self.rate)
    }

    /// How loud a tone is in a piece of an ear, from 0 to 1.
    fn tone(&self, ear: usize, from_ms: usize, long_ms: usize, hz: f64) -> f64 {
        let per_ms = self.rate as usize / 1_000;
        let piece = &self.ears[ear][from_ms * per_ms..(from_ms + long_ms) * per_ms];
        let step = hz * std::f64::consts::TAU / f64::from(self.rate);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in piece.iter().enumerate() {
            re += f64::from(*sample) * (n as f64 * step).cos();
            im += f64::from(*sample) * (n as f64 * step).sin();
        }
        2.0 * (re * re + im * im).sqrt() / piece.len() as f64 / 12_000.0
    }
}

fn opus() -> CodecKind {
    CodecKind::Opus { stereo: false, fec: true, most: None }
}

#[test]
fn both_sides_are_in_step_whatever_their_codecs_and_their_jitter_are() {
    for (name, kind, number, rate) in [
        ("g711", CodecKind::Pcma, 8, 8_000),
        ("g722", CodecKind::G722, 9, 16_000),
        ("opus", opus(), 111, 16_000),
    ] {
        let mut part = Part::begin(0);
        part.agree(0, Channel::Left, &[(8, CodecKind::Pcma)]);
        part.agree(0, Channel::Right, &[(number, kind.clone())]);
        let (mut ada, mut bob) =
            (Phone::new(&CodecKind::Pcma, 8, 440.0), Phone::new(&kind, number, 700.0));
        let mut entries = Vec::new();
        // Both begin to speak after 500 ms; the way from Bob delays unevenly, by up to 90 ms.
        for n in 0..150_u64 {
            let at = 500 * MS + n * 20 * MS;
            entries.push((at, Channel::Left, ada.packet()));
            entries.push((at + (n * 37 % 91) * MS, Channel::Right, bob.packet()));
        }
        entries.sort_by_key(|(at, ..)| *at);
        for (at, channel, packet) in &entries {
            part.add(*at, *channel, Kind::Packet, packet);
        }
        part.add(4_000 * MS, Channel::Left, Kind::Closed, &[0]);
        part.add(4_000 * MS, Channel::Right, Kind::Closed, &[1]);
        let heard = hear(vec![part.save(name)]);
        assert_eq!(heard.rate, rate, "{name}");
        assert!((heard.seconds() - 4.0).abs() < 0.001, "{name}: {}", heard.seconds());
        let (left, right) = (heard.begins_ms(0), heard.begins_ms(1));
        assert!((left - 500.0).abs() < 10.0, "{name}: {left}");
        assert!((left - right).abs() < 20.0, "{name}: {left} {right}");
        for (ear, hz, other) in [(0, 440.0, 700.0), (1, 700.0, 440.0)] {
            let tone = heard.tone(ear, 1_000, 2_000, hz);
            assert!((0.8..1.2).contains(&tone), "{name}: {tone} in {ear}");
            assert!(heard.tone(ear, 1_000, 2_000, other) < 0.02, "{name}: {ear}");
        }
    }
}

#[test]
fn what_was_lost_or_swapped_moves_nothing() {
    let mut part = Part::begin(0);
    part.agree(0, Channel::Left, &[(8, CodecKind::Pcma)]);
    let mut ada = Phone::new(&CodecKind::Pcma, 8, 440.0);
    let mut packets: Vec<_> = (0..200_u64).map(|n| (n * 20 * MS, ada.packet())).collect();
    // The way swaps some, loses some, and 400 ms at once.
    for n in (10..190).step_by(10) {
        packets.swap(n, n + 1);
    }
    for (n, (at, packet)) in packets.iter().enumerate() {
        if n % 17 != 3 && !(100..120).contains(&n) {
            part.add(n as u64 * 20 * MS, Channel::Left, Kind::Packet, packet);
        }
        let _ = at;
    }
    part.add(4_000 * MS, Channel::Left, Kind::Closed, &[1]);
    let heard = hear(vec![part.save("lost")]);
    // In phase before and after: nothing was squeezed or stretched.
    let phase = |from_ms: usize| {
        let per_ms = heard.rate as usize / 1_000;
        let piece = &heard.ears[0][from_ms * per_ms..(from_ms + 100) * per_ms];
        let step = 440.0 * std::f64::consts::TAU / f64::from(heard.rate);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in piece.iter().enumerate() {
            let n = n + from_ms * per_ms;
            re += f64::from(*sample) * (n as f64 * step).cos();
            im += f64::from(*sample) * (n as f64 * step).sin();
        }
        im.atan2(re)
    };
    let (before, after) = (phase(500), phase(3_000));
    let apart = (before - after).rem_euclid(std::f64::consts::TAU);
    let apart = apart.min(std::f64::consts::TAU - apart);
    assert!(apart < 0.7, "a quarter of a millisecond: {before} {after}");
    assert!(heard.tone(0, 2_150, 200, 440.0) < 0.05, "400 ms are not made up");
    assert!(heard.tone(0, 200, 1_600, 440.0) > 0.8);
    assert!(heard.tone(1, 0, 4_000, 440.0) < 0.001);
}

#[test]
fn a_codec_that_is_agreed_on_anew_is_followed() {
    let mut part = Part::begin(0);
    let both = [(8, CodecKind::Pcma), (111, opus())];
    part.agree(0, Channel::Left, &both[..1]);
    part.agree(0, Channel::Right, &both[1..]);
    let narrow = |hz| Phone::new(&CodecKind::Pcma, 8, hz);
    let wide = |hz| Phone::new(&opus(), 111, hz);
    let (mut ada, mut bob) = (narrow(440.0), wide(700.0));
    for n in 0..200_u64 {
        let at = n * 20 * MS;
        if n == 100 {
            part.agree(at, Channel::Left, &both[1..]);
            part.agree(at, Channel::Right, &both[..1]);
            // The same numbers mean something else; the streams go on.
            for (phone, mut other) in [(&mut ada, wide(440.0)), (&mut bob, narrow(700.0))] {
                (other.sequence, other.timestamp) = (phone.sequence, phone.timestamp);
                *phone = other;
            }
        }
        part.add(at, Channel::Left, Kind::Packet, &ada.packet());
        part.add(at, Channel::Right, Kind::Packet, &bob.packet());
    }
    part.add(4_000 * MS, Channel::Left, Kind::Closed, &[1]);
    let heard = hear(vec![part.save("anew")]);
    assert_eq!(heard.rate, 16_000);
    for (from, long) in [(200, 1_700), (2_100, 1_800)] {
        for (ear, hz) in [(0, 440.0), (1, 700.0)] {
            let tone = heard.tone(ear, from, long, hz);
            assert!((0.8..1.2).contains(&tone), "{tone} in {ear} from {from}");
        }
    }
}

#[test]
fn a_pause_is_left_out_and_both_sides_go_on_in_step() {
    let mut part = Part::begin(0);
    let mut phones = [(Channel::Left, 440.0), (Channel::Right, 700.0)]
        .map(|(channel, hz)| (channel, Phone::new(&CodecKind::Pcma, 8, hz)));
    for n in 0..200_u64 {
        let at = n * 20 * MS;
        for (channel, phone) in &mut phones {
            match n {
                50 => part.add(at, *channel, Kind::Pause, &[]),
                150 => part.add(at, *channel, Kind::Resume, &[]),
                _ => {}
            }
            match n {
                50..150 => phone.skip(),
                _ => part.add(at, *channel, Kind::Packet, &phone.packet()),
            }
        }
    }
    part.add(4_000 * MS, Channel::Left, Kind::Closed, &[1]);
    let heard = hear(vec![part.save("paused")]);
    assert!((heard.seconds() - 2.0).abs() < 0.001, "{}", heard.seconds());
    for (ear, hz) in [(0, 440.0), (1, 700.0)] {
        assert!(heard.tone(ear, 100, 880, hz) > 0.9);
        assert!(heard.tone(ear, 1_020, 880, hz) > 0.9);
    }
}

#[test]
fn the_parts_before_and_after_a_kill_are_one_recording() {
    let mut first = Part::begin(0);
    let mut ada = Phone::new(&CodecKind::Pcmu, 0, 440.0);
    for n in 0..100_u64 {
        first.add(n * 20 * MS, Channel::Left, Kind::Packet, &ada.packet());
    }
    // Killed in the middle of a word.
    first.bytes.truncate(first.bytes.len() - 100);
    let mut second = Part::begin(3_000 * MS);
    for _ in 0..50 {
        ada.skip();
    }
    for n in 150..200_u64 {
        second.add(n * 20 * MS, Channel::Left, Kind::Packet, &ada.packet());
    }
    second.add(4_000 * MS, Channel::Left, Kind::Closed, &[1]);
    let heard = hear(vec![first.save("killed.0000"), second.save("killed.0001")]);
    assert!((heard.seconds() - 4.0).abs() < 0.001, "{}", heard.seconds());
    assert!(heard.tone(0, 100, 1_800, 440.0) > 0.9);
    assert!(heard.tone(0, 2_200, 700, 440.0) < 0.01);
    assert!(heard.tone(0, 3_050, 900, 440.0) > 0.9);
}

#[test]
fn there_is_nothing_in_files_that_are_none_of_ours() {
    let part = Part { bytes: b"RIFF and something else".to_vec() };
    assert!(matches!(Rendering::open(vec![part.save("none")]), Err(Failure::Nothing)));
    let part = Part { bytes: MAGIC.to_vec() };
    assert!(matches!(Rendering::open(vec![part.save("empty")]), Err(Failure::Nothing)));
    let gone = std::env::temp_dir().join("a recording that is not there");
    assert!(matches!(Rendering::open(vec![gone]), Err(Failure::File(_))));
}

#[test]
fn no_packet_in_a_recording_does_harm() {
    let mut chance = pbx::chance::Chance::from_seed([3; 32]);
    for round in 0..200 {
        let mut part = Part::begin(0);
        part.agree(0, Channel::Left, &[(8, CodecKind::Pcma), (111, opus()), (9, CodecKind::G722)]);
        let mut ada = Phone::new(&CodecKind::Pcma, 8, 440.0);
        for n in 0..50_u64 {
            let mut packet = ada.packet();
            for _ in 0..chance.below(3) {
                let at = chance.below(packet.len() as u64) as usize;
                packet[at] = chance.below(256) as u8;
            }
            packet.truncate(chance.below(200) as usize);
            part.add(n * 20 * MS, Channel::Left, Kind::Packet, &packet);
        }
        part.add(1_000 * MS, Channel::Left, Kind::Closed, &[1]);
        let heard = hear(vec![part.save(&format!("harm-{round}"))]);
        assert!((heard.seconds() - 1.0).abs() < 0.001);
    }
}
