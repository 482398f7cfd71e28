//! Questions, repeats, and REGISTERs that overtake each other.

use super::*;

#[test]
fn a_question_changes_nothing_and_lists_what_there_is() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
    let outcome = world.register(101, &ask("a", 1, OFFICE, Asked::Nothing)).unwrap();
    assert_eq!(outcome, Outcome::default());
    assert_eq!(outcome.wait(), Wait::No);
    assert_eq!(world.listed(101), ["<sip:101@h>;expires=3600"]);
}

#[test]
fn an_older_register_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
    for late in [phone("a", 4, "sip:101@h"), for_seconds(0, phone("a", 4, "sip:101@h"))] {
        assert_eq!(world.register(101, &late), Err(Refusal::OutOfOrder));
    }
    let star = for_seconds(0, ask("a", 4, HOME, Asked::Everything));
    assert_eq!(world.register(101, &star), Err(Refusal::OutOfOrder));
    assert_eq!(world.reachable(101), ["sip:101@h"]);
}

#[test]
fn one_older_contact_stops_the_whole_register() {
    let mut world = World::new();
    let _ = world.register(103, &phone("a", 5, "sip:x@10.0.0.1")).unwrap();
    let both = Asked::These(smallvec![contact("sip:y@10.0.0.2"), contact("sip:x@10.0.0.1")]);
    assert_eq!(world.register(103, &ask("a", 4, HOME, both)), Err(Refusal::OutOfOrder));
    assert_eq!(world.reachable(103), ["sip:x@10.0.0.1"]);
}

#[test]
fn the_same_register_again_is_answered_and_changes_nothing() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
    world.wait(100);
    let again = world.register(101, &phone("a", 5, "sip:101@h")).unwrap();
    assert_eq!(again, Outcome::default());
    assert_eq!(world.listed(101), ["<sip:101@h>;expires=3500"]);
    let star = for_seconds(0, ask("a", 5, HOME, Asked::Everything));
    assert_eq!(world.register(101, &star).unwrap(), Outcome::default());
}

#[test]
fn a_phone_that_starts_counting_again_after_its_expiry_is_welcome() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 50, "sip:101@h")).unwrap();
    world.wait(3_600);
    let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    assert_eq!(kinds(&outcome.changes), ["prolonged"]);
    assert_eq!(world.reachable(101), ["sip:101@h"]);
}
