//! Call flows of calls that last: refreshes, keepalives, ringing that must arrive.

use kit::sim::{Habit, Power, Rings, World};
use pbx::sip::method::Method;
use pbx::sip::name::Name;

use super::{habit, kept, office, seconds};

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
