//! A phone whose sound stops is asked whether it is still there.

use std::time::Duration;

use kit::sim::{Habit, Network, Power, Rings, State, World, company};
use pbx::record::Ending;
use pbx::sip::name::Name;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";

/// Alice talks to Bob, who allows these methods.
fn talking(allow: &str) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    let bob = world.phones.get_mut("bob").expect("bob");
    bob.skills.answers_with = vec![(Name::Allow, allow.to_owned())];
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.take_ladder();
    world
}

fn is_told(world: &World, event: &Event) -> bool {
    world.notes.iter().any(|note| note.event == *event)
}

#[test]
fn a_phone_that_is_still_there_may_be_silent() {
    for (allow, method) in [("INVITE", "OPTIONS"), ("INVITE, UPDATE", "UPDATE")] {
        let mut world = talking(allow);
        world.fall_silent(1);
        world.run_for(Duration::from_secs(40));
        let ladder = world.take_ladder();
        assert!(ladder.contains(&format!("200 {method}")), "{ladder}");
        assert!(is_told(&world, &Event::FellSilent { number: "102".to_owned() }));
        assert_eq!(world.phones["alice"].state, State::Talking);
        assert_eq!(world.load().calls, 1);
    }
}

#[test]
fn a_phone_that_does_not_know_how_to_be_asked_is_still_there() {
    for status in [405, 501, 403, 500] {
        let mut world = talking("INVITE");
        let bob = world.phones.get_mut("bob").expect("bob");
        bob.skills.refuses.push(("OPTIONS", status));
        world.fall_silent(1);
        world.run_for(Duration::from_secs(40));
        assert_eq!(world.load().calls, 1, "{status}");
    }
}

#[test]
fn a_phone_that_is_gone_ends_the_call_for_both() {
    for (name, leg, number) in [("alice", 0, "101"), ("bob", 1, "102")] {
        let mut world = talking("INVITE");
        world.phones.get_mut(name).expect("a phone").skills.power = Power::Off;
        world.run_for(Duration::from_secs(1));
        world.fall_silent(leg);
        world.run_for(Duration::from_secs(120));
        assert_eq!(world.calls[0].ending, Ending::Vanished);
        assert!((world.calls[0].ended_at - world.calls[0].began_at).as_secs() < 45);
        assert!(is_told(&world, &Event::Vanished { number: number.to_owned() }));
        let other = if name == "alice" { "bob" } else { "alice" };
        assert_eq!(world.phones[other].state, State::Ended(200));
        assert!(world.sides.is_empty() && world.live.is_empty());
        assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    }
}

#[test]
fn a_phone_that_forgot_the_call_ends_it_at_once() {
    for (allow, method) in [("INVITE", "OPTIONS"), ("INVITE, UPDATE", "UPDATE")] {
        let mut world = talking(allow);
        world.phones.get_mut("bob").expect("bob").skills.refuses.push((method, 481));
        world.fall_silent(1);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.phones["alice"].state, State::Ended(200));
        assert_eq!(world.calls[0].ending, Ending::Vanished);
    }
}

#[test]
fn who_holds_or_is_held_is_right_to_be_silent() {
    for (who, leg) in [("alice", 1), ("bob", 0)] {
        let mut world = talking("INVITE");
        world.tell(who, |phone, now| phone.hold(now, "sendonly"));
        world.run_for(Duration::from_secs(1));
        world.take_ladder();
        world.fall_silent(leg);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.take_ladder().trim(), "", "{who} holds, the other is silent");
    }
    let mut world = talking("INVITE");
    world.tell("alice", |phone, now| phone.hold(now, "inactive"));
    world.run_for(Duration::from_secs(1));
    world.take_ladder();
    world.fall_silent(0);
    world.fall_silent(1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.take_ladder().trim(), "");
}

/// Alice talks to Bob, who is connected over TCP.
fn connected() -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.phone("bob", ALPHA, "102");
    world.connect("bob", 1);
    world.registered("bob", ALPHA, "102");
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world
}

#[test]
fn a_phone_whose_connection_broke_keeps_its_call_and_is_found_by_its_registration() {
    let mut world = connected();
    world.disconnect("bob");
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.phones["alice"].answers, ["500 INVITE"], "not now, but later");
    assert_eq!(world.load().calls, 1);
    world.connect("bob", 2);
    world.tell("bob", |phone, now| phone.register(now, 3_600));
    world.run_for(Duration::from_secs(1));
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["bob"].hears, "sendonly");
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.phones["bob"].state, State::Ended(200));
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
}

#[test]
fn a_question_that_went_down_with_its_connection_says_nothing_about_the_phone() {
    // Before it was asked, and while it was.
    for seconds in [10, 12] {
        let mut world = connected();
        world.run_for(Duration::from_secs(890));
        world.network.delay = Duration::from_secs(3);
        world.run_for(Duration::from_secs(seconds));
        world.disconnect("bob");
        world.network.delay = Duration::from_millis(10);
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.load().calls, 1);
        world.connect("bob", 2);
        world.tell("bob", |phone, now| phone.register(now, 3_600));
        world.run_for(Duration::from_secs(100));
        assert_eq!(world.load().calls, 1);
        let ladder = world.take_ladder();
        assert_eq!(ladder.matches("bob -> pbx         200 INVITE").count(), 2, "{ladder}");
    }
}

