//! Call flows as they are said, each kept as a text file that reads like the flow.

mod lasting;
mod played;

use std::net::SocketAddr;
use std::time::Duration;

use kit::ladder::check;
use kit::sim::{Brought, Closing, Habit, Offer, Router, World, company};
use pbx::tenant::directory::Limits;

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
    world.finish();
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

/// Calls 102 while it does that, for so long.
fn refused(does: Habit, for_so_long: Duration) -> World {
    let mut world = office();
    habit(&mut world, "bob", does);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(for_so_long);
    world
}

#[test]
fn the_called_phone_is_busy() {
    kept("busy", &mut refused(Habit::Refuse(486), seconds(1)));
}

#[test]
fn the_called_phone_wants_not_to_be_disturbed() {
    // What desk phones answer then; nobody is called busy who is not.
    kept("do-not-disturb", &mut refused(Habit::Refuse(480), seconds(1)));
}

#[test]
fn whoever_is_called_declines_and_no_other_phone_of_theirs_rings_on() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    habit(&mut world, "kitchen", Habit::Ring);
    habit(&mut world, "bob", Habit::Ring);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(2));
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("decline", &mut world);
}

#[test]
fn a_phone_that_is_gone_is_given_up() {
    let mut world = office();
    let address = world.phones["bob"].address;
    world.network.vanished.insert(address);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(70));
    kept("gone", &mut world);
}

#[test]
fn both_hold_at_the_same_moment() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    world.take_ladder();
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(seconds(8));
    kept("glare", &mut world);
}

#[test]
fn a_group_is_called_and_one_of_it_answers() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "carol", Habit::Answer(seconds(1)));
    world.tell("alice", |phone, now| phone.call(now, "600"));
    world.run_for(seconds(3));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    kept("group", &mut world);
}

#[test]
fn the_called_phone_speaks_before_it_answers() {
    kept("early-media", &mut refused(Habit::Early(seconds(2)), seconds(4)));
}

#[test]
fn the_called_phone_makes_the_offer() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call_with(now, "102", ""));
    world.run_for(seconds(4));
    kept("late-offer", &mut world);
}

#[test]
fn a_company_has_no_more_calls_than_it_may() {
    let mut alpha = company(1, ALPHA);
    alpha.directory.limits = Limits { max_calls: Some(1), max_call_for: Some(seconds(5)) };
    let mut world = World::new(vec![alpha]);
    for (name, number) in [("alice", "101"), ("bob", "102"), ("carol", "103")] {
        world.registered(name, ALPHA, number);
    }
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(3));
    world.take_ladder();
    // One more is refused, and the first one ends when it has lasted long enough.
    world.tell("carol", |phone, now| phone.call(now, "101"));
    world.run_for(seconds(6));
    kept("limits", &mut world);
}

#[test]
fn a_wrong_password_is_asked_for_again() {
    let mut world = World::new(vec![company(1, ALPHA)]);
    let now = world.now;
    world.phone("thief", ALPHA, "101").account_mut().password = "guess".to_owned();
    for _ in 0..7 {
        world.tell("thief", |phone, now| phone.register(now, 600));
        world.run_for(seconds(1));
    }
    assert_eq!(world.now - now, seconds(7));
    kept("wrong-password", &mut world);
}

#[test]
fn two_phones_send_a_call_to_each_other() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "bob", Habit::Forward(format!("sip:103@{ALPHA}")));
    habit(&mut world, "carol", Habit::Forward(format!("sip:102@{ALPHA}")));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    kept("loop", &mut world);
}

#[test]
fn a_carrier_that_nobody_configured_calls() {
    let mut world = office();
    world.carrier("carrier");
    let call =
        Brought { from: "+43555", asserted: "+43555", to: "101", host: ALPHA, offer: Offer::Early };
    world.tell("carrier", |phone, now| phone.bring(now, &call));
    world.run_for(seconds(1));
    kept("carrier", &mut world);
}

#[test]
fn a_call_that_ended_just_before_a_kill_is_ended_once_more() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
    world.take_ladder();
    world.closing = Closing::TooLate;
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    world.restart();
    world.run_for(seconds(1));
    kept("ended-before-kill", &mut world);
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
