//! Phones that are played something, with a virtual clock: what each of them hears is measured.

use std::sync::Arc;
use std::time::Duration;

use pbx::id::TenantId;
use pbx::media::{
    CallTone, Clip, CodecKind, Country, Event, Often, PlayEnd, PlayId, Signal, Stored, Terms,
};

use crate::codec::Rate;
use crate::codec::tests::{level, tone};
use crate::play::booth::Booth;
use crate::play::shelf::Shelf;
use crate::session::Family;
use crate::stream::Aim;
use crate::transcode::tests::{Got, Line, OPUS, Speaker, heard, phone, side, terms};

const PROMPT: PlayId = PlayId(1);
const MUSIC: PlayId = PlayId(2);
const FRAME: Duration = Duration::from_millis(20);

fn one(kind: CodecKind) -> Terms {
    let number = match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 8,
        CodecKind::G722 => 9,
        CodecKind::Opus { .. } | CodecKind::Other { .. } => 96,
    };
    terms(&[(kind, number)], Some(101))
}

fn stored(number: u64) -> Stored {
    let (tenant, object) = (TenantId(Default::default()), Default::default());
    Stored { tenant, object, sha256: [0; 32], bytes: number }
}

/// A call between Ada and Bob, and a shelf on which sound 1 is 700 Hz and sound 2 is 1,100 Hz.
fn line(ada: CodecKind, bob: CodecKind, ms: usize) -> (Line, Arc<Shelf>) {
    let mut line = Line::new(one(ada), one(bob));
    let shelf = Arc::new(Shelf::new(64 << 20));
    *line.sessions.booth() = Booth::new(Arc::clone(&shelf));
    for (number, hz) in [(1, 700.0), (2, 1_100.0)] {
        let sound = tone(Rate::Wide, hz, 0, ms * Rate::Wide.per_ms());
        shelf.put(line.now, &stored(number), Some(sound.into()));
    }
    (line, shelf)
}

fn play(line: &mut Line, leg: u16, play: PlayId, clip: Clip, often: Often) {
    line.sessions.play(line.now, side(leg), (play, clip, often));
}

fn prompt(line: &mut Line) {
    play(line, 1, PROMPT, Clip::Sound(stored(1)), Often::Once);
}

fn ended(line: &mut Line) -> Vec<(PlayId, PlayEnd)> {
    let events = std::iter::from_fn(|| line.sessions.poll_event());
    let ends = events.filter_map(|event| match event {
        Event::Played { play, end, .. } => Some((play, end)),
        _ => None,
    });
    ends.collect()
}

fn speak(line: &mut Line, speaker: &mut Speaker, frames: usize) {
    for _ in 0..frames {
        let packet = speaker.packet();
        line.send(0, Duration::ZERO, packet);
        line.run(FRAME);
    }
}

/// One stream without a gap or a step back.
fn assert_one_stream(got: &[Got], clock: u32) {
    for pair in got.windows(2) {
        let [one, next] = pair else { unreachable!() };
        assert_eq!(next.header.ssrc, one.header.ssrc);
        assert_eq!(next.header.sequence, one.header.sequence.wrapping_add(1));
        let step = next.header.timestamp.wrapping_sub(one.header.timestamp);
        let passed = next.at.since(one.at).as_millis() as u32 * clock;
        assert!((20 * clock..=passed.max(20 * clock) + 25 * clock).contains(&step), "{step}");
    }
}

fn strength(got: &[Got], kind: &CodecKind, hz: f64) -> f64 {
    let (sound, rate) = heard(got, kind);
    level(&sound, rate, hz)
}

#[test]
fn a_prompt_is_heard_in_the_middle_of_a_call_and_then_the_other_phone_again() {
    for kind in [CodecKind::Pcma, CodecKind::Pcmu, CodecKind::G722, OPUS] {
        let (mut line, _shelf) = line(kind.clone(), kind.clone(), 1_000);
        let mut speaker = Speaker::new(&one(kind.clone()), 440.0, 20);
        speak(&mut line, &mut speaker, 30);
        let began_at = line.now;
        let before = line.got[1].len();
        prompt(&mut line);
        speak(&mut line, &mut speaker, 80);
        let clock = crate::codec::clock_per_ms(&kind);
        let got = line.got[1].clone();
        assert_one_stream(&got, clock);
        let ours: Vec<Got> = got.iter().skip(before).take(50).cloned().collect();
        assert!(ours[0].marked && ours[0].at.since(began_at) <= Duration::from_millis(40));
        assert!(strength(&ours[5..45], &kind, 700.0).abs() < 1.0, "{kind:?}");
        assert!(strength(&ours[5..45], &kind, 440.0) < -25.0, "{kind:?}");
        let after = &got[before + 50..];
        assert!(after[0].marked && after.len() >= 25, "{}", after.len());
        assert!(strength(&after[5..], &kind, 440.0).abs() < 1.3, "{kind:?}");
        assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Ended)]);
    }
}

