//! Sound that goes one way only is told, once, and only where it should go both.

use super::*;

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
