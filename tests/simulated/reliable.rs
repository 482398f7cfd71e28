//! Ringing that must arrive, and what can be changed before the answer.

use std::time::Duration;

use kit::sim::{Habit, Phone, Pracks, Rings, State, World, company};
use pbx::record::Ending;
use pbx::sip::method::Method;
use pbx::sip::name::Name;

const ALPHA: &str = "alpha.example";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

fn phone<'a>(world: &'a mut World, name: &str) -> &'a mut Phone {
    world.phones.get_mut(name).expect("a phone of this name")
}

fn requires_100rel(world: &mut World, name: &str) {
    phone(world, name).skills.asks_with = vec![
        (Name::Require, "100rel".to_owned()),
        (Name::Allow, "INVITE, PRACK, UPDATE".to_owned()),
    ];
}

fn rings_reliably(world: &mut World, habit: Habit) {
    let bob = phone(world, "bob");
    (bob.skills.rings, bob.habit) = (Rings::Reliably, habit);
    bob.skills.answers_with = vec![(Name::Allow, "INVITE, PRACK, UPDATE".to_owned())];
}

fn call(world: &mut World, for_ms: u64) {
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_millis(for_ms));
}

fn both_talk_and_part(world: &mut World) {
    let ladder = world.take_ladder();
    assert_eq!(world.phones["alice"].state, State::Talking, "{ladder}");
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].hears, "sendonly");
    world.tell("alice", |phone, now| phone.hang_up(now));
    is_over(world, Ending::CallerHungUp);
}

fn is_over(world: &mut World, ending: Ending) {
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty() && world.live.is_empty());
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    let endings: Vec<Ending> = world.calls.iter().map(|call| call.ending).collect();
    assert_eq!(endings, [ending], "{}", world.take_ladder());
}

#[test]
fn a_called_phone_that_rings_reliably_is_confirmed_at_once() {
    for habit in [Habit::Answer(Duration::from_secs(2)), Habit::Early(Duration::from_secs(2))] {
        let mut world = office();
        rings_reliably(&mut world, habit);
        call(&mut world, 5_000);
        let ladder = world.take_ladder();
        assert_eq!(ladder.matches("pbx -> bob         PRACK").count(), 1, "{ladder}");
        assert_eq!(ladder.matches("bob -> pbx         18").count(), 1, "{ladder}");
        assert!(!ladder.contains("alice -> pbx       PRACK"), "alice did not ask for it: {ladder}");
        both_talk_and_part(&mut world);
    }
}

#[test]
fn ringing_that_comes_again_is_confirmed_once_and_passed_on_once() {
    let mut world = office();
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(9)));
    world.network.delay = Duration::from_millis(400);
    call(&mut world, 9_000);
    let ladder = world.take_ladder();
    assert!(ladder.matches("bob -> pbx         183").count() > 1, "{ladder}");
    assert_eq!(ladder.matches("pbx -> alice       183").count(), 1, "{ladder}");
    world.run_for(Duration::from_secs(9));
    both_talk_and_part(&mut world);
}

#[test]
fn every_invite_of_ours_offers_it_and_only_who_requires_it_gets_it() {
    let mut world = office();
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_secs(2));
    phone(&mut world, "alice").skills.asks_with = vec![(Name::Supported, "100rel".to_owned())];
    call(&mut world, 1_000);
    let invite = world.phones["bob"].last_request.clone().expect("bob is called");
    assert_eq!(invite.first(Name::Supported), Some("100rel, timer"));
    let ladder = world.take_ladder();
    assert!(ladder.contains("pbx -> alice       183") && !ladder.contains("PRACK"), "{ladder}");
    world.run_for(Duration::from_secs(4));
    both_talk_and_part(&mut world);
}

#[test]
fn a_caller_that_requires_it_confirms_ringing_and_early_sound() {
    for habit in [Habit::Answer(Duration::from_secs(2)), Habit::Early(Duration::from_secs(2))] {
        let mut world = office();
        requires_100rel(&mut world, "alice");
        phone(&mut world, "bob").habit = habit;
        call(&mut world, 5_000);
        assert_eq!(world.phones["alice"].answers, ["200 PRACK"]);
        let ladder = world.take_ladder();
        assert_eq!(ladder.matches("pbx -> alice       18").count(), 1, "{ladder}");
        both_talk_and_part(&mut world);
    }
}

#[test]
fn a_wrong_confirmation_is_answered_481_and_the_right_one_counts() {
    let mut world = office();
    requires_100rel(&mut world, "alice");
    phone(&mut world, "alice").skills.pracks = Pracks::WronglyFirst;
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_secs(2));
    call(&mut world, 5_000);
    assert_eq!(world.phones["alice"].answers, ["481 PRACK", "200 PRACK"]);
    both_talk_and_part(&mut world);
}

#[test]
fn the_answer_waits_until_early_sound_is_confirmed() {
    let mut world = office();
    requires_100rel(&mut world, "alice");
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_millis(100));
    world.network.delay = Duration::from_millis(200);
    call(&mut world, 5_000);
    let ladder = world.take_ladder();
    let at = |text: &str| ladder.find(text).unwrap_or_else(|| panic!("no {text}: {ladder}"));
    assert!(at("bob -> pbx         200 INVITE") < at("pbx -> alice       200 PRACK"), "{ladder}");
    assert!(at("pbx -> alice       200 PRACK") < at("pbx -> alice       200 INVITE"), "{ladder}");
    both_talk_and_part(&mut world);
}

