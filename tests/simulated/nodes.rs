//! Two nodes: a phone on one, its company's home on the other; the home dies, or is cut off.

use std::time::Duration;

use kit::sim::{Habit, State, World, company};
use pbx::record::Ending;
use pbx::story::Event;
use pbx::tenant::directory::Secrets;

const ALPHA: &str = "alpha.example";
const BETA: &str = "beta.example";

/// Alpha lives on the first node, beta on the second; alpha's phones reach the second one.
fn world() -> World {
    let mut world = World::on(2, vec![company(1, ALPHA), company(2, BETA)]);
    for (name, domain, user) in [
        ("alice", ALPHA, "101"),
        ("bob", ALPHA, "102"),
        ("twin", BETA, "101"),
        ("eve", BETA, "102"),
    ] {
        world.phone_at(1, name, domain, user);
        world.registered(name, domain, user);
    }
    world.phones.get_mut("twin").expect("a phone").last_request = None;
    world
}

fn state(world: &World, name: &str) -> State {
    world.phones[name].state
}

fn talk(world: &mut World, caller: &str, number: &str, callee: &str) {
    world.tell(caller, |phone, now| phone.call(now, number));
    world.run_for(Duration::from_secs(3));
    assert_eq!(state(world, caller), State::Talking, "{}", world.take_ladder());
    assert_eq!(state(world, callee), State::Talking);
}

#[test]
fn phones_on_another_node_register_call_hold_and_hang_up() {
    let mut world = world();
    talk(&mut world, "alice", "102", "bob");
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["bob"].hears, "sendonly");
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(40));
    assert_eq!(state(&world, "alice"), State::Ended(200));
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
    assert_eq!((world.load().calls, world.load().transactions, world.sides.len()), (0, 0, 0));
    assert!(world.phones["twin"].last_request.is_none(), "same number, other company");
}

#[test]
fn the_first_challenge_of_another_node_is_good_for_the_home() {
    let mut world = World::on(2, vec![company(1, ALPHA), company(2, BETA)]);
    world.run_for(Duration::from_secs(1));
    world.phone_at(1, "alice", ALPHA, "101");
    world.tell("alice", |phone, now| phone.register(now, 600));
    world.run_for(Duration::from_secs(1));
    let ladder = world.take_ladder();
    assert_eq!(ladder.matches("401").count(), 1, "{ladder}");
    assert_eq!(world.phones["alice"].registered, Some(200));
}

#[test]
fn phones_that_can_write_no_domain_find_their_home_from_another_node() {
    let mut alpha = company(1, ALPHA);
    alpha.directory.label = Some("alpha".to_owned());
    // The second phone of a world; it writes no label either.
    alpha.directory.trusted = vec![("192.0.2.11".parse().expect("an address"), 32)];
    for user in alpha.directory.users.values_mut() {
        let password = format!("secret-{}", user.number);
        let secrets = Secrets::new(&user.number, ALPHA, &password);
        user.secrets = secrets.labelled("alpha", ALPHA, &password);
    }
    let mut world = World::on(2, vec![alpha, company(2, BETA)]);
    for (name, user, number) in [("alice", "101*alpha", "101"), ("bob", "102", "102")] {
        world.phone_at(1, name, ALPHA, user);
        let edge = world.address_of(1).ip().to_string();
        let account = world.phones.get_mut(name).expect("a phone").account_mut();
        (account.domain, account.password) = (edge, format!("secret-{number}"));
        world.tell(name, |phone, now| phone.register(now, 600));
        world.run_for(Duration::from_secs(1));
        let ladder = world.take_ladder();
        assert_eq!(world.phones[name].registered, Some(200), "{ladder}");
    }
    talk(&mut world, "alice", "102", "bob");
}

#[test]
fn sound_goes_to_the_home_whatever_node_a_phone_reached() {
    let mut world = world();
    let (home, edge) = (world.address_of(0).ip(), world.address_of(1).ip());
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(state(&world, "bob"), State::Ringing);
    let invite = world.phones["bob"].last_request.clone().expect("bob is called");
    let told = String::from_utf8_lossy(&invite.body()).into_owned();
    assert!(told.contains(&format!("c=IN IP4 {home}")), "{told}");
    assert!(!told.contains(&edge.to_string()), "{told}");
    // Signalling is the edge's, where the phone can reach it.
    assert!(invite.via().expect("a Via").host.starts_with(&edge.to_string()));
}

#[test]
fn a_call_to_a_company_on_the_other_node_crosses_over() {
    let mut world = world();
    world.tell("alice", |phone, now| phone.call(now, "+432101"));
    world.run_for(Duration::from_secs(3));
    assert_eq!(state(&world, "alice"), State::Talking, "{}", world.take_ladder());
    assert_eq!(state(&world, "twin"), State::Talking);
    world.tell("twin", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(40));
    assert_eq!(state(&world, "alice"), State::Ended(200));
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
}

#[test]
fn when_the_home_dies_another_takes_over_and_calls_work_without_a_new_register() {
    let mut world = world();
    world.kill(0);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(3));
    assert_eq!(state(&world, "alice"), State::Calling, "nobody answers yet");
    world.take_over(0, 1);
    world.run_for(Duration::from_secs(7));
    assert_eq!(state(&world, "alice"), State::Talking, "its INVITE was repeated");
    assert_eq!(state(&world, "bob"), State::Talking);
    assert_eq!(world.phones["alice"].registered, Some(200));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(40));
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
}

