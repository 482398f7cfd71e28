//! Keys pressed by us and by phones, as the other phone hears them.

use std::time::Duration;

use pbx::media::{CodecKind, Digit, Event, Side, Terms, Tones};

use super::{Got, Line, OPUS, Speaker, heard, rtp, side, terms};
use crate::codec::{self, Encoder, LONGEST_PAYLOAD, Rate};
use crate::digits::tone::{self, Finder};
use crate::session::Port;

fn digit(key: char) -> Digit {
    Digit::from_key(key).unwrap()
}

fn one(kind: CodecKind, events: Option<u8>) -> Terms {
    let number = match kind {
        CodecKind::Pcma => 8,
        _ => 96,
    };
    terms(&[(kind, number)], events)
}

/// Ada speaks a tone for so many frames.
fn speak(line: &mut Line, speaker: &mut Speaker, frames: usize) {
    speak_from(line, 0, speaker, frames);
}

fn speak_from(line: &mut Line, of: usize, speaker: &mut Speaker, frames: usize) {
    for _ in 0..frames {
        let packet = speaker.packet();
        line.send(of, Duration::ZERO, packet);
        line.run(Duration::from_millis(20));
    }
}

fn pressed(line: &mut Line) -> Vec<(Side, char)> {
    let events = std::iter::from_fn(|| line.sessions.poll_event());
    let keys = events.filter_map(|event| match event {
        Event::Digit { side, digit, .. } => Some((side, digit.key())),
        _ => None,
    });
    keys.collect()
}

/// The events among packets: digit, ended or not, and length in ms.
fn events(got: &[Got], number: u8, clock: u16) -> Vec<(u8, bool, u16)> {
    let events = got.iter().filter(|got| got.header.payload_type == number);
    let read = |got: &Got| {
        let long = u16::from_be_bytes([got.payload[2], got.payload[3]]);
        (got.payload[0], got.payload[1] & 0x80 != 0, long / clock)
    };
    events.map(read).collect()
}

/// The keys that are heard as tones in packets of sound.
fn keys_in(got: &[Got], kind: &CodecKind) -> String {
    let (sound, rate) = heard(got, kind);
    let step = rate.per_ms() / 8;
    let narrow: Vec<i16> = sound.chunks(step).map(|some| some[0]).collect();
    let (mut finder, mut keys) = (Finder::default(), String::new());
    finder.handle_sound(&narrow, |digit, _| keys.push(digit.key()));
    finder.handle_sound(&[0; 400], |digit, _| keys.push(digit.key()));
    keys
}

fn assert_consecutive(got: &[Got]) {
    for pair in got.windows(2) {
        assert_eq!(pair[1].header.ssrc, pair[0].header.ssrc);
        assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
    }
}

#[test]
fn a_key_is_heard_within_the_stream_that_is_passed_on_and_leaves_no_gap_in_it() {
    let ada = one(CodecKind::Pcma, Some(101));
    let mut line = Line::new(ada.clone(), one(CodecKind::Pcma, Some(96)));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    speak(&mut line, &mut speaker, 20);
    line.sessions.press(line.now, side(1), digit('7'), 100);
    line.sessions.press(line.now, side(1), digit('#'), 40);
    speak(&mut line, &mut speaker, 40);
    let got = &line.got[1];
    assert_consecutive(got);
    assert!(got.iter().all(|got| got.header.ssrc == 7), "another stream");
    let told = events(got, 96, 8);
    let seven = [20, 40, 60, 80, 100, 100, 100].map(|long| (7, long == 100, long));
    let hash = [20, 40, 40, 40].map(|long| (11, long == 40, long));
    assert_eq!(told, [&seven[..], &hash[..]].concat());
    let firsts: Vec<_> = got.iter().filter(|got| got.marked).collect();
    assert_eq!(firsts.len(), 2);
    // Its timestamp is that of the sound that gave way, and what comes after has its own again.
    let before = got.iter().position(|got| got.header.payload_type == 96).unwrap() - 1;
    let ahead = firsts[0].header.timestamp.wrapping_sub(got[before].header.timestamp);
    assert!(ahead <= 160, "{ahead}");
    let last = got.last().unwrap().header.timestamp;
    assert_eq!(last, speaker.timestamp.wrapping_sub(160));
}

