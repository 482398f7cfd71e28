//! A phone that wants no sound now, since it holds the other: it is sent none, and only reports.

use std::time::Duration;

use pbx::media::{CodecKind, Digit, Reception, Terms};

use super::{Got, Line, OPUS, Speaker, rtp, side, terms};
use crate::codec;
use crate::session::{Port, Way};

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

fn bob(kind: &CodecKind, reception: Reception) -> Terms {
    Terms { reception, ..terms(&[(kind.clone(), 96)], Some(101)) }
}

/// Both speak for so many seconds.
fn talk(line: &mut Line, speakers: &mut [Speaker; 2], seconds: u64) {
    for _ in 0..seconds * 50 {
        for (of, speaker) in speakers.iter_mut().enumerate() {
            line.send(of, Duration::ZERO, speaker.packet());
        }
        line.run(Duration::from_millis(20));
    }
}

/// Ada, with A-law, talks with Bob, who has this codec.
fn talking(kind: &CodecKind) -> (Line, [Speaker; 2]) {
    let ada = terms(&[(CodecKind::Pcma, 8)], Some(101));
    let bob = bob(kind, Reception::Wanted);
    let mut speakers = [&ada, &bob].map(|terms| Speaker::new(terms, 440.0, 20));
    let mut line = Line::new(ada, bob);
    talk(&mut line, &mut speakers, 2);
    (line, speakers)
}

fn agree(line: &mut Line, kind: &CodecKind, reception: Reception) {
    line.sessions.agree(line.now, side(1), Box::new(bob(kind, reception)));
}

/// That sound never stopped.
fn assert_even(got: &[Got]) {
    for pair in got.windows(2) {
        assert_eq!(pair[1].header.sequence, pair[0].header.sequence.wrapping_add(1));
        assert!(pair[1].at.since(pair[0].at) <= Duration::from_millis(21));
    }
}

#[test]
fn who_holds_is_sent_no_sound_and_is_heard_as_before() {
    for kind in [OPUS, CodecKind::Pcma] {
        let (mut line, mut speakers) = talking(&kind);
        let before = line.got[1].len();
        assert!(before > 90, "{before}");
        agree(&mut line, &kind, Reception::Unwanted);
        talk(&mut line, &mut speakers, 5);
        line.sessions.press(line.now, side(1), Digit::from_key('5').unwrap(), 80);
        talk(&mut line, &mut speakers, 1);
        assert_eq!(line.got[1].len(), before, "{kind:?}");
        let event = rtp(101, speakers[0].sequence, speakers[0].timestamp, &[5, 0x8a, 0, 160]);
        assert_eq!(line.come(0, Port::Sound, &event), Way::Unheard);
        speakers[0].sequence = speakers[0].sequence.wrapping_add(1);

        agree(&mut line, &kind, Reception::Wanted);
        talk(&mut line, &mut speakers, 2);
        let got = &line.got[1][before..];
        assert!(got.len() > 90, "{kind:?}: {}", got.len());
        assert_even(got);
        assert!(line.got[0].len() > 490, "{kind:?}: {}", line.got[0].len());
        assert_even(&line.got[0]);
    }
}

#[test]
fn a_stream_of_ours_counts_the_time_of_a_hold_as_silence() {
    let (mut line, mut speakers) = talking(&OPUS);
    agree(&mut line, &OPUS, Reception::Unwanted);
    talk(&mut line, &mut speakers, 5);
    let before = line.got[1].last().unwrap().clone();
    let place = line.got[1].len();
    agree(&mut line, &OPUS, Reception::Wanted);
    talk(&mut line, &mut speakers, 1);
    let after = &line.got[1][place];
    assert!(after.marked);
    assert_eq!(after.header.ssrc, before.header.ssrc);
    assert_eq!(after.header.sequence, before.header.sequence.wrapping_add(1));
    let passed = after.at.since(before.at).as_millis() as u32;
    let counted = after.header.timestamp.wrapping_sub(before.header.timestamp);
    assert!(counted.abs_diff(passed * codec::clock_per_ms(&OPUS)) <= 960, "{counted}, {passed} ms");
}

#[test]
fn who_holds_gets_reports() {
    let (mut line, mut speakers) = talking(&OPUS);
    agree(&mut line, &OPUS, Reception::Unwanted);
    line.reports[1].clear();
    talk(&mut line, &mut speakers, 20);
    assert!((3..=9).contains(&line.reports[1].len()), "{}", line.reports[1].len());
    // There is nothing of ours to tell of, but how Bob is heard.
    assert!(line.reports[1].iter().skip(1).all(|report| report[1] == 201));

    let (mut line, _) = talking(&CodecKind::Pcma);
    agree(&mut line, &CodecKind::Pcma, Reception::Unwanted);
    assert!(matches!(line.come(0, Port::Reports, &REPORT), Way::To(..)));
}
