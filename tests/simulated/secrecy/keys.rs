//! How long keys last, and which of them count.

use super::*;

#[test]
fn a_wish_for_encryption_in_mid_call_counts_from_the_next_change_on() {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(2))]);
    says(&mut world, "bob", PLAIN, PLAIN);
    call(&mut world, "102");
    talk(&mut world);
    world.configure(ALPHA, |directory| {
        let bob = directory.users.values_mut().find(|user| user.number == "102");
        bob.expect("102").srtp = Srtp::Required;
    });
    talk(&mut world);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].answers, ["488 INVITE"]);
    let device = "bob".to_owned();
    assert!(is_told(&world, &Event::NotEncrypted { number: "102".to_owned(), device }));
    parts(&mut world);
}

#[test]
fn keys_last_as_long_as_nobody_changes_them() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", Some(2))]);
    says(&mut world, "alice", &srtp("RTP/SAVP", 1, KEY_A), &srtp("RTP/SAVP", 1, KEY_A));
    says(&mut world, "bob", &srtp("RTP/AVP", 1, KEY_B), &srtp("RTP/AVP", 2, KEY_B));
    call(&mut world, "102");
    talk(&mut world);
    let before = world.terms.clone();
    phone(&mut world, "bob").skills.sound.answers = Some(srtp("RTP/AVP", 1, KEY_B));
    for (name, direction) in
        [("alice", "sendonly"), ("alice", "sendrecv"), ("bob", "sendonly"), ("bob", "sendrecv")]
    {
        world.tell(name, |phone, now| phone.hold(now, direction));
        world.run_for(Duration::from_secs(1));
        let other = if name == "alice" { "bob" } else { "alice" };
        assert_eq!(world.phones[other].hears, direction);
        assert_eq!(told(&world, other).matches("a=crypto:").count(), 1, "what holds is offered");
        let mut terms = world.terms.clone();
        terms.values_mut().for_each(|terms| terms.reception = Reception::Wanted);
        assert_eq!(terms, before, "after {name} {direction}");
    }
    // A new key of one phone is between it and us: the other is not asked.
    says(&mut world, "alice", &srtp("RTP/SAVP", 5, KEY_B), "");
    world.take_ladder();
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_secs(1));
    let ladder = world.take_ladder();
    assert!(!ladder.contains("pbx -> bob"), "{ladder}");
    let (ours, theirs) = keys(&world, 0);
    assert_eq!(theirs, key(Suite::AesCm128HmacSha1_80, b'B'));
    let Protection::Sdes { ours: first, .. } =
        &before[before.keys().next().expect("a leg")].protection
    else {
        unreachable!("the first leg was encrypted");
    };
    assert_eq!(ours, *first, "ours stays");
    assert!(told(&world, "alice").contains("a=crypto:5 "), "{}", told(&world, "alice"));
    nothing_leaks(&world);
}

#[test]
fn keys_that_anybody_can_read_count_only_where_the_company_wants_it() {
    let offer = srtp("RTP/SAVP", 1, KEY_A);
    let mut world = office(&[("alice", "101", None), ("bob", "102", None)]);
    says(&mut world, "alice", &offer, "");
    call(&mut world, "102");
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    let device = "alice".to_owned();
    assert!(is_told(&world, &Event::KeysRefused { number: "101".to_owned(), device }));
    // As a wish they are passed over.
    says(&mut world, "alice", &srtp("RTP/AVP", 1, KEY_A), "");
    call(&mut world, "102");
    talk(&mut world);
    assert_eq!(world.terms_of(0).protection, Protection::Plain);
    assert!(!told(&world, "alice").contains("crypto"));
    parts(&mut world);

    let mut world = office(&[("alice", "101", None), ("bob", "102", None)]);
    world.configure(ALPHA, |directory| directory.encryption.plain_keys = PlainKeys::Taken);
    says(&mut world, "alice", &offer, "");
    call(&mut world, "102");
    talk(&mut world);
    assert_eq!(keys(&world, 0).1, key(Suite::AesCm128HmacSha1_80, b'A'));
    assert!(is_told(&world, &Event::KeysReadable { number: "101".to_owned() }));
    parts(&mut world);
}
