//! Phones that register, move, and come back after a restart.

use std::time::Duration;

use kit::sim::{State, World, company};
use pbx::input::{Input, Storage};

const ALPHA: &str = "alpha.example";

fn world() -> World {
    World::new(vec![company(1, ALPHA), company(2, "beta.example")])
}

#[test]
fn a_register_is_answered_once_it_is_committed() {
    let mut world = world();
    world.commit_after = Some(Duration::from_millis(100));
    let now = world.now;
    world.phone("alice", ALPHA, "101").register(now, 600);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.phones["alice"].registered, Some(401), "not before the commit");
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.phones["alice"].registered, Some(200));
    assert_eq!(world.bindings.len(), 1);
    world.finish();
}

#[test]
fn a_slow_commit_costs_the_phone_no_more_than_300_ms() {
    let mut world = world();
    world.commit_after = Some(Duration::from_secs(20));
    let now = world.now;
    world.phone("alice", ALPHA, "101").register(now, 3_600);
    world.run_for(Duration::from_millis(400));
    assert_eq!(world.phones["alice"].registered, Some(200));
    let answered = world.take_ladder();
    assert!(answered.contains("200 REGISTER"), "{answered}");
    world.finish();
}

#[test]
fn with_postgres_away_phones_register_all_the_same() {
    let mut world = world();
    world.commit_after = None;
    world.input(|| Input::Storage(Storage::Away));
    let now = world.now;
    world.phone("alice", ALPHA, "101").register(now, 3_600);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.phones["alice"].registered, Some(200));
    world.run_for(Duration::from_secs(61));
    assert_eq!(world.load().bindings, 0, "for a minute only");
    world.finish();
}

#[test]
fn a_wrong_password_never_registers_and_is_slowed_down() {
    let mut world = world();
    let now = world.now;
    world.phone("thief", ALPHA, "101").account_mut().password = "guess".to_owned();
    for _ in 0..8 {
        world.tell("thief", |phone, now| phone.register(now, 600));
        world.run_for(Duration::from_secs(1));
    }
    assert_eq!(world.phones["thief"].registered, Some(401));
    assert_eq!(world.load().bindings, 0);
    let slowed =
        world.notes.iter().any(|note| matches!(note.event, pbx::story::Event::SlowedDown { .. }));
    assert!(slowed, "after {:?}", world.now - now);
    world.finish();
}

#[test]
fn a_registration_that_is_not_refreshed_vanishes() {
    let mut world = world();
    let now = world.now;
    world.phone("alice", ALPHA, "101").register(now, 120);
    world.run_for(Duration::from_secs(119));
    assert_eq!(world.load().bindings, 1);
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.load().bindings, 0);
    assert!(world.bindings.is_empty(), "in the database, too");
    world.finish();
}

#[test]
fn a_phone_that_leaves_is_gone_at_once() {
    let mut world = world();
    world.registered("alice", ALPHA, "101");
    world.tell("alice", |phone, now| phone.register(now, 0));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.load().bindings, 0);
    assert_eq!(world.phones["alice"].contacts, 0);
    world.finish();
}

#[test]
fn after_a_restart_a_call_arrives_without_a_new_register() {
    let mut world = world();
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.restart();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.finish();
}

#[test]
fn strangers_and_unknown_domains_hear_nothing() {
    let mut world = world();
    let stranger = "198.51.100.9:5060".parse().expect("an address");
    let scan = "REGISTER sip:nobody.example SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKx\r\n\
        From: <sip:1@nobody.example>;tag=1\r\nTo: <sip:1@nobody.example>\r\nCall-ID: x\r\n\
        CSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    world.send_raw(stranger, scan.as_bytes());
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.take_ladder().trim(), "");
    world.send_raw(stranger, scan.replace("nobody.example", ALPHA).as_bytes());
    world.run_for(Duration::from_secs(2));
    assert!(world.take_ladder().contains("401 REGISTER"));
    world.finish();
}
