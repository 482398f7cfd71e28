//! What is said in one codec is heard in another, though packets come late, twice or not at all.

use super::*;
use crate::codec::tests::level;

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
fn opus_has_no_frame_of_30_ms_and_who_wants_that_gets_the_next_shorter_one() {
    for (wanted, sent) in [(10, 10), (20, 20), (30, 20), (40, 40), (60, 60)] {
        let ada = one(CodecKind::Pcmu);
        let mut line = Line::new(ada.clone(), Terms { ptime: wanted, ..one(OPUS) });
        let mut speaker = Speaker::new(&ada, 1_000.0, 20);
        talk(&mut line, &mut speaker, 2, |_| Some(0));
        let got = &line.got[1];
        assert!(got.len() >= 1_900 / sent as usize, "{} packets for {wanted} ms", got.len());
        assert_steady(got, &OPUS, sent);
        for packet in got {
            assert_eq!(codec::duration_us(&OPUS, &packet.payload), Some(sent * 1_000));
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
