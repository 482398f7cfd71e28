//! What a company or extension may not exceed.

use std::time::Duration;

use kit::sim::{Habit, State, World, company};
use pbx::record::Ending;
use pbx::tenant::directory::Limits;

const ALPHA: &str = "alpha.example";

fn office(whole: Limits, of_102: Limits) -> World {
    let mut alpha = company(1, ALPHA);
    alpha.directory.limits = whole;
    let user = alpha.user("102").expect("there is a 102");
    alpha.directory.users.get_mut(&user).expect("there is a 102").limits = of_102;
    let mut world = World::new(vec![alpha, company(2, "beta.example")]);
    for (name, number) in [("alice", "101"), ("bob", "102"), ("carol", "103")] {
        world.registered(name, ALPHA, number);
    }
    world
}

#[test]
fn a_call_ends_for_both_when_it_lasts_too_long_and_the_lowest_limit_wins() {
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let whole = Limits { max_calls: None, max_call_for: minutes(10) };
    let mut world = office(whole, Limits { max_calls: None, max_call_for: minutes(2) });
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(110));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    assert_eq!(world.phones["bob"].state, State::Ended(200));
    assert_eq!(world.calls[0].ending, Ending::TooLong);
    world.finish();
}

#[test]
fn a_company_at_its_limit_hears_busy_and_is_free_again_afterwards() {
    let mut world = office(Limits { max_calls: Some(1), max_call_for: None }, Limits::default());
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    world.tell("carol", |phone, now| phone.call(now, "101"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["carol"].state, State::Ended(486));
    assert_eq!(world.calls[0].ending, Ending::LimitReached);
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(1));
    world.tell("carol", |phone, now| phone.call(now, "101"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["carol"].state, State::Talking);
    world.finish();
}

#[test]
fn an_extension_at_its_limit_is_busy_for_others() {
    let mut world = office(Limits::default(), Limits { max_calls: Some(1), max_call_for: None });
    if let Some(bob) = world.phones.get_mut("bob") {
        bob.habit = Habit::Ring;
    }
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(2));
    world.tell("carol", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["carol"].state, State::Ended(486));
    assert_eq!(world.phones["alice"].state, State::Calling, "the first call rings on");
    world.finish();
}
