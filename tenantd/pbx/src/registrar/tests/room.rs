//! Who makes room when an extension has more phones than it may have.

use super::*;

#[test]
fn the_newest_phone_replaces_the_oldest() {
    let mut world = World::new();
    let sources: Vec<String> = (1..=3).map(|n| format!("203.0.113.{n}:5060")).collect();
    let mut last = Outcome::default();
    for (call_id, source) in ["a", "b", "c"].iter().zip(&sources) {
        last = world.register(102, &from(source, phone(call_id, 1, "sip:102@lan"))).unwrap();
        world.wait(1);
    }
    assert_eq!(kinds(&last.changes), ["replaced", "added"]);
    let replaced: Vec<SocketAddr> = last.replaced().map(|old| old.path.peer).collect();
    assert_eq!(replaced, [sources[0].parse().unwrap()]);
    let left: Vec<SocketAddr> =
        world.registrar.contacts_of(world.now, user(102)).map(|b| b.path.peer).collect();
    assert_eq!(left, [sources[2].parse().unwrap(), sources[1].parse().unwrap()]);
}

#[test]
fn a_refresh_does_not_make_a_phone_younger_nor_push_anybody_out() {
    let mut world = World::new();
    let a = |cseq| from("203.0.113.1:5060", phone("a", cseq, "sip:102@a"));
    let b = from("203.0.113.2:5060", phone("b", 1, "sip:102@b"));
    let c = from("203.0.113.3:5060", phone("c", 1, "sip:102@c"));
    let _ = world.register(102, &a(1)).unwrap();
    let _ = world.register(102, &b).unwrap();
    let refresh = world.register(102, &a(2)).unwrap();
    assert_eq!(refresh.replaced().count(), 0);
    let outcome = world.register(102, &c).unwrap();
    let replaced: Vec<&str> = outcome.replaced().map(|old| old.contact.as_str()).collect();
    assert_eq!(replaced, ["sip:102@a"]);
}

#[test]
fn who_has_expired_makes_room_for_nothing() {
    let mut world = World::new();
    let _ = world.register(101, &for_seconds(60, phone("a", 1, "sip:101@a"))).unwrap();
    world.wait(60);
    let outcome = world.register(101, &from(OFFICE, phone("b", 1, "sip:101@b"))).unwrap();
    assert_eq!(kinds(&outcome.changes), ["added"]);
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
    assert_eq!(world.reachable(101), ["sip:101@b"]);
}

#[test]
fn of_too_many_contacts_in_one_register_the_preferred_are_kept() {
    let mut world = World::new();
    let contacts = Asked::These(smallvec![
        AskedContact { q: 300, ..contact("sip:a@10.0.0.1") },
        AskedContact { q: 900, ..contact("sip:b@10.0.0.2") },
        AskedContact { q: 500, ..contact("sip:c@10.0.0.3") },
    ]);
    let outcome = world.register(102, &ask("a", 1, HOME, contacts)).unwrap();
    assert_eq!(kinds(&outcome.changes), ["added", "added"]);
    assert_eq!(world.reachable(102), ["sip:b@10.0.0.2", "sip:c@10.0.0.3"]);
}

#[test]
fn preferred_phones_come_first_then_the_newest() {
    let mut world = World::new();
    for (call_id, q, n) in [("a", 500, 1), ("b", 1_000, 2), ("c", 500, 3)] {
        let uri = format!("sip:{call_id}@lan");
        let one = AskedContact { q, ..contact(&uri) };
        let source = format!("203.0.113.{n}:5060");
        let ask = ask(call_id, 1, &source, Asked::These(smallvec![one]));
        let _ = world.register(103, &ask).unwrap();
    }
    assert_eq!(world.reachable(103), ["sip:b@lan", "sip:c@lan", "sip:a@lan"]);
}

#[test]
fn a_published_configuration_ends_what_it_no_longer_allows() {
    let mut world = World::new();
    let _ = world.register(101, &phone("x", 1, "sip:101@x")).unwrap();
    for (call_id, n) in [("a", 1), ("b", 2)] {
        let source = format!("203.0.113.{n}:5060");
        let _ = world.register(102, &from(&source, phone(call_id, 1, "sip:102@l"))).unwrap();
    }
    let mut published = directory();
    published.users.remove(&user(101));
    let gone = world.registrar.configure(world.now, &published);
    assert_eq!(kinds(&gone), ["user removed", "replaced"]);
    assert_eq!(world.registrar.len(), 1);
    assert!(world.registrar.configure(world.now, &published).is_empty());
}
