//! Reports: the phones' own where their streams pass, ours where we make them.

use super::*;

#[test]
fn reports_about_a_stream_that_is_packed_anew_are_not_passed_on() {
    let mut line = Line::new(one(CodecKind::Pcma), one(OPUS));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    assert_eq!(line.come(0, Port::Reports, &report), Way::Ended);
    let mut line = Line::new(one(OPUS), one(OPUS));
    assert!(matches!(line.come(0, Port::Reports, &report), Way::To(..)));
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
