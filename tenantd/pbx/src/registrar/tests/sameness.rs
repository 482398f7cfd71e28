//! Which phone a REGISTER is about.

use super::*;

/// Registers `first` and then `second` for an extension that may have three phones; how many
/// are there in the end.
fn phones(first: Ask<'_>, second: Ask<'_>) -> usize {
    let mut world = World::new();
    let _ = world.register(103, &first).unwrap();
    let _ = world.register(103, &second).unwrap();
    world.listed(103).len()
}

#[test]
fn a_refresh_with_a_new_call_id_makes_no_ghost() {
    assert_eq!(phones(phone("a", 7, "sip:103@h"), phone("b", 1, "sip:103@h")), 1);
}

#[test]
fn equal_contacts_may_be_written_differently() {
    let (first, second) = ("sip:103@Home.test;ob", "sip:%3103@home.TEST;line=1");
    assert_eq!(phones(phone("a", 1, first), phone("a", 2, second)), 1);
}

#[test]
fn a_restarted_phone_with_another_contact_from_the_same_source_makes_no_ghost() {
    let other_port = ("sip:103@10.0.0.1:5060", "sip:103@10.0.0.1:5062");
    let other_user = ("sip:103-0x1f@10.0.0.1:5060", "sip:103-0x2e@10.0.0.1:5060");
    for (first, second) in [other_port, other_user] {
        assert_eq!(phones(phone("a", 1, first), phone("b", 1, second)), 1);
    }
}

#[test]
fn two_phones_with_one_contact_text_behind_different_ports_are_two() {
    let uri = "sip:103@192.168.1.10:5060";
    let other_home = from("198.51.100.1:40002", phone("b", 1, uri));
    assert_eq!(phones(phone("a", 1, uri), other_home), 2);
}

#[test]
fn two_phones_with_one_contact_text_and_source_but_two_instances_are_two() {
    let uri = "sip:103@192.168.1.10:5060";
    let first = with_instance("<urn:uuid:1>", None, phone("a", 1, uri));
    let second = with_instance("<urn:uuid:2>", None, phone("b", 1, uri));
    assert_eq!(phones(first, second), 2);
}

#[test]
fn a_phone_whose_source_changes_is_moved() {
    let mut world = World::new();
    let uri = "sip:103@192.168.1.10:5060";
    let first = world.register(103, &phone("a", 1, uri)).unwrap();
    let rebound = "198.51.100.1:40777";
    let outcome = world.register(103, &from(rebound, phone("a", 2, uri))).unwrap();
    assert_eq!(kinds(&outcome.changes), ["moved"]);
    assert_eq!(outcome.wait(), Wait::ForCommit);
    assert_eq!(outcome.changes[0].binding(), added(&first).id);
    assert!(world.registrar.knows_source(rebound.parse().unwrap()));
    assert!(!world.registrar.knows_source(HOME.parse().unwrap()));
}

#[test]
fn a_phone_that_takes_its_series_to_another_network_leaves_no_ghost() {
    let at_work = from(OFFICE, phone("a", 2, "sip:103@10.9.9.9:5060"));
    assert_eq!(phones(phone("a", 1, "sip:103@192.168.1.10:5060"), at_work), 1);
}

#[test]
fn an_instance_is_the_same_phone_wherever_it_is() {
    let first = with_instance("<urn:uuid:ABC>", None, phone("a", 1, "sip:x@10.0.0.1"));
    let second = with_instance("<urn:uuid:abc>", None, phone("b", 1, "sip:y@10.0.0.2"));
    assert_eq!(phones(first, from(OFFICE, second)), 1);
}

#[test]
fn each_reg_id_of_an_instance_is_a_way_of_its_own() {
    let way = |call_id, reg_id| {
        with_instance("<urn:uuid:1>", Some(reg_id), phone(call_id, 1, "sip:x@10.0.0.1"))
    };
    assert_eq!(phones(way("a", 1), way("b", 2)), 2);
    assert_eq!(phones(way("a", 1), from(OFFICE, way("b", 1))), 1);
}

#[test]
fn a_firmware_that_learns_to_name_its_instance_is_still_the_same_phone() {
    let after = with_instance("<urn:uuid:1>", Some(1), phone("b", 1, "sip:103@h"));
    assert_eq!(phones(phone("a", 1, "sip:103@h"), after), 1);
}

#[test]
fn two_contacts_of_one_register_are_two() {
    let mut world = World::new();
    let both = || {
        Asked::These(smallvec![
            contact("sip:103@10.0.0.1"),
            contact("sip:103@10.0.0.1;transport=tcp")
        ])
    };
    let _ = world.register(103, &ask("a", 1, HOME, both())).unwrap();
    let outcome = world.register(103, &ask("a", 2, HOME, both())).unwrap();
    assert_eq!(kinds(&outcome.changes), ["refreshed", "refreshed"]);
    assert_eq!(world.listed(103).len(), 2);
}

#[test]
fn a_contact_that_is_certain_goes_before_one_that_is_likely() {
    let mut world = World::new();
    let _ = world.register(103, &phone("a", 1, "sip:103@10.0.0.1")).unwrap();
    let new_and_old =
        Asked::These(smallvec![contact("sip:103@10.0.0.2"), contact("sip:103@10.0.0.1")]);
    let outcome = world.register(103, &ask("a", 2, HOME, new_and_old)).unwrap();
    assert_eq!(kinds(&outcome.changes), ["added", "refreshed"]);
}

#[test]
fn many_users_over_one_source_do_not_disturb_each_other() {
    let mut world = World::new();
    for number in [101, 102, 103] {
        let uri = format!("sip:{number}@10.0.0.1:5060");
        let _ = world.register(number, &phone("base", 1, &uri)).unwrap();
    }
    assert_eq!(world.registrar.len(), 3);
    let gone = for_seconds(0, phone("base", 2, "sip:102@10.0.0.1:5060"));
    let _ = world.register(102, &gone).unwrap();
    assert!(world.registrar.knows_source(HOME.parse().unwrap()));
    assert_eq!(world.registrar.len(), 2);
}
