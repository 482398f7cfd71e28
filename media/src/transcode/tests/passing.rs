//! What passes between two phones as it is or nearly so, and what breaks nothing.

use super::*;
use crate::codec::tests::level;

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