#[test]
fn a_key_is_heard_within_the_stream_that_we_make() {
    let ada = one(CodecKind::Pcma, Some(101));
    let mut line = Line::new(ada.clone(), one(OPUS, Some(110)));
    let mut speaker = Speaker::new(&ada, 440.0, 20);
    speak(&mut line, &mut speaker, 20);
    line.sessions.press(line.now, side(1), digit('0'), 60);
    speak(&mut line, &mut speaker, 20);
    assert_consecutive(&line.got[1]);
    let told = events(&line.got[1], 110, 48);
    assert_eq!(told, [(0, false, 20), (0, false, 40), (0, true, 60), (0, true, 60), (0, true, 60)]);
}

#[test]
fn a_key_is_heard_by_a_phone_to_which_nobody_speaks() {
    let ada = one(CodecKind::Pcma, Some(101));
    let mut line = Line::new(ada.clone(), ada);
    line.sessions.press(line.now, side(1), digit('5'), 40);
    line.run(Duration::from_millis(200));
    assert_eq!(events(&line.got[1], 101, 8).len(), 4);
}

#[test]
fn a_phone_without_events_hears_tones() {
    for (ada, bob) in [
        (one(CodecKind::Pcma, Some(101)), one(CodecKind::Pcma, None)),
        (one(CodecKind::Pcma, Some(101)), one(OPUS, None)),
        (one(OPUS, Some(101)), one(OPUS, None)),
    ] {
        let kind = bob.codecs[0].kind.clone();
        let mut line = Line::new(ada.clone(), bob);
        let mut speaker = Speaker::new(&ada, 440.0, 20);
        speak(&mut line, &mut speaker, 10);
        line.sessions.press(line.now, side(1), digit('9'), 80);
        speak(&mut line, &mut speaker, 10);
        assert_consecutive(&line.got[1]);
        assert_eq!(keys_in(&line.got[1], &kind), "9");
        // The four packets of the tone follow each other in the time that sound is counted in.
        let begin = line.got[1].iter().rposition(|got| got.marked).unwrap();
        let times: Vec<u32> =
            line.got[1][begin..begin + 4].iter().map(|got| got.header.timestamp).collect();
        let step = 20 * codec::clock_per_ms(&kind);
        assert!(times.is_sorted_by(|one, next| next.wrapping_sub(*one) == step), "{times:?}");
    }
}

/// A phone presses a key, in events that count in this clock.
fn press(line: &mut Line, of: usize, key: u8, (speaker, number): (&mut Speaker, u8), clock: u16) {
    let begin = speaker.timestamp;
    for n in 1..=7_u16 {
        let ended = if n > 4 { 0x80 } else { 0 };
        let [l0, l1] = (n.min(5) * 20 * clock).to_be_bytes();
        let packet = rtp(number, speaker.sequence, begin, &[key, ended | 10, l0, l1]);
        speaker.sequence = speaker.sequence.wrapping_add(1);
        line.send(of, Duration::ZERO, packet);
        line.run(Duration::from_millis(20));
        speaker.pause();
    }
}

#[test]
fn an_event_of_either_phone_is_a_tone_for_the_other_that_has_none_and_is_told() {
    for kind in [CodecKind::Pcma, OPUS] {
        for of in [0, 1] {
            let (with, without) = (one(CodecKind::Pcma, Some(101)), one(kind.clone(), None));
            let mut line = match of {
                0 => Line::new(with.clone(), without),
                _ => Line::new(without, with.clone()),
            };
            let mut speaker = Speaker::new(&with, 440.0, 20);
            speak_from(&mut line, of, &mut speaker, 10);
            press(&mut line, of, 3, (&mut speaker, 101), 8);
            speak_from(&mut line, of, &mut speaker, 20);
            assert_eq!(keys_in(&line.got[1 - of], &kind), "3", "from {of}");
            assert_eq!(pressed(&mut line), [(side(of as u16), '3')]);
        }
    }
}

