//! Phones in a conference, with a virtual clock: what each hears is measured.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pbx::media::{CodecKind, Cue, Digit, Event, Part, Terms};
use pbx::moment::Moment;

use super::RATE;
use crate::codec::tests::{level, tone};
use crate::codec::{self, Decoder, Encoder, LONGEST, LONGEST_PAYLOAD, Rate};
use crate::packet::Packet;
use crate::packet::tests::room;
use crate::rtp::{Datagram, Header};
use crate::session::{Family, Port, Sessions, Slot, Way};
use crate::stream::Aim;
use crate::transcode::tests::{OPUS, side, terms};

const NOW: Moment = Moment::from_secs(1_000);

/// One phone: what it says, and what it hears.
struct Phone {
    slot: Slot,
    terms: Terms,
    encoder: Encoder,
    decoder: Decoder,
    says: Says,
    sent: u32,
    sequence: u16,
    heard: Vec<i16>,
    got: Vec<(Moment, Header, usize)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// No packet at all.
    Nothing,
    /// A tone of so many Hertz, so much (in dB) louder than usual.
    Tone(f64, f64),
}

struct Hall {
    sessions: Sessions,
    now: Moment,
    phones: BTreeMap<u16, Phone>,
    events: Vec<(Moment, Event)>,
    /// The most packets that were made before others had their turn.
    most_at_once: usize,
}

fn one(kind: &CodecKind, ptime: u8) -> Terms {
    let number = match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::Opus { .. } | CodecKind::Other { .. } => 96,
    };
    Terms { ptime, ..terms(&[(kind.clone(), number)], Some(101)) }
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number as u8], 4_000))
}

impl Hall {
    fn new() -> Self {
        let phones = BTreeMap::new();
        let sessions = Sessions::default();
        Self { sessions, now: NOW, phones, events: vec![], most_at_once: 0 }
    }

    /// Members with these codecs, in order.
    fn of(kinds: &[CodecKind]) -> Self {
        let mut hall = Self::new();
        for (number, kind) in (0..).zip(kinds) {
            hall.enter(number, kind, 20);
            hall.take_part(number, Part::Speaks);
        }
        hall
    }

    fn enter(&mut self, number: u16, kind: &CodecKind, ptime: u8) {
        let slot = self.sessions.open(side(number), Family::V4).unwrap();
        let aim = Aim { rtp: Some(address(number)), rtcp: None, near: None };
        self.sessions.aim(self.now, side(number), aim);
        let terms = one(kind, ptime);
        self.sessions.agree(self.now, side(number), Box::new(terms.clone()));
        let phone = Phone {
            slot,
            terms,
            encoder: Encoder::new(kind, RATE).unwrap(),
            decoder: Decoder::new(kind, RATE).unwrap(),
            says: Says::Nothing,
            sent: 0,
            sequence: 0,
            heard: vec![],
            got: vec![],
        };
        self.phones.insert(number, phone);
    }

    fn take_part(&mut self, number: u16, part: Part) {
        self.sessions.mix(self.now, side(number), part);
    }

    fn leave(&mut self, number: u16) {
        self.sessions.close(self.now, side(number)).unwrap();
        self.phones.remove(&number);
    }

    fn say(&mut self, number: u16, says: Says) {
        self.phones.get_mut(&number).unwrap().says = says;
    }

