//! Call flows as they are said, each kept as a text file that reads like the flow.

use std::time::Duration;

use kit::ladder::check;
use kit::sim::{Habit, Power, Rings, World, company};
use pbx::sip::method::Method;
use pbx::sip::name::Name;

const ALPHA: &str = "alpha.example";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA), company(2, "beta.example")]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

fn habit(world: &mut World, name: &str, habit: Habit) {
    world.phones.get_mut(name).expect("a phone of this name").habit = habit;
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn kept(name: &str, world: &mut World) {
    let said = world.take_ladder();
    check(name, &said).expect("the flow is as it was kept");
}

#[test]
fn a_phone_registers() {
    let mut world = World::new(vec![company(1, ALPHA)]);
    let now = world.now;
    world.phone("alice", ALPHA, "101").register(now, 600);
    world.run_for(seconds(1));
    kept("register", &mut world);
}

#[test]
fn a_call_is_answered_held_resumed_and_hung_up() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(5));
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(seconds(2));
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(seconds(2));
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(seconds(2));
    kept("call", &mut world);
}

#[test]
fn a_refusal_whose_ack_is_lost_is_repeated() {
    let mut world = office();
    habit(&mut world, "bob", Habit::Refuse(486));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    // Challenge, INVITE, its 486: then the line is cut, so that the ACK is lost.
    world.run_for(Duration::from_millis(55));
    world.network.loss_percent = 100;
    world.run_for(seconds(5));
    kept("timer-g", &mut world);
}

#[test]
fn the_kitchen_phone_answers_and_the_other_stops_ringing() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    habit(&mut world, "kitchen", Habit::Answer(seconds(1)));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    kept("fork", &mut world);
}

#[test]
fn a_caller_gives_up() {
    let mut world = office();
    habit(&mut world, "bob", Habit::Ring);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(3));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("cancel", &mut world);
}

#[test]
fn nobody_answers_for_a_minute() {
    let mut world = office();
    habit(&mut world, "bob", Habit::Ring);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(62));
    kept("no-answer", &mut world);
}

#[test]
fn a_phone_sends_the_call_on() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "bob", Habit::Forward(format!("sip:103@{ALPHA}")));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    kept("forward", &mut world);
}

#[test]
fn another_company_is_called_by_its_public_number() {
    let mut world = office();
    world.registered("berta", "beta.example", "101");
    world.tell("alice", |phone, now| phone.call(now, "+432101"));
    world.run_for(seconds(4));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("elsewhere", &mut world);
}

#[test]
fn a_call_goes_on_after_the_process_was_killed() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    world.restart();
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(seconds(1));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("revive", &mut world);
}

fn with(world: &mut World, name: &str, asks: &[(Name, &str)], answers: &[(Name, &str)]) {
    let owned = |(name, text): &(Name, &str)| (*name, (*text).to_owned());
    let skills = &mut world.phones.get_mut(name).expect("a phone of this name").skills;
    skills.asks_with = asks.iter().map(owned).collect();
    skills.answers_with = answers.iter().map(owned).collect();
}

#[test]
fn phones_are_asked_whether_they_are_still_there_and_one_is_not() {
    let mut world = office();
    with(&mut world, "bob", &[], &[(Name::Allow, "INVITE, UPDATE")]);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(910));
    world.phones.get_mut("bob").expect("bob").skills.power = Power::Off;
    world.run_for(seconds(1_000));
    kept("refresh-by-us", &mut world);
}

#[test]
fn phones_that_refresh_are_answered_here_until_one_stops() {
    let mut world = office();
    let timed = [(Name::Supported, "timer"), (Name::SessionExpires, "90;refresher=uac")];
    let agreed = [(Name::Require, "timer"), (Name::SessionExpires, "90;refresher=uas")];
    with(&mut world, "alice", &timed, &[]);
    with(&mut world, "bob", &timed, &agreed);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(45));
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &timed, ""));
    world.tell("bob", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(seconds(45));
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &timed, ""));
    world.run_for(seconds(45));
    kept("refresh-by-phones", &mut world);
}

#[test]
fn intervals_that_are_too_short_are_refused_and_a_longer_one_is_taken() {
    let mut world = office();
    with(&mut world, "alice", &[(Name::Supported, "timer"), (Name::SessionExpires, "60")], &[]);
    let refusal = Some((422, Name::MinSe, "3600".to_owned()));
    world.phones.get_mut("bob").expect("bob").skills.first_refusal = refusal;
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(1));
    with(&mut world, "alice", &[(Name::Supported, "timer"), (Name::SessionExpires, "90")], &[]);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    kept("too-brief", &mut world);
}

#[test]
fn ringing_is_confirmed_on_both_sides_and_early_sound_changed() {
    let mut world = office();
    let knows = [(Name::Require, "100rel"), (Name::Allow, "INVITE, PRACK, UPDATE")];
    with(&mut world, "alice", &knows, &[]);
    with(&mut world, "bob", &[], &knows[1..]);
    world.phones.get_mut("bob").expect("bob").skills.rings = Rings::Reliably;
    habit(&mut world, "bob", Habit::Early(seconds(3)));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(1));
    let sdp = world.phones["bob"].describes("sendonly");
    world.tell("bob", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
    world.run_for(seconds(4));
    kept("prack", &mut world);
}

#[test]
fn a_call_is_changed_by_update_and_kept_alive() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    let sdp = world.phones["alice"].describes("sendonly");
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
    world.run_for(seconds(1));
    for method in [Method::Info, Method::Update, Method::Message] {
        world.tell("bob", |phone, now| phone.ask_within(now, method, &[], ""));
        world.run_for(seconds(1));
    }
    kept("update", &mut world);
}

#[test]
fn timers_go_on_after_the_process_was_killed() {
    let mut world = office();
    let timed = [(Name::Supported, "timer"), (Name::SessionExpires, "300;refresher=uac")];
    with(&mut world, "alice", &timed, &[]);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(100));
    world.restart();
    world.run_for(seconds(250));
    kept("revive-timers", &mut world);
}
