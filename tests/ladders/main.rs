//! Call flows as they are said, each kept as a text file that reads like the flow.

use std::net::SocketAddr;
use std::time::Duration;

use kit::ladder::check;
use kit::sim::{Habit, Router, World, company};

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

#[test]
fn a_phone_behind_a_router_is_asked_called_and_followed_to_its_new_port() {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    let outside = SocketAddr::from(([198, 51, 100, 7], 40_000));
    world.routers.insert("bob".to_owned(), Router::new(outside, seconds(12)));
    world.registered("bob", ALPHA, "102");
    world.run_for(seconds(25));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    if let Some(router) = world.routers.get_mut("bob") {
        router.restart();
    }
    let now = world.now;
    world.tell("bob", |phone, _| phone.register(now, 300));
    world.run_for(seconds(1));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("nat", &mut world);
}