    /// Time goes on, a millisecond at a time; phones send every 20 ms, each at its own moment.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            let at = self.now.as_micros() / 1_000;
            let due = |number: &&u16| (at + u64::from(**number) * 7).is_multiple_of(20);
            let numbers: Vec<u16> = self.phones.keys().filter(due).copied().collect();
            numbers.into_iter().for_each(|number| self.send(number));
            self.work();
        }
    }

    fn work(&mut self) {
        while self.sessions.deadline().is_some_and(|at| at <= self.now) {
            self.sessions.handle_deadline(self.now);
            let mut at_once = 0;
            while let Some(made) = self.sessions.poll_transmit() {
                if made.port == Port::Reports {
                    continue;
                }
                at_once += 1;
                self.most_at_once = self.most_at_once.max(at_once);
                let (slot, bytes) = (made.slot, made.bytes.to_vec());
                let Some((number, phone)) = self.phones.iter_mut().find(|(_, p)| p.slot == slot)
                else {
                    continue;
                };
                assert_eq!(made.to, address(*number));
                let Datagram::Rtp(header) = Datagram::read(&bytes) else { panic!("no sound") };
                let mut out = [0; LONGEST];
                let count = phone.decoder.decode(header.payload(&bytes), &mut out);
                phone.heard.extend_from_slice(&out[..count]);
                phone.got.push((self.now, header, count));
            }
            while let Some(event) = self.sessions.poll_event() {
                if !matches!(event, Event::Latched { .. }) {
                    self.events.push((self.now, event));
                }
            }
        }
    }

    fn send(&mut self, number: u16) {
        let phone = self.phones.get_mut(&number).unwrap();
        let Says::Tone(hz, gain) = phone.says else { return };
        let kind = phone.terms.codecs[0].kind.clone();
        let rate = match codec::rate_of(&kind).unwrap() {
            Rate::Narrow => Rate::Narrow,
            Rate::Wide | Rate::Full => RATE,
        };
        let count = 20 * rate.per_ms();
        let mut sound = tone(rate, hz, phone.sent as usize * count, count);
        let factor = 10.0_f64.powf(gain / 20.0);
        sound.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * factor) as i16);
        let mut packed = [0; LONGEST_PAYLOAD];
        let len = phone.encoder.encode(&sound, &mut packed);
        let clock = codec::clock_per_ms(&kind) * 20;
        let (from, timestamp) = (phone.terms.codecs[0].from_peer, phone.sent * clock);
        phone.sent += 1;
        phone.sequence = phone.sequence.wrapping_add(1);
        let mut bytes = vec![0x80, from];
        bytes.extend(phone.sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(u32::from(number + 1).to_be_bytes());
        bytes.extend(&packed[..len]);
        self.come(number, &bytes);
    }

    fn come(&mut self, number: u16, bytes: &[u8]) {
        let (mut room, len) = room(bytes);
        let mut packet = Packet::new(&mut room, len).unwrap();
        let at = (self.phones[&number].slot, Port::Sound);
        let way = self.sessions.handle_datagram(self.now, at, address(number), &mut packet);
        assert_eq!(way, Way::Ended);
    }

    /// What a phone hears from now on, for so long.
    fn listen(&mut self, ms: u64) {
        self.phones.values_mut().for_each(|phone| phone.heard.clear());
        self.run(ms);
    }

    /// How loud a phone hears a tone, in dB against one that is said as usual.
    fn level(&self, number: u16, hz: f64) -> f64 {
        let phone = &self.phones[&number];
        let rate = phone.decoder.rate();
        assert!(phone.heard.len() > 50 * rate.per_ms(), "{number} hears nothing");
        level(&phone.heard, rate, hz)
    }

    fn speakers(&self) -> Vec<u16> {
        let of = |(_, event): &(Moment, Event)| match event {
            Event::Speaking { side } => Some(side.leg),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

const TONES: [f64; 3] = [440.0, 1_000.0, 1_900.0];

#[test]
fn each_hears_all_others_and_not_itself_whatever_its_codec() {
    for kinds in [
        [CodecKind::Pcma, CodecKind::G722, OPUS],
        [OPUS, OPUS, OPUS],
        [CodecKind::Pcmu, CodecKind::Pcma, CodecKind::Pcma],
        [CodecKind::G722, CodecKind::G722, CodecKind::Pcmu],
    ] {
        let mut hall = Hall::of(&kinds);
        for (number, hz) in (0..).zip(TONES) {
            hall.say(number, Says::Tone(hz, 0.0));
        }
        hall.run(1_500);
        hall.listen(1_000);
        for me in 0..3 {
            for (other, hz) in (0..).zip(TONES) {
                let level = hall.level(me, hz);
                match other == me {
                    true => assert!(level < -35.0, "{me} hears itself: {level}, {kinds:?}"),
                    false => assert!(level.abs() < 3.0, "{me} of {other}: {level}, {kinds:?}"),
                }
            }
        }
    }
}

#[test]
fn seven_kilohertz_reach_who_can_hear_them() {
    let mut hall = Hall::of(&[CodecKind::G722, OPUS, CodecKind::Pcma]);
    hall.say(0, Says::Tone(6_800.0, 0.0));
    hall.run(1_500);
    hall.listen(500);
    assert!(hall.level(1, 6_800.0) > -4.0, "{}", hall.level(1, 6_800.0));
    let folded = hall.level(2, 8_000.0 - 6_800.0);
    assert!(folded < -45.0, "{folded}");
}

#[test]
fn packets_leave_evenly_with_numbers_that_go_on() {
    let mut hall = Hall::new();
    for (number, ptime) in (0..).zip([20, 40, 60, 10, 30]) {
        hall.enter(number, &CodecKind::Pcma, ptime);
        hall.take_part(number, Part::Speaks);
    }
    hall.run(500);
    // Nothing of it may show in the numbers: speaking, silence, and others that come and go.
    hall.say(1, Says::Tone(440.0, 0.0));
    hall.run(700);
    hall.say(1, Says::Nothing);
    hall.run(3_000);
    hall.leave(4);
    hall.run(700);
    for (number, long) in (0..).zip([20, 40, 60, 20]) {
        let got = &hall.phones[&number].got;
        assert!(got.len() as u64 >= 4_700 / long, "{number}: {}", got.len());
        for two in got.windows(2) {
            let [(at, before, _), (next_at, after, count)] = two else { panic!() };
            assert_eq!(after.sequence, before.sequence.wrapping_add(1), "{number}");
            let units = after.timestamp.wrapping_sub(before.timestamp);
            assert_eq!(u64::from(units), long * 8, "{number}");
            assert_eq!((next_at.since(*at).as_millis() as u64, *count as u64), (long, long * 8));
        }
    }
}

#[test]
fn who_is_muted_hears_and_is_not_heard_and_speaks_again_at_once() {
    let mut hall = Hall::of(&[CodecKind::Pcma, OPUS, CodecKind::G722]);
    for (number, hz) in (0..).zip(TONES) {
        hall.say(number, Says::Tone(hz, 0.0));
    }
    hall.run(1_000);
    hall.take_part(1, Part::Listens);
    hall.run(300);
    hall.listen(500);
    for other in [0, 2] {
        assert!(hall.level(other, TONES[1]) < -45.0, "{other}: {}", hall.level(other, TONES[1]));
    }
    assert!(hall.level(1, TONES[0]).abs() < 3.0 && hall.level(1, TONES[2]).abs() < 3.0);
    hall.take_part(1, Part::Speaks);
    hall.run(100);
    hall.listen(400);
    for other in [0, 2] {
        assert!(hall.level(other, TONES[1]).abs() < 3.0, "{}", hall.level(other, TONES[1]));
    }
}

#[test]
fn who_is_on_hold_is_told_nothing_and_comes_back() {
    let mut hall = Hall::of(&[CodecKind::Pcma, CodecKind::Pcma]);
    hall.say(0, Says::Tone(440.0, 0.0));
    hall.say(1, Says::Tone(1_000.0, 0.0));
    hall.run(1_000);
    hall.take_part(1, Part::Away);
    hall.run(100);
    hall.listen(500);
    assert!(hall.phones[&1].heard.is_empty());
    assert!(hall.level(0, 1_000.0) < -45.0, "its music stays outside");
    hall.take_part(1, Part::Speaks);
    hall.run(300);
    hall.listen(500);
    assert!(hall.level(0, 1_000.0).abs() < 1.0 && hall.level(1, 440.0).abs() < 1.0);
    let got = &hall.phones[&1].got;
    let gap = got.windows(2).find(|two| two[1].0.since(two[0].0) > Duration::from_millis(500));
    let [(at, before, _), (next_at, after, _)] = gap.unwrap() else { panic!() };
    let units = after.timestamp.wrapping_sub(before.timestamp);
    assert_eq!(u64::from(units), next_at.since(*at).as_millis() as u64 * 8, "silence has length");
}

#[test]
fn who_waits_hears_its_own_cues_and_nothing_of_the_conference() {
    let mut hall = Hall::of(&[CodecKind::Pcma, CodecKind::Pcma]);
    hall.say(0, Says::Tone(440.0, 0.0));
    hall.run(1_000);
    hall.enter(2, &OPUS, 20);
    hall.take_part(2, Part::Waits);
    hall.say(2, Says::Tone(1_900.0, 0.0));
    hall.run(500);
    hall.listen(500);
    assert!(hall.level(2, 440.0) < -60.0, "{}", hall.level(2, 440.0));
    assert!(hall.level(1, 1_900.0) < -50.0);
    hall.phones.values_mut().for_each(|phone| phone.heard.clear());
    hall.sessions.cue(side(2), Cue::AskPin);
    hall.run(480);
    assert!(hall.level(2, 1_000.0) > -14.0, "{}", hall.level(2, 1_000.0));
    assert!(hall.level(1, 1_000.0) < -50.0, "nobody else hears it");
}

#[test]
fn coming_and_going_is_heard_by_all() {
    let mut hall = Hall::of(&[CodecKind::Pcma, CodecKind::Pcma]);
    hall.run(1_000);
    hall.enter(2, &OPUS, 20);
    hall.listen(400);
    assert!(hall.level(0, 880.0) < -60.0, "{}", hall.level(0, 880.0));
    hall.take_part(2, Part::Speaks);
    hall.listen(400);
    for number in 0..3 {
        let entered = [587.0, 880.0].map(|hz| hall.level(number, hz));
        assert!(entered.iter().all(|level| *level > -30.0), "{number}: {entered:?}");
    }
    hall.run(500);
    hall.leave(2);
    hall.listen(400);
    for number in 0..2 {
        assert!(hall.level(number, 587.0) > -30.0, "{number}: {}", hall.level(number, 587.0));
    }
    hall.run(500);
    hall.listen(400);
    assert!(hall.level(0, 587.0) < -60.0, "and then nothing");
}

#[test]
fn many_loud_voices_become_softer_and_are_not_cut() {
    let mut hall = Hall::of(&[CodecKind::G722, CodecKind::G722, CodecKind::G722, CodecKind::G722]);
    for (number, hz) in (0..).zip([500.0, 700.0, 1_100.0]) {
        // Each nearly as loud as can be said.
        hall.say(number, Says::Tone(hz, 11.0));
    }
    hall.run(1_000);
    hall.listen(1_000);
    for hz in [500.0, 700.0, 1_100.0] {
        let level = hall.level(3, hz);
        assert!((0.5..4.0).contains(&level), "{hz}: {level}");
    }
    let beside = [300.0, 900.0, 1_300.0, 2_300.0].map(|hz| hall.level(3, hz));
    assert!(beside.iter().all(|level| *level < -30.0), "{beside:?}");
}

#[test]
fn a_hundred_members_hear_the_two_who_speak() {
    let mut hall = Hall::new();
    let kinds = [CodecKind::Pcma, CodecKind::G722, CodecKind::Pcmu];
    for number in 0..100 {
        let kind = if number % 10 == 8 { &OPUS } else { &kinds[usize::from(number) % 3] };
        hall.enter(number, kind, 20);
        hall.take_part(number, Part::Speaks);
    }
    hall.say(17, Says::Tone(440.0, 0.0));
    hall.say(18, Says::Tone(1_000.0, 0.0));
    hall.run(500);
    hall.listen(200);
    for number in (0..100).filter(|number| ![17, 18].contains(number)) {
        let levels = [440.0, 1_000.0].map(|hz| hall.level(number, hz));
        assert!(levels.iter().all(|level| level.abs() < 3.0), "{number}: {levels:?}");
    }
    assert!(hall.level(17, 440.0) < -35.0 && hall.level(18, 1_000.0) < -35.0);
}

#[test]
fn packets_of_one_tick_leave_one_after_the_other() {
    let mut hall = Hall::of(&vec![CodecKind::Pcma; 100]);
    hall.run(500);
    let mut by_moment: BTreeMap<Moment, usize> = BTreeMap::new();
    let got = hall.phones.values().flat_map(|phone| &phone.got);
    got.for_each(|(at, ..)| *by_moment.entry(*at).or_default() += 1);
    let most = by_moment.values().max().unwrap();
    assert!(*most <= 8, "{most} packets within a millisecond");
}

#[test]
fn others_have_their_turn_while_many_speak_at_once() {
    let mut hall = Hall::of(&vec![OPUS; 20]);
    for number in 0..20 {
        hall.say(number, Says::Tone(300.0 + 100.0 * f64::from(number), 0.0));
    }
    hall.run(300);
    hall.most_at_once = 0;
    hall.run(200);
    // Each takes an encoder of its own: three of them are 0.4 ms.
    assert!((1..=3).contains(&hall.most_at_once), "{}", hall.most_at_once);
    let got = hall.phones.values().map(|phone| phone.got.len());
    assert!(got.clone().all(|count| count >= 12), "{:?}", got.collect::<Vec<_>>());
}

#[test]
fn who_speaks_is_told() {
    let mut hall = Hall::of(&[CodecKind::Pcma, OPUS, CodecKind::G722]);
    hall.run(500);
    hall.say(1, Says::Tone(440.0, 0.0));
    hall.run(1_000);
    hall.say(2, Says::Tone(1_000.0, 6.0));
    hall.run(1_000);
    hall.say(2, Says::Nothing);
    hall.run(1_500);
    assert_eq!(hall.speakers(), [1, 2, 1]);
}

#[test]
fn a_key_is_told_and_is_no_sound() {
    let mut hall = Hall::of(&[CodecKind::Pcma, CodecKind::Pcma]);
    hall.run(500);
    for (n, end) in [(1_u16, 0), (2, 0), (3, 0x80), (3, 0x80)] {
        let mut bytes = vec![0x80, 101];
        bytes.extend(n.to_be_bytes());
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 9, 6, end | 10, 0, 0]);
        bytes[14..].copy_from_slice(&(n * 400).to_be_bytes());
        hall.come(0, &bytes);
        hall.run(50);
    }
    let digits: Vec<&Event> = hall.events.iter().map(|(_, event)| event).collect();
    let pressed =
        Event::Digit { side: side(0), digit: Digit::from_key('6').unwrap(), long_ms: 150 };
    assert_eq!(digits, [&pressed]);
}

