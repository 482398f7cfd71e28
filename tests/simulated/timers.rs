//! Session timers: each side is asked, or asks, and who is gone is noticed.

use std::time::Duration;

use kit::sim::{Power, State, World, company};
use pbx::moment::Moment;
use pbx::record::Ending;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

fn asks_with(world: &mut World, name: &str, headers: &[(Name, &str)]) {
    let phone = world.phones.get_mut(name).expect("a phone of this name");
    phone.skills.asks_with = headers.iter().map(|(name, text)| (*name, text.to_string())).collect();
}

fn answers_with(world: &mut World, name: &str, headers: &[(Name, &str)]) {
    let phone = world.phones.get_mut(name).expect("a phone of this name");
    phone.skills.answers_with =
        headers.iter().map(|(name, text)| (*name, text.to_string())).collect();
}

fn refuses(world: &mut World, name: &str, method: &'static str, status: u16) {
    world.phones.get_mut(name).expect("a phone of this name").skills.refuses.push((method, status));
}

fn call(world: &mut World) {
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.take_ladder();
}

fn asked(world: &World, name: &str) -> String {
    let last = world.phones[name].last_request.as_ref().expect("it is asked");
    last.method().as_str().to_owned()
}

/// Seconds from `start` to the end of the only call, which vanished.
fn vanished_after(world: &World, start: Moment) -> u64 {
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.calls[0].ending, Ending::Vanished);
    assert!(world.sides.is_empty() && world.live.is_empty());
    (world.calls[0].ended_at - start).as_secs()
}

fn tells_who_vanished(world: &World, number: &str) {
    let vanished = Event::Vanished { number: number.to_owned() };
    assert!(world.notes.iter().any(|note| note.event == vanished), "{:?}", world.notes);
}

#[test]
fn phones_that_know_no_timers_are_asked_every_quarter_of_an_hour() {
    let mut world = office();
    call(&mut world);
    world.run_for(Duration::from_secs(14_000));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Talking);
    let ladder = world.take_ladder();
    let asked = |who: &str| ladder.matches(&format!("pbx -> {who:<12}INVITE")).count();
    assert_eq!((asked("alice"), asked("bob")), (15, 15), "{ladder}");
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
}

#[test]
fn a_phone_that_allows_update_is_asked_by_it() {
    let mut world = office();
    answers_with(&mut world, "bob", &[(Name::Allow, "INVITE, UPDATE")]);
    asks_with(&mut world, "alice", &[(Name::Allow, "INVITE, UPDATE")]);
    call(&mut world);
    world.run_for(Duration::from_secs(920));
    assert_eq!((asked(&world, "alice"), asked(&world, "bob")), ("UPDATE".into(), "UPDATE".into()));
    let update = world.phones["bob"].last_request.clone().expect("bob is asked");
    assert_eq!(update.first(Name::SessionExpires), Some("1800;refresher=uac"));
    assert!(update.body().is_empty() && update.first(Name::Contact).is_some());
}

#[test]
fn a_held_call_is_still_held_after_a_refresh() {
    let mut world = office();
    call(&mut world);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1_000));
    assert_eq!(world.phones["bob"].hears, "sendonly");
    assert_eq!(world.phones["alice"].hears, "recvonly");
    let resumed = |note: &pbx::story::Note| matches!(note.event, Event::Resumed { .. });
    assert!(!world.notes.iter().any(resumed), "a refresh is no resumption");
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["bob"].hears, "sendrecv");
}

#[test]
fn a_phone_that_answers_nothing_any_more_ends_the_call_for_both() {
    for (name, number) in [("alice", "101"), ("bob", "102")] {
        let mut world = office();
        call(&mut world);
        let start = world.now;
        world.phones.get_mut(name).expect("a phone").skills.power = Power::Off;
        world.run_for(Duration::from_secs(1_200));
        assert!((900..960).contains(&vanished_after(&world, start)));
        tells_who_vanished(&world, number);
        let other = if name == "alice" { "bob" } else { "alice" };
        assert_eq!(world.phones[other].state, State::Ended(200));
    }
}

#[test]
fn only_408_and_481_to_our_question_end_a_call() {
    for (method, status, lives) in [
        ("INVITE", 481, false),
        ("INVITE", 408, false),
        ("INVITE", 500, true),
        ("INVITE", 491, true),
        ("INVITE", 405, true),
        ("UPDATE", 405, true),
        ("UPDATE", 501, true),
        ("UPDATE", 481, false),
        ("UPDATE", 488, true),
    ] {
        let mut world = office();
        if method == "UPDATE" {
            answers_with(&mut world, "bob", &[(Name::Allow, "UPDATE")]);
        }
        call(&mut world);
        refuses(&mut world, "bob", method, status);
        world.run_for(Duration::from_secs(2_000));
        assert_eq!(world.load().calls == 1, lives, "{status} {method}");
        assert_eq!(world.phones["alice"].state == State::Talking, lives, "{status} {method}");
    }
}

