//! Calls between phones of one company, and of two.

use std::time::Duration;

use kit::sim::{Habit, State, World, company};
use pbx::record::Ending;

const ALPHA: &str = "alpha.example";

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA), company(2, "beta.example")]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world
}

#[test]
fn a_call_is_answered_and_hung_up_by_either_side() {
    for who in ["alice", "bob"] {
        let mut world = office();
        world.tell("alice", |phone, now| phone.call(now, "102"));
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.phones["alice"].state, State::Talking);
        assert_eq!(world.phones["bob"].state, State::Talking);
        world.tell(who, |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_secs(60));
        assert_eq!(world.phones["alice"].state, State::Ended(200));
        assert_eq!(world.phones["bob"].state, State::Ended(200));
        let ending = if who == "alice" { Ending::CallerHungUp } else { Ending::CalleeHungUp };
        assert_eq!(world.calls.len(), 1);
        assert_eq!(world.calls[0].ending, ending);
        assert!(world.sides.is_empty() && world.live.is_empty());
        assert_eq!(world.load().calls, 0);
        assert_eq!(world.load().transactions, 0);
    }
}

#[test]
fn the_first_phone_that_answers_wins_and_the_other_is_told_why() {
    let mut world = office();
    world.registered("kitchen", ALPHA, "102");
    world.phones.get_mut("kitchen").unwrap().habit = Habit::Answer(Duration::from_secs(1));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["kitchen"].state, State::Talking);
    assert_eq!(world.phones["bob"].state, State::Ended(487));
    let ladder = world.take_ladder();
    assert!(ladder.contains("Call completed elsewhere"), "{ladder}");
}