#[test]
fn calls_of_a_home_that_died_are_hung_up_and_noted() {
    let mut world = world();
    talk(&mut world, "alice", "102", "bob");
    world.kill(0);
    world.run_for(Duration::from_secs(3));
    world.take_over(0, 1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(state(&world, "alice"), State::Ended(200), "not left in silence");
    assert_eq!(state(&world, "bob"), State::Ended(200));
    let [call] = world.calls.as_slice() else { panic!("one record: {:?}", world.calls) };
    assert_eq!(call.ending, Ending::ServerStopped);
    assert!(call.story.iter().any(|told| told.event == Event::NodeLost));
    assert!(world.live.is_empty() && world.sides.is_empty());
    talk(&mut world, "bob", "101", "alice");
}

#[test]
fn phones_of_a_node_that_died_are_not_called_and_others_are() {
    let mut world = world();
    world.phone_at(0, "here", ALPHA, "103");
    world.registered("here", ALPHA, "103");
    world.kill(0);
    world.take_over(0, 1);
    world.tell("alice", |phone, now| phone.call(now, "103"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(state(&world, "alice"), State::Ended(480), "at once");
    talk(&mut world, "alice", "102", "bob");
}

#[test]
fn when_an_edge_dies_its_phones_are_called_again_once_it_is_back() {
    let mut world = world();
    world.phone_at(0, "here", ALPHA, "103");
    world.registered("here", ALPHA, "103");
    world.kill(1);
    world.tell("here", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(state(&world, "here"), State::Ended(480));
    world.come_back(1);
    talk(&mut world, "here", "102", "bob");
}

#[test]
fn a_home_that_was_given_up_writes_nothing_and_learns_that_it_is_none() {
    let mut world = world();
    world.phone_at(0, "here", ALPHA, "103");
    world.registered("here", ALPHA, "103");
    world.cut_off(0);
    world.take_over(0, 1);
    // Both serve alpha: its phones on the first node hear nothing of the second.
    world.tell("here", |phone, now| phone.register(now, 0));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["here"].registered, Some(200), "a holder serves on");
    assert_eq!(world.refused().len(), 1, "but it writes nothing");
    assert_eq!(world.bindings.len(), 5, "the phone that left there is still stored");
    talk(&mut world, "alice", "102", "bob");
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(40));

    world.come_back(0);
    assert_eq!(world.load().tenants, 2);
    world.tell("here", |phone, now| phone.register(now, 600));
    world.run_for(Duration::from_secs(1));
    talk(&mut world, "here", "102", "bob");
    assert_eq!(world.home(world.tenants()[0]), 1, "it is not taken back");
}

#[test]
fn a_call_of_a_home_that_was_given_up_ends_on_both_sides_and_is_noted_once() {
    let mut world = world();
    world.phone_at(0, "here", ALPHA, "103");
    world.registered("here", ALPHA, "103");
    world.phones.get_mut("bob").expect("a phone").habit = Habit::Answer(Duration::ZERO);
    talk(&mut world, "here", "102", "bob");
    world.cut_off(0);
    world.take_over(0, 1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(state(&world, "bob"), State::Ended(200), "its node is linked with the new home");
    assert_eq!(state(&world, "here"), State::Talking, "its node is not");
    world.come_back(0);
    world.run_for(Duration::from_secs(40));
    assert_eq!(state(&world, "here"), State::Ended(200));
    let [call] = world.calls.as_slice() else { panic!("one record: {:?}", world.calls) };
    assert_eq!(call.ending, Ending::ServerStopped);
    assert_eq!((world.sides.len(), world.load().transactions), (0, 0));
}

#[test]
fn at_whatever_step_of_a_call_its_home_dies_nobody_is_left_with_half_of_it() {
    const STEP: Duration = Duration::from_millis(2);
    /// What is gathered beside other nodes, and a commit.
    const WRITTEN_AFTER: Duration = Duration::from_millis(8);
    let (mut orphans, mut recorded, mut unknown) = (0, 0, 0);
    for step in 0..170 {
        let mut world = world();
        world.gather_for = WRITTEN_AFTER;
        world.phones.get_mut("bob").expect("a phone").habit =
            Habit::Answer(Duration::from_millis(150));
        world.tell("alice", |phone, now| phone.call(now, "102"));
        world.run_for(STEP * step);
        let told = !world.live.is_empty();
        world.kill(0);
        world.run_for(Duration::from_secs(3));
        let both_talked =
            (state(&world, "alice"), state(&world, "bob")) == (State::Talking, State::Talking);
        if state(&world, "bob") == State::Talking {
            orphans += 1;
        }
        world.take_over(0, 1);
        world.run_for(Duration::from_secs(5));
        let what = format!("step {step}: {}", world.take_ladder());
        if both_talked && !told {
            // Its answer went out in the last milliseconds: no node knows, and the next word of
            // either phone is told so.
            unknown += 1;
            assert!(world.calls.is_empty(), "{what}");
        } else if !told {
            // Either it was repeated and is a whole call of the new home, or there is none.
            let whole = !world.live.is_empty() && state(&world, "alice") == State::Talking;
            assert_eq!(state(&world, "bob") == State::Talking, whole, "{what}");
        }
        if told {
            recorded += 1;
            assert_eq!(world.calls.len(), 1, "{what}");
            assert_eq!(world.calls[0].ending, Ending::ServerStopped, "{what}");
            for name in ["alice", "bob"] {
                assert_ne!(state(&world, name), State::Talking, "{what}");
            }
        }
        for name in ["alice", "bob"] {
            world.tell(name, |phone, now| phone.hang_up(now));
        }
        world.run_for(Duration::from_secs(70));
        let load = world.load();
        assert_eq!((load.calls, load.transactions, world.sides.len()), (0, 0, 0), "{what}");
        for name in ["alice", "bob"] {
            assert!(world.phones[name].is_quiet(), "{name}, {what}");
        }
    }
    assert!(orphans > 10 && recorded > 10, "the steps are too few: {orphans} {recorded}");
    assert!(unknown <= 6, "{unknown} steps of 2 ms");
}
