//! A peer that checks its ways, and others who have not read the descriptions.

use super::*;
use crate::stun::asker::{Wishes, ask, bare, is_sealed, seen, status, told};

const NOW: Moment = Moment::from_secs(1_000);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A check as a browser writes it.
fn check(wishes: Wishes) -> Vec<u8> {
    ask(&told(), wishes)
}

#[test]
fn the_first_way_is_used_until_the_peer_chooses_and_moves_when_it_chooses_again() {
    let mut agent = Agent::new(&told());
    let [home, cell, other] = ["198.51.100.1:4000", "203.0.113.5:900", "198.51.100.1:4002"].map(at);
    let (answer, change) = agent.handle_check(NOW, home, &check(Wishes::Nothing)).unwrap();
    assert_eq!(change, Change::Moved(home));
    assert_eq!((seen(&answer), is_sealed(&answer)), (home, true));

    assert_eq!(agent.handle_check(NOW, cell, &check(Wishes::Nothing)).unwrap().1, Change::None);
    assert_eq!(agent.way(), Some(home));
    assert_eq!(
        agent.handle_check(NOW, cell, &check(Wishes::ThisWay)).unwrap().1,
        Change::Moved(cell)
    );
    assert_eq!(agent.handle_check(NOW, cell, &check(Wishes::ThisWay)).unwrap().1, Change::None);
    assert_eq!(agent.handle_check(NOW, home, &check(Wishes::Nothing)).unwrap().1, Change::None);
    assert_eq!(agent.way(), Some(cell), "what is chosen stays");
    assert!(agent.believes(NOW, home) && agent.believes(NOW, cell) && !agent.believes(NOW, other));
    let later = NOW + GOOD_FOR;
    assert!(!agent.believes(later, home) && agent.believes(later, cell));
    assert_eq!(
        agent.handle_check(later, home, &check(Wishes::ThisWay)).unwrap().1,
        Change::Moved(home)
    );
}

#[test]
fn who_does_not_know_the_password_changes_nothing() {
    let mut agent = Agent::new(&told());
    let thief = at("203.0.113.66:5004");
    let right = check(Wishes::ThisWay);
    let (mut wrong, mut nobody) = (told(), told());
    wrong.ours.1 = "another-password-of-22".into();
    nobody.theirs.0 = "theirV".into();
    for told in [&wrong, &nobody] {
        let check = ask(told, Wishes::ThisWay);
        let (answer, change) = agent.handle_check(NOW, thief, &check).unwrap();
        assert_eq!((status(&answer), change, is_sealed(&answer)), (401, Change::None, false));
    }
    // Without a name and a proof there is nothing to check.
    let (answer, _) = agent.handle_check(NOW, thief, &bare()).unwrap();
    assert_eq!(status(&answer), 400);
    // Whatever bit of a right one is changed, it is right no more. Behind the proof is a checksum.
    for bit in 0..(right.len() - 8) * 8 {
        let mut changed = right.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Some((_, change)) = agent.handle_check(NOW, thief, &changed) {
            assert_eq!(change, Change::None, "bit {bit}");
        }
    }
    for end in 0..right.len() {
        assert_eq!(agent.handle_check(NOW, thief, &right[..end]), None);
    }
    assert!(!agent.believes(NOW, thief));
    assert_eq!(agent.way(), None);
}

#[test]
fn who_tries_passwords_is_not_answered_for_ever_and_keeps_nobody_out() {
    let mut agent = Agent::new(&told());
    let mut wrong = told();
    wrong.ours.1 = "another-password-of-22".into();
    let wrong = ask(&wrong, Wishes::ThisWay);
    let thief = at("203.0.113.66:5004");
    let answered = (0..5_000).filter(|_| agent.handle_check(NOW, thief, &wrong).is_some()).count();
    assert_eq!(answered, 501);
    assert!(agent.handle_check(NOW, at("198.51.100.1:4000"), &check(Wishes::Nothing)).is_some());
}

#[test]
fn a_peer_that_thinks_we_decide_is_told_that_it_does() {
    let mut agent = Agent::new(&told());
    let check = check(Wishes::ToBeTold);
    let (answer, change) = agent.handle_check(NOW, at("198.51.100.1:4000"), &check).unwrap();
    assert_eq!((status(&answer), change, is_sealed(&answer)), (487, Change::None, true));
}

#[test]
fn new_passwords_end_the_old_ones_and_keep_the_way_until_a_check_comes() {
    let mut agent = Agent::new(&told());
    let [home, cell] = ["198.51.100.1:4000", "203.0.113.5:900"].map(at);
    agent.handle_check(NOW, home, &check(Wishes::ThisWay));
    agent.agree(&told());
    let mut renewed = told();
    renewed.ours = ("newU".into(), "a-new-password-of-22-s".into());
    agent.agree(&renewed);
    let (_, change) = agent.handle_check(NOW, cell, &check(Wishes::ThisWay)).unwrap();
    assert_eq!((change, agent.way()), (Change::None, Some(home)));
    let right = ask(&renewed, Wishes::ThisWay);
    assert_eq!(agent.handle_check(NOW, cell, &right).unwrap().1, Change::Moved(cell));
}

#[test]
fn there_are_never_too_many_ways_and_the_chosen_one_is_not_pushed_out() {
    let mut agent = Agent::new(&told());
    let way = |n: u16| SocketAddr::new([198, 51, 100, 1].into(), n);
    agent.handle_check(NOW, way(1), &check(Wishes::ThisWay));
    for n in 2..100 {
        agent.handle_check(NOW + Duration::from_millis(n.into()), way(n), &check(Wishes::Nothing));
    }
    assert_eq!(agent.ways.len(), WAYS);
    let believed: Vec<u16> = (1..100).filter(|n| agent.believes(NOW, way(*n))).collect();
    assert_eq!(believed, [1, 93, 94, 95, 96, 97, 98, 99]);
}