#[test]
fn a_prompt_is_heard_where_sound_is_converted_too() {
    let (mut line, _shelf) = line(OPUS, CodecKind::Pcma, 1_000);
    let mut speaker = Speaker::new(&one(OPUS), 440.0, 20);
    speak(&mut line, &mut speaker, 30);
    let before = line.got[1].len();
    prompt(&mut line);
    speak(&mut line, &mut speaker, 80);
    let got = line.got[1].clone();
    assert_one_stream(&got, 8);
    let kind = CodecKind::Pcma;
    assert!(strength(&got[before + 5..before + 45], &kind, 700.0).abs() < 0.5);
    assert!(strength(&got[before + 55..], &kind, 440.0).abs() < 1.3);
}

#[test]
fn whoever_comes_back_with_numbers_that_stood_still_is_heard_without_a_step_back() {
    let (mut line, _shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 3_000);
    let mut speaker = Speaker::new(&one(CodecKind::Pcma), 440.0, 20);
    speak(&mut line, &mut speaker, 10);
    play(&mut line, 1, MUSIC, Clip::Music(stored(2)), Often::Forever);
    line.run(Duration::from_secs(10));
    line.sessions.hush(line.now, side(1), MUSIC);
    assert_eq!(ended(&mut line), [(MUSIC, PlayEnd::Stopped)]);
    speak(&mut line, &mut speaker, 50);
    let got = line.got[1].clone();
    assert!((555..=562).contains(&got.len()), "{}", got.len());
    assert_one_stream(&got, 8);
    assert!(strength(&got[12..500], &CodecKind::Pcma, 1_100.0).abs() < 0.5, "it goes round");
    assert!(strength(&got[got.len() - 45..], &CodecKind::Pcma, 440.0).abs() < 0.5);
}

#[test]
fn music_goes_on_behind_a_prompt_and_a_new_prompt_takes_the_place_of_the_old() {
    let (mut line, _shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 2_000);
    play(&mut line, 1, MUSIC, Clip::Music(stored(2)), Often::Forever);
    line.run(Duration::from_millis(500));
    prompt(&mut line);
    line.run(Duration::from_millis(500));
    play(&mut line, 1, PlayId(3), Clip::Sound(stored(1)), Often::Once);
    line.run(Duration::from_millis(3_000));
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Stopped), (PlayId(3), PlayEnd::Ended)]);
    let got = line.got[1].clone();
    assert_one_stream(&got, 8);
    let kind = CodecKind::Pcma;
    assert!(strength(&got[2..20], &kind, 1_100.0).abs() < 0.5);
    assert!(strength(&got[55..120], &kind, 700.0).abs() < 0.5);
    assert!(strength(&got[155..195], &kind, 1_100.0).abs() < 0.5);
    assert_eq!(line.sessions.listeners(), 1);
    line.sessions.close(line.now, side(1));
    assert_eq!(line.sessions.listeners(), 0);
}

#[test]
fn many_listeners_of_the_same_music_cost_one_packing_and_do_not_send_together() {
    const MANY: u16 = 60;
    let (mut line, _shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 10_000);
    for leg in 2..MANY {
        line.sessions.open(side(leg), Family::V4).unwrap();
        line.sessions.agree(line.now, side(leg), Box::new(one(OPUS)));
        let aim = Aim { rtp: Some(phone(0)), rtcp: None, near: None };
        line.sessions.aim(line.now, side(leg), aim);
        play(&mut line, leg, MUSIC, Clip::Music(stored(2)), Often::Forever);
    }
    let mut moments = std::collections::BTreeMap::new();
    let mut first = Vec::new();
    for _ in 0..1_000 {
        line.now += Duration::from_millis(1);
        while line.sessions.deadline().is_some_and(|at| at <= line.now) {
            line.sessions.handle_deadline(line.now);
            while let Some(made) = line.sessions.poll_transmit() {
                *moments.entry(line.now).or_insert(0) += 1;
                first.push(made.bytes[12..].to_vec());
            }
        }
    }
    let sent: u32 = moments.values().sum();
    assert!((58 * 48..=58 * 51).contains(&sent), "{sent}");
    assert!(moments.values().all(|together| *together <= 8 * 2), "{moments:?}");
    let packed = line.sessions.booth().packed();
    assert!((48..=52).contains(&packed), "{packed} packets were packed");
    // Whoever comes later hears what the others hear.
    play(&mut line, 1, MUSIC, Clip::Music(stored(2)), Often::Forever);
    let (before, packed) = (line.got[1].len(), line.sessions.booth().packed());
    assert_eq!((before, packed), (0, packed));
}

#[test]
fn music_is_joined_where_it_is() {
    let (mut line, shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 1_000);
    let mut sound = tone(Rate::Wide, 700.0, 0, 16_000);
    sound.extend(tone(Rate::Wide, 1_100.0, 0, 16_000));
    shelf.put(line.now, &stored(3), Some(sound.into()));
    let music = Clip::Music(stored(3));
    play(&mut line, 0, MUSIC, music, Often::Forever);
    line.run(Duration::from_millis(1_200));
    play(&mut line, 1, MUSIC, music, Often::Forever);
    line.run(Duration::from_millis(600));
    let got = line.got[1].clone();
    assert!(strength(&got[1..], &CodecKind::Pcma, 1_100.0).abs() < 0.5);
    assert_eq!(line.got[0].last().unwrap().payload, got.last().unwrap().payload);
}