#[test]
fn an_empty_room_has_nothing_to_do_and_its_places_are_used_again() {
    let mut hall = Hall::of(&[CodecKind::Pcma, OPUS]);
    hall.run(200);
    hall.leave(0);
    hall.leave(1);
    hall.run(100);
    let idle = hall.sessions.deadline();
    assert!(idle.is_none_or(|at| at > hall.now), "{idle:?}");
    hall.enter(7, &OPUS, 20);
    hall.take_part(7, Part::Speaks);
    hall.listen(300);
    assert!(hall.level(7, 880.0) > -30.0, "the room is open again");
}

#[test]
fn a_codec_may_change_in_the_middle() {
    let mut hall = Hall::of(&[CodecKind::Pcma, OPUS]);
    hall.say(1, Says::Tone(440.0, 0.0));
    hall.run(1_000);
    let phone = hall.phones.get_mut(&0).unwrap();
    phone.terms = one(&CodecKind::G722, 20);
    phone.encoder = Encoder::new(&CodecKind::G722, RATE).unwrap();
    phone.decoder = Decoder::new(&CodecKind::G722, RATE).unwrap();
    phone.says = Says::Tone(1_000.0, 0.0);
    hall.sessions.agree(hall.now, side(0), Box::new(one(&CodecKind::G722, 20)));
    hall.run(500);
    hall.listen(500);
    assert!(hall.level(0, 440.0).abs() < 3.0, "{}", hall.level(0, 440.0));
    assert!(hall.level(1, 1_000.0).abs() < 3.0, "{}", hall.level(1, 1_000.0));
}