#[test]
fn an_event_that_passes_is_as_long_in_the_clock_of_whoever_hears_it() {
    for (theirs, ours) in [(48, 8), (8, 48), (8, 8), (48, 48)] {
        let agreed = |number, clock| Terms {
            events_clock: u32::from(clock) * 1_000,
            ..one(OPUS, Some(number))
        };
        let mut line = Line::new(agreed(101, theirs), agreed(110, ours));
        let mut speaker = Speaker::new(&agreed(101, theirs), 440.0, 20);
        speak(&mut line, &mut speaker, 3);
        let begin = speaker.timestamp;
        press(&mut line, 0, 3, (&mut speaker, 101), theirs);
        speak(&mut line, &mut speaker, 3);
        let told = events(&line.got[1], 110, ours);
        let long = [20, 40, 60, 80, 100, 100, 100].map(|long| (3, long == 100, long));
        assert_eq!(told, long, "{theirs} to {ours}");
        assert_consecutive(&line.got[1]);
        let mut events = line.got[1].iter().filter(|got| got.header.payload_type == 110);
        assert!(events.all(|got| got.header.timestamp == begin && got.payload[1] & 0x3f == 10));
        assert_eq!(pressed(&mut line), [(side(0), '3')]);
    }
}

#[test]
fn a_length_beyond_what_the_listeners_clock_can_say_stops_growing() {
    let agreed = |number, clock| Terms { events_clock: clock, ..one(OPUS, Some(number)) };
    let mut line = Line::new(agreed(101, 8_000), agreed(110, 48_000));
    line.come(0, Port::Sound, &rtp(101, 1, 1, &[3, 10, 0x80, 0]));
    assert_eq!(line.got[1][0].payload, [3, 10, 0xff, 0xff]);
    line.come(0, Port::Sound, &rtp(101, 2, 1, &[3, 10]));
    assert_eq!(line.got[1][1].payload, [3, 10], "too short to be one");
}

#[test]
fn tones_are_told_only_where_somebody_listens() {
    for kind in [CodecKind::Pcma, CodecKind::G722, OPUS] {
        let ada = one(kind.clone(), None);
        let mut line = Line::new(ada.clone(), ada.clone());
        let rate = codec::rate_of(&kind).unwrap().min(Rate::Wide);
        let mut encoder = Encoder::new(&kind, rate).unwrap();
        let mut sequence = 1;
        let mut key = |line: &mut Line, key: Option<char>| {
            for frame in 0..4 {
                let mut sound = vec![0; rate.per_ms() * 20];
                if let Some(key) = key {
                    tone::make(digit(key), rate.hertz(), frame * sound.len(), &mut sound);
                }
                let mut payload = [0; LONGEST_PAYLOAD];
                let len = encoder.encode(&sound, &mut payload);
                let number = ada.codecs[0].from_peer;
                let timestamp = u32::from(sequence) * 20 * codec::clock_per_ms(&kind);
                line.send(0, Duration::ZERO, rtp(number, sequence, timestamp, &payload[..len]));
                sequence += 1;
                line.run(Duration::from_millis(20));
            }
        };
        key(&mut line, Some('1'));
        key(&mut line, None);
        assert_eq!(pressed(&mut line), []);
        line.sessions.listen(side(0), Tones::Heard);
        for wanted in [Some('4'), None, Some('2'), None] {
            key(&mut line, wanted);
        }
        assert_eq!(pressed(&mut line), [(side(0), '4'), (side(0), '2')], "{kind:?}");
        line.sessions.listen(side(0), Tones::Ignored);
        key(&mut line, Some('1'));
        key(&mut line, None);
        assert_eq!(pressed(&mut line), []);
    }
}