#[test]
fn a_caller_that_requires_it_and_confirms_nothing_is_refused_after_32_s() {
    for (habit, answers) in [
        (Habit::Ring, false),
        (Habit::Early(Duration::from_secs(60)), false),
        (Habit::Early(Duration::from_secs(2)), true),
    ] {
        let mut world = office();
        requires_100rel(&mut world, "alice");
        phone(&mut world, "alice").skills.pracks = Pracks::Never;
        phone(&mut world, "bob").habit = habit;
        call(&mut world, 31_000);
        assert_eq!(world.phones["alice"].state, State::Calling);
        assert_eq!(world.phones["bob"].state == State::Talking, answers);
        world.run_for(Duration::from_secs(4));
        assert_eq!(world.phones["alice"].state, State::Ended(504));
        let ended = if answers { 200 } else { 487 };
        assert_eq!(world.phones["bob"].state, State::Ended(ended));
        is_over(&mut world, Ending::Vanished);
    }
}

#[test]
fn a_caller_may_give_up_while_the_answer_waits() {
    let mut world = office();
    requires_100rel(&mut world, "alice");
    phone(&mut world, "alice").skills.pracks = Pracks::Never;
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_secs(2));
    call(&mut world, 5_000);
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(487));
    assert_eq!(world.phones["bob"].state, State::Ended(200));
    is_over(&mut world, Ending::CallerHungUp);
}

#[test]
fn who_answers_and_hangs_up_before_the_caller_heard_of_it_is_no_call() {
    let mut world = office();
    requires_100rel(&mut world, "alice");
    phone(&mut world, "alice").skills.pracks = Pracks::Never;
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_secs(2));
    call(&mut world, 5_000);
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(480));
    is_over(&mut world, Ending::CalleeHungUp);
    assert_eq!((world.calls[0].status, world.calls[0].answered_at), (480, None));
}

#[test]
fn early_sound_is_changed_by_update_once_both_sides_have_agreed() {
    let mut world = office();
    requires_100rel(&mut world, "alice");
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(9)));
    call(&mut world, 1_000);
    for (name, other) in [("alice", "bob"), ("bob", "alice")] {
        for direction in ["sendonly", "sendrecv"] {
            let sdp = world.phones[name].describes(direction);
            phone(&mut world, name).answers.clear();
            world.tell(name, |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
            world.run_for(Duration::from_secs(1));
            let ladder = world.take_ladder();
            assert_eq!(world.phones[name].answers, ["200 UPDATE"], "{name} {ladder}");
            assert_eq!(world.phones[other].hears, direction);
        }
    }
    world.run_for(Duration::from_secs(9));
    both_talk_and_part(&mut world);
}

#[test]
fn an_update_too_early_to_be_carried_across_is_to_be_tried_again() {
    let mut world = office();
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(4)));
    call(&mut world, 1_000);
    let sdp = world.phones["bob"].describes("sendonly");
    world.tell("bob", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["bob"].answers, ["500 UPDATE"]);
    let answer = world.phones["bob"].last_answer.clone().expect("bob is answered");
    assert!(answer.first(Name::RetryAfter).is_some());
    world.tell("bob", |phone, now| phone.ask_within(now, Method::Update, &[], ""));
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.phones["bob"].answers, ["500 UPDATE", "200 UPDATE"], "a keepalive is fine");
    both_talk_and_part(&mut world);
}

#[test]
fn an_offer_made_while_ringing_is_answered_then_and_the_callers_own_is_told_later() {
    let mut world = office();
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(2)));
    world.tell("alice", |phone, now| phone.call_with(now, "102", ""));
    world.run_for(Duration::from_secs(1));
    let prack = world.phones["bob"].last_request.clone().expect("bob is confirmed");
    assert_eq!((prack.method(), prack.body().is_empty()), (Method::Prack, false));
    assert_eq!(world.phones["bob"].hears, "sendrecv");
    phone(&mut world, "alice").skills.acks_with = Some("recvonly");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].hears, "recvonly");
    both_talk_and_part(&mut world);
}

#[test]
fn early_sound_of_a_fork_and_an_answer_of_another_phone_are_two_dialogs() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    requires_100rel(&mut world, "alice");
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(60)));
    phone(&mut world, "kitchen").habit = Habit::Answer(Duration::from_secs(3));
    call(&mut world, 6_000);
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["kitchen"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["kitchen"].hears, "sendonly");
    world.tell("alice", |phone, now| phone.hang_up(now));
    is_over(&mut world, Ending::CallerHungUp);
}

#[test]
fn nothing_is_carried_to_an_early_phone_that_has_refused() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    requires_100rel(&mut world, "alice");
    rings_reliably(&mut world, Habit::Early(Duration::from_secs(60)));
    phone(&mut world, "carol").habit = Habit::Ring;
    world.tell("alice", |phone, now| phone.call(now, "600"));
    world.run_for(Duration::from_secs(1));
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_millis(100));
    let sdp = world.phones["alice"].describes("sendonly");
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
    world.run_for(Duration::from_secs(1));
    let ladder = world.take_ladder();
    assert!(!ladder.contains("pbx -> bob         UPDATE"), "{ladder}");
    assert_eq!(world.phones["alice"].answers, ["200 PRACK", "500 UPDATE"]);
    assert_eq!(world.phones["carol"].state, State::Ringing);
}
