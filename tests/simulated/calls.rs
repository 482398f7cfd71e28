//! Calls between phones of one company, and of two.

use std::time::Duration;

use kit::sim::{Closing, Habit, State, World, company};
use pbx::input::Input;
use pbx::record::Ending;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";
const BETA: &str = "beta.example";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA), company(2, BETA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

fn habit(world: &mut World, name: &str, habit: Habit) {
    world.phones.get_mut(name).expect("a phone of this name").habit = habit;
}

fn talking() -> World {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Talking);
    world
}

/// After a call nothing is left: no sound, no facts, no transaction, no call, one record; and next
/// door nobody noticed.
fn assert_clean(world: &mut World, ending: Ending) {
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty(), "sound is left open");
    assert!(world.live.is_empty(), "facts are left");
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    let endings: Vec<Ending> = world.calls.iter().map(|call| call.ending).collect();
    assert_eq!(endings, [ending], "{}", world.take_ladder());
    world.finish();
}

#[test]
fn a_call_is_answered_and_hung_up_by_either_side() {
    for (who, ending) in [("alice", Ending::CallerHungUp), ("bob", Ending::CalleeHungUp)] {
        let mut world = talking();
        world.tell(who, |phone, now| phone.hang_up(now));
        assert_clean(&mut world, ending);
        assert_eq!(world.phones["alice"].state, State::Ended(200));
        assert_eq!(world.phones["bob"].state, State::Ended(200));
        let call = &world.calls[0];
        assert_eq!((call.caller.as_str(), call.dialled.as_str()), ("101", "102"));
        assert_eq!(call.legs.len(), 2);
        assert!(call.answered_at > call.rang_at);
        world.finish();
    }
}

#[test]
fn the_first_phone_that_answers_wins_and_the_other_is_told_why() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    habit(&mut world, "kitchen", Habit::Answer(Duration::from_secs(1)));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["kitchen"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    let ladder = world.take_ladder();
    assert!(ladder.contains("Call completed elsewhere"), "{ladder}");
    world.finish();
}

#[test]
fn refusals_come_out_as_the_caller_should_hear_them() {
    for (habits, status, ending) in [
        (Habit::Refuse(486), 486, Ending::Busy),
        (Habit::Refuse(603), 603, Ending::Declined),
        (Habit::Refuse(480), 480, Ending::NoAnswer),
        (Habit::Refuse(488), 488, Ending::NoCommonMedia),
        (Habit::Ring, 480, Ending::NoAnswer),
        (Habit::Silent, 480, Ending::Unreachable),
    ] {
        let mut world = office();
        habit(&mut world, "bob", habits.clone());
        world.tell("alice", |phone, now| phone.call(now, "102"));
        world.run_for(Duration::from_secs(90));
        assert_eq!(world.phones["alice"].state, State::Ended(status), "{habits:?}");
        assert_clean(&mut world, ending);
    }
}

#[test]
fn nobody_registered_and_nobody_there_are_told_apart() {
    for (number, status, ending) in
        [("103", 480, Ending::Unreachable), ("999", 404, Ending::NobodyThere)]
    {
        let mut world = office();
        world.tell("alice", |phone, now| phone.call(now, number));
        world.run_for(Duration::from_secs(2));
        assert_eq!(world.phones["alice"].state, State::Ended(status));
        assert_clean(&mut world, ending);
    }
}

#[test]
fn a_refusal_that_is_acknowledged_is_said_once() {
    let mut world = office();
    world.input(|| Input::Drain);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(40));
    let ladder = world.take_ladder();
    assert_eq!(ladder.matches("503 INVITE").count(), 1, "{ladder}");
    assert_eq!(world.load().transactions, 0);
}

#[test]
fn a_caller_who_gives_up_stops_every_phone() {
    let mut world = office();
    habit(&mut world, "bob", Habit::Ring);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Ended(487));
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    assert_clean(&mut world, Ending::Cancelled);
}

#[test]
fn who_declines_on_one_phone_declines_on_all_of_theirs() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    habit(&mut world, "kitchen", Habit::Ring);
    habit(&mut world, "bob", Habit::Refuse(603));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(603));
    assert_eq!(world.phones["kitchen"].state, State::Ended(487));
    assert_clean(&mut world, Ending::Declined);
}

