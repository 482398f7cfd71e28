//! What routers do to phones, and phones that fall silent.

use super::*;

fn rewritten<'a>(signs: &str, ask: Ask<'a>) -> Ask<'a> {
    Ask { alg: Some(signs.into()), ..ask }
}

fn alg(world: &World) -> Option<&str> {
    let mut bindings = world.registrar.of(user(101));
    bindings.next().and_then(|registered| registered.binding.alg.as_deref())
}

#[test]
fn what_a_router_did_is_kept_and_stored_until_the_phone_is_elsewhere() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    let seen = world.register(101, &rewritten("via", phone("a", 2, "sip:101@h"))).unwrap();
    assert_eq!(kinds(&seen.changes), ["prolonged"], "it is stored, and nobody waits for it");
    assert_eq!(alg(&world), Some("via"));
    let unseen = world.register(101, &phone("a", 3, "sip:101@h")).unwrap();
    assert_eq!(kinds(&unseen.changes), ["refreshed"]);
    assert_eq!(alg(&world), Some("via"));
    let moved = world.register(101, &from(OFFICE, phone("a", 4, "sip:101@h"))).unwrap();
    assert_eq!(kinds(&moved.changes), ["moved"]);
    assert_eq!(alg(&world), None);
}

#[test]
fn what_a_call_shows_of_a_router_is_stored_once() {
    let mut world = World::new();
    let id = added(&world.register(101, &phone("a", 1, "sip:101@h")).unwrap()).id;
    let Some(change) = world.registrar.meddle(user(101), id, "session") else {
        panic!("nothing to store")
    };
    assert_eq!((kinds(&[change]), alg(&world)), (vec!["prolonged"], Some("session")));
    assert_eq!(world.registrar.meddle(user(101), id, "length"), None);
}

#[test]
fn a_phone_that_answers_no_more_is_not_called_until_it_does() {
    let mut world = World::new();
    let id = added(&world.register(101, &phone("a", 1, "sip:101@h")).unwrap()).id;
    assert!(world.registrar.fall_silent(user(101), id).is_some());
    assert!(world.registrar.fall_silent(user(101), id).is_none(), "once is enough");
    assert!(world.reachable(101).is_empty());
    assert!(world.registrar.speak_again(user(101), id).is_some());
    assert!(world.registrar.speak_again(user(101), id).is_none());
    assert_eq!(world.reachable(101), ["sip:101@h"]);

    world.registrar.fall_silent(user(101), id);
    // As if it had been started again: it counts anew.
    let back = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    assert_eq!(kinds(&back.changes), ["refreshed"]);
    assert_eq!(world.reachable(101), ["sip:101@h"]);
    world.registrar.fall_silent(user(101), id);
    world.wait(3_601);
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
}

#[test]
fn once_behind_a_router_always_behind_it() {
    let mut world = World::new();
    let _ = world.register(101, &phone("a", 1, "sip:101@192.168.1.10")).unwrap();
    // The phone has learned its public address from our answer.
    let learned = Ask { reach: Reach::Direct, ..phone("a", 2, "sip:101@198.51.100.1:40001") };
    let moved = world.register(101, &learned).unwrap();
    assert_eq!(kinds(&moved.changes), ["moved"]);
    let mut bindings = world.registrar.of(user(101));
    assert_eq!(bindings.next().map(|registered| registered.reach), Some(Reach::BehindNat));
}

#[test]
fn phones_are_found_by_where_they_come_from() {
    let mut world = World::new();
    let here = |world: &World, peer: &str| world.registrar.from(peer.parse().unwrap()).count();
    let _ = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    let _ = world.register(102, &phone("b", 1, "sip:102@h")).unwrap();
    assert_eq!((here(&world, HOME), here(&world, OFFICE)), (2, 0));
    let _ = world.register(101, &from(OFFICE, phone("a", 2, "sip:101@h"))).unwrap();
    assert_eq!((here(&world, HOME), here(&world, OFFICE)), (1, 1));
    let _ = world.register(101, &from(OFFICE, for_seconds(0, phone("a", 3, "sip:101@h"))));
    assert_eq!((here(&world, HOME), here(&world, OFFICE)), (1, 0));
}
