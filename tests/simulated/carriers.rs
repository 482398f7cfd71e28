//! Carriers that nobody configured, and gateways that register like a phone.
//!
//! Until a company has trunks, a carrier is a stranger: it reaches nobody, whatever it claims.

use std::time::Duration;

use kit::sim::{Brought, CARRIER, Habit, Offer, Phone, State, World, company};
use pbx::edge::UnknownDomain;
use pbx::moment::Moment;
use pbx::record::Ending;

const ALPHA: &str = "alpha.example";
const SOMEBODY: &str = "+4315551234";
const PUBLIC: &str = "+431101";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.carrier("carrier");
    world
}

/// Nobody was called, nothing was remembered, and no sound was opened.
fn assert_unnoticed(world: &mut World) {
    for name in ["alice", "bob"] {
        assert_eq!(world.phones[name].state, State::Idle, "{name}");
        assert!(world.phones[name].last_request.is_none(), "{name} was asked something");
    }
    assert!(world.calls.is_empty() && world.live.is_empty() && world.sides.is_empty());
    assert!(world.boards.values().all(|board| board.calls.is_empty()));
    assert_eq!(world.load().calls, 0);
    world.finish();
}

fn brings(host: &str) -> impl FnOnce(&mut Phone, Moment) {
    let call =
        Brought { from: SOMEBODY, asserted: SOMEBODY, to: PUBLIC, host, offer: Offer::Early };
    move |phone, now| phone.bring(now, &call)
}

#[test]
fn a_carrier_that_nobody_configured_hears_nothing_and_reaches_nobody() {
    let mut world = office();
    let host = world.host();
    world.tell("carrier", brings(&host));
    world.run_for(Duration::from_secs(40));
    let said = world.take_ladder();
    assert!(said.contains("carrier -> pbx") && !said.contains("pbx -> carrier"), "{said}");
    assert_eq!(world.phones["carrier"].state, State::Ended(408), "it gave up by itself");
    assert_unnoticed(&mut world);
}

#[test]
fn a_carrier_that_nobody_configured_is_refused_where_strangers_are_answered() {
    let mut world = office();
    world.treat_strangers(UnknownDomain::Refuse);
    let host = world.host();
    world.tell("carrier", brings(&host));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["carrier"].state, State::Ended(404));
    assert_unnoticed(&mut world);
}

#[test]
fn a_carrier_that_names_a_company_is_asked_for_a_password_it_does_not_have() {
    let mut world = office();
    world.tell("carrier", brings(ALPHA));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["carrier"].state, State::Ended(407));
    assert_unnoticed(&mut world);
}

#[test]
fn a_carrier_that_claims_to_be_of_the_company_is_asked_for_a_password() {
    let mut world = office();
    let host = world.host();
    world.phones.get_mut("carrier").unwrap().account_mut().domain = ALPHA.to_owned();
    world.tell("carrier", brings(&host));
    world.run_for(Duration::from_secs(40));
    // Its path has no registration of the company, so that its From is not believed.
    assert_eq!(world.phones["carrier"].state, State::Ended(408));
    assert_unnoticed(&mut world);
}

#[test]
fn a_carriers_pings_are_answered_at_our_address_and_for_a_company_and_nowhere_else() {
    let mut world = office();
    let host = world.host();
    for (host, status) in [(host.as_str(), Some(200)), (ALPHA, Some(200)), (CARRIER, None)] {
        world.tell("carrier", |phone, now| phone.ping(now, host));
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.phones["carrier"].pinged, status, "{host}");
    }
    assert_unnoticed(&mut world);
}

#[test]
fn a_gateway_answers_over_its_registration_as_carriers_do() {
    let mut world = office();
    world.registered("gateway", ALPHA, "103");
    world.phones.get_mut("gateway").unwrap().habit = Habit::Early(Duration::from_secs(3));
    world.tell("alice", |phone, now| phone.call(now, "103"));
    world.run_for(Duration::from_secs(1));
    assert!(world.take_ladder().contains("pbx -> alice       183 INVITE"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["gateway"].state, State::Talking);
    // A carrier changes a call whenever it likes.
    world.tell("gateway", |phone, now| phone.hold(now, "inactive"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].hears, "inactive");
    world.tell("gateway", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].hears, "sendrecv");
    world.tell("gateway", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
    world.finish();
}

#[test]
fn a_gateways_sound_before_the_answer_is_no_offer_to_who_made_none() {
    let mut world = office();
    world.registered("gateway", ALPHA, "103");
    world.phones.get_mut("gateway").unwrap().habit = Habit::Early(Duration::from_secs(3));
    world.tell("alice", |phone, now| phone.call_with(now, "103", ""));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["gateway"].hears, "sendrecv", "the answer came in the ACK");
    world.tell("gateway", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
    world.finish();
}

#[test]
fn a_gateways_refusals_come_out_as_the_caller_should_hear_them() {
    for (refusal, heard, ending) in [
        (404, 480, Ending::Unreachable),
        (486, 486, Ending::Busy),
        (500, 480, Ending::Unreachable),
        (503, 480, Ending::Unreachable),
        (600, 486, Ending::Busy),
        (603, 603, Ending::Declined),
    ] {
        let mut world = office();
        world.registered("gateway", ALPHA, "103");
        world.phones.get_mut("gateway").unwrap().habit = Habit::Refuse(refusal);
        world.tell("alice", |phone, now| phone.call(now, "103"));
        world.run_for(Duration::from_secs(60));
        let found = (world.phones["alice"].state, world.calls[0].ending);
        assert_eq!(found, (State::Ended(heard), ending), "{refusal}");
        world.finish();
    }
}

#[test]
fn a_gateway_brings_calls_only_in_its_own_name() {
    let mut world = office();
    world.registered("gateway", ALPHA, "103");
    let call =
        Brought { from: SOMEBODY, asserted: SOMEBODY, to: "101", host: ALPHA, offer: Offer::Late };
    world.tell("gateway", |phone, now| phone.bring(now, &call));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["gateway"].state, State::Ended(403));
    assert_eq!(world.phones["alice"].state, State::Idle);

    // In its own name it may; what it asserts besides is believed of nobody but a trunk.
    let call = Brought { from: "103", ..call };
    world.tell("gateway", |phone, now| phone.bring(now, &call));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["gateway"].state, State::Talking);
    let invite = world.phones["alice"].last_request.clone().unwrap();
    assert!(!String::from_utf8_lossy(invite.bytes()).contains(SOMEBODY));
    world.tell("gateway", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.load().calls, 0);
    world.finish();
}