#[test]
fn a_silent_phone_holds_up_nobody() {
    let mut world = office();
    world.registered("ghost", ALPHA, "102");
    habit(&mut world, "ghost", Habit::Silent);
    habit(&mut world, "bob", Habit::Refuse(486));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(6));
    assert_eq!(world.phones["alice"].state, State::Ended(486));
    assert_clean(&mut world, Ending::Busy);
}

#[test]
fn hold_and_resume_cross_to_the_other_phone() {
    for (holder, other) in [("alice", "bob"), ("bob", "alice")] {
        let mut world = talking();
        world.tell(holder, |phone, now| phone.hold(now, "sendonly"));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.phones[other].hears, "sendonly");
        assert_eq!(world.phones[holder].hears, "recvonly");
        world.tell(holder, |phone, now| phone.hold(now, "sendrecv"));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.phones[other].hears, "sendrecv");
        world.tell(holder, |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_secs(60));
        let told: Vec<&Event> = world.calls[0].story.iter().map(|told| &told.event).collect();
        assert!(told.iter().any(|event| matches!(event, Event::Held { .. })), "{told:?}");
        assert!(told.iter().any(|event| matches!(event, Event::Resumed { .. })), "{told:?}");
        world.finish();
    }
}

#[test]
fn two_holds_at_once_end_in_a_491_for_one_and_the_call_goes_on() {
    let mut world = talking();
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(3));
    let ladder = world.take_ladder();
    assert!(ladder.contains("491 INVITE"), "{ladder}");
    assert_eq!(world.load().calls, 1);
    world.tell("alice", |phone, now| phone.hang_up(now));
    assert_clean(&mut world, Ending::CallerHungUp);
}

#[test]
fn a_group_rings_everybody_but_the_caller() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "carol", Habit::Answer(Duration::from_secs(1)));
    world.tell("alice", |phone, now| phone.call(now, "600"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["carol"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    world.tell("carol", |phone, now| phone.hang_up(now));
    assert_clean(&mut world, Ending::CalleeHungUp);
}

#[test]
fn a_forward_by_the_phone_is_followed_and_a_loop_is_not() {
    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "bob", Habit::Forward(format!("sip:103@{ALPHA}")));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["carol"].state, State::Talking);
    world.finish();

    let mut world = office();
    world.registered("carol", ALPHA, "103");
    habit(&mut world, "bob", Habit::Forward(format!("sip:103@{ALPHA}")));
    habit(&mut world, "carol", Habit::Forward(format!("sip:102@{ALPHA}")));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert!(matches!(world.phones["alice"].state, State::Ended(480..)));
    assert_eq!(world.load().calls, 0);
    world.finish();
}

#[test]
fn early_sound_reaches_the_caller_before_the_answer() {
    let mut world = office();
    habit(&mut world, "bob", Habit::Early(Duration::from_secs(3)));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert!(world.take_ladder().contains("pbx -> alice       183 INVITE"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    world.tell("bob", |phone, now| phone.hang_up(now));
    assert_clean(&mut world, Ending::CalleeHungUp);
}

#[test]
fn a_call_without_an_offer_gets_one_from_the_called_phone() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call_with(now, "102", ""));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Talking);
    assert_eq!(world.phones["bob"].hears, "sendrecv", "the answer came in the ACK");
    world.tell("alice", |phone, now| phone.hang_up(now));
    assert_clean(&mut world, Ending::CallerHungUp);
}

#[test]
fn another_companys_public_number_rings_there_and_only_there() {
    let mut world = office();
    world.registered("berta", BETA, "101");
    world.registered("boris", BETA, "102");
    world.tell("alice", |phone, now| phone.call(now, "+432101"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.phones["berta"].state, State::Talking);
    assert_eq!(world.phones["boris"].state, State::Idle);
    let request = world.phones["berta"].last_request.clone();
    let from = request.expect("berta was called");
    assert_eq!(from.from().unwrap().uri().unwrap().user(), "+431101", "a carrier shows that");
    world.tell("berta", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls.len(), 2, "each company has its own record");
    assert_eq!(world.load().calls, 0);
    world.finish();
}

#[test]
fn two_companies_on_two_nodes_call_each_other_and_either_hangs_up() {
    for (who, other) in [("alice", "berta"), ("berta", "alice")] {
        let mut world = World::on(2, vec![company(1, ALPHA), company(2, BETA)]);
        world.registered("alice", ALPHA, "101");
        world.registered("berta", BETA, "101");
        assert_ne!(world.phones["alice"].switch(), world.phones["berta"].switch());
        world.tell("alice", |phone, now| phone.call(now, "+432101"));
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.phones["berta"].state, State::Talking);
        world.tell(who, |phone, now| phone.hold(now, "sendonly"));
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.phones[other].hears, "sendonly");
        world.restart();
        world.tell(who, |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_secs(120));
        assert_eq!(world.phones[other].state, State::Ended(200));
        assert_eq!((world.load().calls, world.load().transactions), (0, 0));
        assert_eq!(world.calls.len(), 2);
        world.finish();
    }
}