#[test]
fn a_silent_phone_that_comes_back_over_another_connection_is_asked_again() {
    let mut world = connected();
    world.disconnect("bob");
    world.run_for(Duration::from_secs(30));
    world.fall_silent(1);
    world.run_for(Duration::from_secs(20));
    world.connect("bob", 2);
    world.tell("bob", |phone, now| phone.register(now, 3_600));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.load().calls, 1);
    assert!(world.take_ladder().contains("200 OPTIONS"));
}

#[test]
fn a_phone_whose_connection_broke_for_good_is_noticed() {
    for sound_stops in [true, false] {
        let mut world = connected();
        world.disconnect("bob");
        let start = world.now;
        if sound_stops {
            world.run_for(Duration::from_secs(30));
            world.fall_silent(1);
        }
        world.run_for(Duration::from_secs(1_000));
        assert_eq!(world.calls[0].ending, Ending::Vanished);
        assert_eq!(world.phones["alice"].state, State::Ended(200));
        let after = (world.calls[0].ended_at - start).as_secs();
        assert!(if sound_stops { after < 70 } else { (900..1_000).contains(&after) }, "{after}");
        assert_eq!(world.load().calls, 0);
    }
}

/// A call over a bad line between phones of many kinds, one of which loses its power some time.
fn play(seed: u64) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    let allow = (Name::Allow, "INVITE, PRACK, UPDATE".to_owned());
    let alice = &mut world.phones.get_mut("alice").expect("alice").skills;
    alice.asks_with.extend(seed.is_multiple_of(2).then(|| allow.clone()));
    alice.asks_with.extend((seed % 3 == 1).then(|| (Name::Require, "100rel".to_owned())));
    let bob = world.phones.get_mut("bob").expect("bob");
    bob.skills.answers_with.extend(seed.is_multiple_of(5).then_some(allow));
    if seed.is_multiple_of(7) {
        let refresher = if seed.is_multiple_of(2) { "uac" } else { "uas" };
        bob.skills.answers_with.push((Name::Require, "timer".to_owned()));
        let agreed = format!("{};refresher={refresher}", 90 + seed);
        bob.skills.answers_with.push((Name::SessionExpires, agreed));
    }
    bob.skills.rings = if seed % 4 == 1 { Rings::Reliably } else { Rings::Plainly };
    let after = Duration::from_millis(seed * 53 % 5_000);
    bob.habit = if seed.is_multiple_of(3) { Habit::Early(after) } else { Habit::Answer(after) };
    world.network = Network::new(seed);
    world.network.loss_percent = seed % 31;
    world.network.double_percent = seed % 20;
    world.network.jitter = Duration::from_millis(seed % 400);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_millis(seed * 37 % 9_000));
    let who = if seed.is_multiple_of(2) { "alice" } else { "bob" };
    world.phones.get_mut(who).expect("a phone").skills.power = Power::Off;
    // One refresh, its 64·T1, and those of the BYE.
    world.run_for(Duration::from_secs(1_800 + 3 * 32));
    world
}

#[test]
fn whoever_vanishes_over_a_bad_line_leaves_nothing_behind() {
    let mut talked = 0;
    for seed in 0..400 {
        let mut world = play(seed);
        let load = world.load();
        let ladder = world.take_ladder();
        assert_eq!((load.calls, load.transactions), (0, 0), "seed {seed}\n{ladder}");
        assert!(world.sides.is_empty() && world.live.is_empty(), "seed {seed}");
        assert!(world.calls.len() <= 1, "seed {seed}");
        for name in ["alice", "bob"] {
            let phone = &world.phones[name];
            let is_off = phone.skills.power == Power::Off;
            let rests = matches!(phone.state, State::Idle | State::Ended(_));
            assert!(is_off || rests, "seed {seed}: {name} is left {:?}\n{ladder}", phone.state);
        }
        for call in &world.calls {
            assert_ne!(call.ending, Ending::ServerFailed, "seed {seed}");
            talked += usize::from(call.answered_at.is_some());
        }
    }
    assert!(talked > 100, "only {talked} calls were answered: the test shows little");
}

#[test]
fn sound_that_goes_one_way_is_told_once_and_never_of_a_call_on_hold() {
    let mut world = talking("INVITE");
    let told = Event::OneWay { number: "102".to_owned() };
    let count = |world: &World| world.notes.iter().filter(|note| note.event == told).count();
    world.be_unheard(1);
    world.be_unheard(1);
    assert_eq!(count(&world), 1);
    assert_eq!(world.load().calls, 1);

    let mut world = talking("INVITE");
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(2));
    world.be_unheard(1);
    assert_eq!(count(&world), 0, "nobody is to be heard");
}
