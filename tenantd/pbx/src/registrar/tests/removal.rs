//! Phones that take their registrations back.

use super::*;

#[test]
fn an_expiry_of_zero_removes_that_contact_only() {
    let mut world = World::new();
    let _ = world.register(102, &phone("a", 1, "sip:102@10.0.0.1")).unwrap();
    let _ = world.register(102, &from(OFFICE, phone("b", 1, "sip:102@10.0.0.2"))).unwrap();
    let outcome = world.register(102, &for_seconds(0, phone("a", 2, "sip:102@10.0.0.1"))).unwrap();
    assert_eq!(kinds(&outcome.changes), ["removed by phone"]);
    assert_eq!(outcome.wait(), Wait::ForCommit);
    assert!(matches!(outcome.changes[0].memory(), Some(Memory::Unbound(_))));
    assert_eq!(world.reachable(102), ["sip:102@10.0.0.2"]);
}

#[test]
fn a_contact_may_be_removed_by_another_way_to_write_it() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 1, "sip:101@Home.test;ob")).unwrap();
    let removal = for_seconds(0, phone("b", 1, "sip:%3101@home.TEST;line=1"));
    assert_eq!(kinds(&world.register(101, &removal).unwrap().changes), ["removed by phone"]);
}

#[test]
fn removing_what_is_not_there_changes_nothing() {
    let mut world = World::new();
    let outcome = world.register(101, &for_seconds(0, phone("a", 2, "sip:101@h"))).unwrap();
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn a_star_removes_all_of_the_extension_and_nothing_else() {
    let mut world = World::new();
    let _ = world.register(102, &phone("a", 1, "sip:102@10.0.0.1")).unwrap();
    let _ = world.register(102, &from(OFFICE, phone("b", 1, "sip:102@10.0.0.2"))).unwrap();
    let _ = world.register(101, &phone("c", 1, "sip:101@10.0.0.1")).unwrap();
    let star = for_seconds(0, ask("d", 1, HOME, Asked::Everything));
    let outcome = world.register(102, &star).unwrap();
    assert_eq!(kinds(&outcome.changes), ["removed by phone", "removed by phone"]);
    assert!(world.reachable(102).is_empty());
    assert_eq!(world.reachable(101), ["sip:101@10.0.0.1"]);
}

#[test]
fn a_star_without_an_expiry_of_zero_is_refused() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    for expires in [None, Some(1), Some(3_600)] {
        let star = Ask { expires, ..ask("a", 2, HOME, Asked::Everything) };
        assert_eq!(world.register(101, &star).unwrap_err().status(), 400);
    }
    assert_eq!(world.reachable(101), ["sip:101@h"]);
}

#[test]
fn a_phone_that_learns_its_public_address_may_remove_the_private_one_afterwards() {
    let mut world = World::new();
    let private = "sip:101@192.168.1.5:5060";
    let public = "sip:101@198.51.100.1:40001";
    let _ = world.register(101, &phone("a", 1, private)).unwrap();
    let _ = world.register(101, &phone("a", 2, public)).unwrap();
    let _ = world.register(101, &for_seconds(0, phone("a", 3, private))).unwrap();
    assert_eq!(world.reachable(101), [public]);
}

/// A phone removes its old place and names its new one: what is known by its binding stays known.
fn moves(old: AskedContact<'static>, new: &'static str) -> (World, BindingId, Outcome) {
    let mut world = World::new();
    let first = world.register(101, &ask("a", 1, HOME, Asked::These(smallvec![old.clone()])));
    let id = added(&first.unwrap()).id;
    let both = Asked::These(smallvec![contact(new), AskedContact { expires: Some(0), ..old }]);
    let outcome = world.register(101, &from(OFFICE, ask("a", 2, HOME, both))).unwrap();
    assert_eq!(world.reachable(101), [new]);
    (world, id, outcome)
}

#[test]
fn removing_and_adding_in_one_register_is_a_move() {
    let (old, new) = ("sip:101@192.168.1.5:5060", "sip:101@198.51.100.1:40001");
    let named = AskedContact {
        instance: Some(Cow::Borrowed("<urn:uuid:1>")),
        reg_id: Some(1),
        ..contact(old)
    };
    for old in [contact(old), named] {
        let (world, id, outcome) = moves(old, new);
        assert_eq!(kinds(&outcome.changes), ["moved"]);
        assert_eq!(world.registrar.find(user(101), id).unwrap().binding.contact, new);
    }
}

#[test]
fn removing_one_and_adding_another_users_contact_is_no_move() {
    let (_, _, outcome) = moves(contact("sip:101@192.168.1.5:5060"), "sip:other@198.51.100.1");
    assert_eq!(kinds(&outcome.changes), ["removed by phone", "added"]);
}