#[test]
fn a_caller_that_refreshes_itself_is_answered_here_and_hung_up_when_it_stops() {
    let mut world = office();
    let timed = [(Name::Supported, "timer"), (Name::SessionExpires, "90;refresher=uac")];
    asks_with(&mut world, "alice", &timed);
    call(&mut world);
    for _ in 0..10 {
        world.run_for(Duration::from_secs(45));
        world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &timed, ""));
        world.run_for(Duration::from_secs(1));
        let answer = world.phones["alice"].last_answer.clone().expect("alice is answered");
        assert_eq!(answer.first(Name::SessionExpires), Some("90;refresher=uac"));
        assert_eq!(answer.first(Name::Require), Some("timer"));
    }
    assert_eq!(world.load().calls, 1);
    let start = world.now;
    world.run_for(Duration::from_secs(120));
    assert_eq!(vanished_after(&world, start), 59, "30 s before the 90 are over");
    tells_who_vanished(&world, "101");
    assert_eq!(world.phones["bob"].state, State::Ended(200));
}

#[test]
fn a_called_phone_that_refreshes_by_invite_is_answered_here() {
    let mut world = office();
    let agreed = [(Name::Require, "timer"), (Name::SessionExpires, "120;refresher=uas")];
    answers_with(&mut world, "bob", &agreed);
    call(&mut world);
    let timed = [(Name::Supported, "timer"), (Name::SessionExpires, "120;refresher=uac")];
    asks_with(&mut world, "bob", &timed);
    for _ in 0..5 {
        world.run_for(Duration::from_secs(60));
        world.take_ladder();
        world.tell("bob", |phone, now| phone.hold(now, "sendrecv"));
        world.run_for(Duration::from_secs(1));
        let ladder = world.take_ladder();
        assert!(!ladder.contains("alice"), "alice need not hear of it: {ladder}");
        let answer = world.phones["bob"].last_answer.clone().expect("bob is answered");
        assert_eq!(answer.first(Name::SessionExpires), Some("120;refresher=uac"));
    }
    let start = world.now;
    world.run_for(Duration::from_secs(130));
    assert_eq!(vanished_after(&world, start), 87, "32 s before the 120 are over");
}

#[test]
fn an_interval_that_is_too_short_is_refused_with_ours_and_a_longer_one_taken() {
    let mut world = office();
    asks_with(&mut world, "alice", &[(Name::Supported, "timer"), (Name::SessionExpires, "30")]);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(422));
    assert!(world.calls.is_empty(), "that was no call yet");
    call_again_longer(&mut world);
    let brief = [(Name::Supported, "timer"), (Name::SessionExpires, "30")];
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &brief, ""));
    world.run_for(Duration::from_secs(1));
    let answer = world.phones["alice"].last_answer.clone().expect("alice is answered");
    assert_eq!((answer.status(), answer.first(Name::MinSe)), (Some(422), Some("90")));
    assert_eq!(world.load().calls, 1);
}

fn call_again_longer(world: &mut World) {
    asks_with(world, "alice", &[(Name::Supported, "timer"), (Name::SessionExpires, "90")]);
    call(world);
}

#[test]
fn a_called_phone_that_wants_longer_is_called_again_once() {
    let mut world = office();
    let refusal = Some((422, Name::MinSe, "3600".to_owned()));
    world.phones.get_mut("bob").expect("bob").skills.first_refusal = refusal;
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    let invite = world.phones["bob"].last_request.clone().expect("bob is called");
    assert_eq!(invite.first(Name::SessionExpires), Some("3600"));
    assert_eq!(invite.first(Name::MinSe), Some("3600"));
    assert_eq!(invite.cseq().expect("a CSeq").number, 2);
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.phones["alice"].state, State::Talking);
}

#[test]
fn a_refresh_that_meets_another_offer_waits_its_turn() {
    let mut world = office();
    call(&mut world);
    world.run_for(Duration::from_millis(894_990));
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.phones["bob"].answers, ["200 INVITE"]);
    assert_eq!(world.phones["alice"].hears, "sendonly");
    assert_eq!(world.load().calls, 1);
}

#[test]
fn timers_go_on_after_the_process_was_killed() {
    let mut world = office();
    let timed = [(Name::Supported, "timer"), (Name::SessionExpires, "300;refresher=uac")];
    asks_with(&mut world, "alice", &timed);
    call(&mut world);
    world.run_for(Duration::from_secs(100));
    world.restart();
    world.run_for(Duration::from_secs(100));
    assert_eq!(world.load().calls, 1);
    let start = world.now;
    world.run_for(Duration::from_secs(600));
    assert!(vanished_after(&world, start) < 70);

    let mut world = office();
    call(&mut world);
    world.run_for(Duration::from_secs(850));
    world.restart();
    world.take_ladder();
    world.run_for(Duration::from_secs(120));
    let ladder = world.take_ladder();
    assert!(ladder.contains("pbx -> bob         INVITE"), "{ladder}");
    assert!(ladder.contains("pbx -> alice       INVITE"), "{ladder}");
    assert_eq!(world.load().calls, 1);
}
