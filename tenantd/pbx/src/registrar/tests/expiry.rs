//! How long a phone is reachable, and what of it is stored.

use super::*;

#[test]
fn a_phone_that_registers_is_reachable_until_it_expires() {
    let mut world = World::new();
    let outcome = world.register(101, &phone("a", 1, "sip:101@10.0.0.1:5060")).unwrap();
    assert_eq!(kinds(&outcome.changes), ["added"]);
    assert_eq!(outcome.wait(), Wait::ForCommit);
    assert_eq!(world.listed(101), ["<sip:101@10.0.0.1:5060>;expires=3600"]);
    assert_eq!(added(&outcome).path, path(HOME), "the way back is where it came from");

    world.wait(3_599);
    assert_eq!(world.listed(101), ["<sip:101@10.0.0.1:5060>;expires=1"]);
    world.wait(1);
    assert!(world.listed(101).is_empty(), "gone at once, whoever sweeps when");
    assert_eq!(world.registrar.len(), 1);

    assert_eq!(world.registrar.deadline(), Some(world.now));
    let ended = world.registrar.handle_deadline(world.now);
    assert_eq!(kinds(&ended), ["expired"]);
    assert!(world.registrar.is_empty());
    assert_eq!(world.registrar.deadline(), None);
    assert!(!world.registrar.knows_source(HOME.parse().unwrap()));
}

#[test]
fn a_contacts_own_expiry_goes_before_the_header() {
    let mut world = World::new();
    let mut ask = for_seconds(600, phone("a", 1, "sip:103@10.0.0.1"));
    let own = AskedContact { expires: Some(120), q: 500, ..contact("sip:other@10.0.0.2") };
    if let Asked::These(contacts) = &mut ask.contacts {
        contacts.push(own);
    }
    let _ = world.register(103, &ask).unwrap();
    assert_eq!(
        world.listed(103),
        ["<sip:103@10.0.0.1>;expires=600", "<sip:other@10.0.0.2>;expires=120;q=0.500"]
    );
}

#[test]
fn one_contact_that_is_too_brief_stops_the_whole_register() {
    let mut world = World::new();
    let mut ask = for_seconds(600, phone("a", 1, "sip:103@10.0.0.1"));
    if let Asked::These(contacts) = &mut ask.contacts {
        contacts.push(AskedContact { expires: Some(30), ..contact("sip:103@10.0.0.2") });
    }
    let refusal = world.register(103, &ask).unwrap_err();
    assert_eq!((refusal.status(), refusal.min_expires()), (423, Some(60)));
    assert!(world.registrar.is_empty());
}

#[test]
fn a_refresh_keeps_the_phone_and_needs_no_storing_within_the_horizon() {
    let mut world = World::new();
    let first = world.register(101, &for_seconds(60, phone("a", 1, "sip:101@h"))).unwrap();
    let id = added(&first).id;
    let mut told = vec![];
    for cseq in 2..=40 {
        world.wait(50);
        let refresh = for_seconds(60, phone("a", cseq, "sip:101@h"));
        told.push(world.register(101, &refresh).unwrap());
        assert!(world.registrar.handle_deadline(world.now).is_empty());
        assert_eq!(world.listed(101), ["<sip:101@h>;expires=60"]);
    }
    let stored: Vec<usize> = (1..)
        .zip(&told)
        .filter(|(_, outcome)| outcome.changes != [Change::Refreshed(id)])
        .map(|(at, _)| at)
        .collect();
    assert_eq!(stored, [19, 38], "once in 15 minutes");
    assert_eq!(kinds(&told[18].changes), ["prolonged"]);
    assert_eq!(told[18].wait(), Wait::No);
    assert!(told[17].changes[0].memory().is_none());

    world.wait(60);
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
}

#[test]
fn what_is_stored_survives_a_crash_long_enough() {
    let mut world = World::new();
    let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    let binding = added(&outcome);
    assert_eq!(binding.horizon - binding.expires_at, register::HORIZON);
    assert_eq!(outcome.changes[0].memory(), Some(Memory::Bound(Box::new(binding.clone()))));
}

#[test]
fn without_a_database_phones_come_back_within_a_minute() {
    let mut world = World::new();
    let outcome = world.register(101, &phone("a", 1, "sip:101@h")).unwrap();
    let ids: Vec<BindingId> = outcome.changes.iter().map(Change::binding).collect();
    world.registrar.shorten(world.now, user(101), ids, Policy::UNSTORED_EXPIRES);
    assert_eq!(world.listed(101), ["<sip:101@h>;expires=60"]);
    world.wait(60);
    assert_eq!(world.registrar.deadline(), Some(world.now), "the earlier end is not missed");
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
}

#[test]
fn very_many_endings_are_told_in_portions() {
    let mut world = World::new();
    world.users[0].max_contacts = 1_000;
    let uris: Vec<String> = (0..600).map(|n| format!("sip:p{n}@10.0.0.{n}x")).collect();
    for uri in &uris {
        let _ = world.register(101, &phone(uri, 1, uri)).unwrap();
    }
    world.wait(3_600);
    let portions: Vec<usize> =
        std::iter::repeat_with(|| world.registrar.handle_deadline(world.now).len())
            .take_while(|ended| *ended > 0)
            .collect();
    assert_eq!(portions, [256, 256, 88]);
}