#[test]
fn phones_that_write_the_same_branches_and_call_ids_stay_in_their_own_company() {
    let mut world = World::new(vec![company(1, ALPHA), company(2, BETA)]);
    world.phone("alice", ALPHA, "101");
    world.lookalike("berta", "alice", BETA);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.registered("boris", BETA, "102");
    habit(&mut world, "bob", Habit::Ring);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.tell("berta", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["berta"].state, State::Talking);
    assert_eq!(world.phones["boris"].state, State::Talking);
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(487));
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    assert_eq!(world.phones["boris"].state, State::Talking, "it was the other's CANCEL");
    world.tell("boris", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.phones["berta"].state, State::Ended(200));
    assert_eq!(world.calls.len(), 2);
    world.finish();
}

#[test]
fn the_other_company_cannot_be_dialled_by_extension() {
    let mut world = office();
    world.registered("berta", BETA, "103");
    world.tell("alice", |phone, now| phone.call(now, "103"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["alice"].state, State::Ended(480));
    assert_eq!(world.phones["berta"].state, State::Idle);
    world.finish();
}

#[test]
fn a_caller_who_never_acknowledges_is_hung_up_and_so_is_the_other() {
    let mut world = office();
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_millis(2_050));
    world.network.loss_percent = 100;
    world.run_for(Duration::from_secs(40));
    world.network.loss_percent = 0;
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.load().calls, 0);
    assert!(world.sides.is_empty());
    world.finish();
}

#[test]
fn a_drain_refuses_new_calls_and_lets_the_others_end() {
    let mut world = talking();
    world.registered("carol", ALPHA, "103");
    world.input(|| Input::Drain);
    world.tell("carol", |phone, now| phone.call(now, "101"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["carol"].state, State::Ended(503));
    assert_eq!(world.load().calls, 1);
    world.input(|| Input::HangUp);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    assert_clean(&mut world, Ending::ServerStopped);
}

#[test]
fn a_call_outlives_the_process_in_every_stable_state_of_it() {
    for held in [false, true] {
        for (who, ending) in [("alice", Ending::CallerHungUp), ("bob", Ending::CalleeHungUp)] {
            let mut world = talking();
            if held {
                world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
                world.run_for(Duration::from_secs(1));
            }
            world.restart();
            world.run_for(Duration::from_secs(10));
            world.tell("alice", |phone, now| phone.hold(now, "inactive"));
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.phones["bob"].hears, "inactive");
            let asked = world.phones["bob"].last_request.clone().expect("bob was asked");
            assert!(asked.cseq().unwrap().number > 1_000, "no number that may have been used");
            world.tell("bob", |phone, now| phone.hold(now, "sendrecv"));
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.phones["alice"].hears, "sendrecv");
            world.tell(who, |phone, now| phone.hang_up(now));
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.phones["alice"].state, State::Ended(200));
            assert_eq!(world.phones["bob"].state, State::Ended(200));
            assert_clean(&mut world, ending);
        }
    }
}

#[test]
fn a_call_that_ended_just_before_a_kill_stays_ended_and_is_recorded() {
    for heard in [true, false] {
        let mut world = talking();
        world.closing = Closing::TooLate;
        let alice = world.phones["alice"].address;
        world.network.vanished.extend((!heard).then_some(alice));
        world.tell("bob", |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_millis(100));
        assert!(world.calls.is_empty(), "the record waits for the sound");
        world.restart();
        world.closing = Closing::AtOnce;
        world.network.vanished.clear();
        world.run_for(Duration::from_secs(10));
        assert_eq!(world.phones["alice"].state, State::Ended(200), "told again");
        assert!(world.now - world.calls[0].ended_at > Duration::from_secs(9));
        assert_clean(&mut world, Ending::CalleeHungUp);
    }
}