#[test]
fn what_is_not_there_yet_is_waited_for_and_the_call_is_heard_meanwhile() {
    let (mut line, shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 1_000);
    let mut speaker = Speaker::new(&one(CodecKind::Pcma), 440.0, 20);
    play(&mut line, 1, PROMPT, Clip::Sound(stored(9)), Often::Once);
    assert_eq!(shelf.next_wanted(), Some(stored(9)));
    speak(&mut line, &mut speaker, 50);
    assert_eq!(line.got[1].len(), 50);
    let sound = tone(Rate::Wide, 700.0, 0, 16_000);
    shelf.put(line.now, &stored(9), Some(sound.into()));
    speak(&mut line, &mut speaker, 40);
    let ours = line.got[1].split_off(55);
    assert!(strength(&ours[..30], &CodecKind::Pcma, 700.0).abs() < 0.5);
    assert_eq!(ended(&mut line), []);

    play(&mut line, 1, PlayId(7), Clip::Sound(stored(10)), Often::Once);
    line.run(Duration::from_millis(1_950));
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Stopped)]);
    line.run(Duration::from_millis(100));
    assert_eq!(ended(&mut line), [(PlayId(7), PlayEnd::Missing)], "it never came");
    shelf.put(line.now, &stored(10), None);
    play(&mut line, 1, PlayId(8), Clip::Sound(stored(10)), Often::Once);
    line.run(Duration::from_millis(30));
    assert_eq!(ended(&mut line), [(PlayId(8), PlayEnd::Missing)], "it is known to be gone");
}

#[test]
fn nobody_is_played_what_he_has_no_codec_for() {
    let other = CodecKind::Other { map: "ilbc/8000".into() };
    let (mut line, _shelf) = line(other.clone(), other, 1_000);
    prompt(&mut line);
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Missing)]);
    line.sessions.play(line.now, side(9), (PROMPT, Clip::Sound(stored(1)), Often::Once));
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Missing)]);
}

#[test]
fn a_phone_that_changes_its_codec_hears_the_rest_in_the_new_one() {
    // Somebody else has heard it in that codec before.
    let (mut line, shelf) = line(CodecKind::G722, CodecKind::Pcma, 1_000);
    let mut sound = tone(Rate::Wide, 700.0, 0, 16_000);
    sound.extend(tone(Rate::Wide, 1_100.0, 0, 16_000));
    shelf.put(line.now, &stored(3), Some(sound.into()));
    play(&mut line, 0, PROMPT, Clip::Sound(stored(3)), Often::Once);
    line.run(Duration::from_millis(3_000));
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Ended)]);
    play(&mut line, 1, PROMPT, Clip::Sound(stored(3)), Often::Once);
    line.run(Duration::from_millis(1_000));
    let before = line.got[1].len();
    line.sessions.agree(line.now, side(1), Box::new(one(CodecKind::G722)));
    line.run(Duration::from_millis(2_000));
    let after = line.got[1].split_off(before);
    assert!((48..=52).contains(&after.len()), "{}", after.len());
    assert!(strength(&after[5..45], &CodecKind::G722, 1_100.0).abs() < 0.5);
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Ended)]);
}

#[test]
fn a_tone_of_the_country_goes_round_until_it_is_hushed() {
    let (mut line, _shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 1_000);
    let busy = CallTone { signal: Signal::Busy, country: Country::Austria };
    play(&mut line, 1, PROMPT, Clip::Tone(busy), Often::Forever);
    line.run(Duration::from_secs(10));
    line.sessions.hush(line.now, side(1), PROMPT);
    line.run(Duration::from_secs(1));
    let got = line.got[1].clone();
    assert!((498..=501).contains(&got.len()), "{}", got.len());
    // 0.4 s on, 0.4 s off.
    assert!(strength(&got[2..18], &CodecKind::Pcma, 420.0).abs() < 1.0);
    assert!(strength(&got[22..38], &CodecKind::Pcma, 420.0) < -60.0);
    assert!(strength(&got[402..418], &CodecKind::Pcma, 420.0).abs() < 1.0);
}

#[test]
fn a_key_is_heard_while_something_is_played() {
    let (mut line, _shelf) = line(CodecKind::Pcma, CodecKind::Pcma, 2_000);
    prompt(&mut line);
    line.run(Duration::from_millis(500));
    let five = pbx::media::Digit::from_key('5').unwrap();
    line.sessions.press(line.now, side(1), five, 100);
    line.run(Duration::from_millis(2_000));
    let events = line.got[1].iter().filter(|got| got.header.payload_type == 101).count();
    assert!(events >= 7, "{events}");
    assert_eq!(ended(&mut line), [(PROMPT, PlayEnd::Ended)]);
    for pair in line.got[1].windows(2) {
        assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
    }
}
