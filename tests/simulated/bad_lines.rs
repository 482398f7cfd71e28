//! Bad lines: what is lost, doubled and late leaves nothing behind once the timers have run out.

use std::time::Duration;

use kit::sim::{Habit, State, World, company};
use pbx::record::Ending;

const ALPHA: &str = "alpha.example";
const SEEDS: u64 = 300;

/// A call over a line that loses up to 30 of 100 messages; `seed` decides which, and who hangs up.
fn play(seed: u64) -> World {
    let mut world = World::new(vec![company(1, ALPHA), company(2, "beta.example")]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.registered("kitchen", ALPHA, "102");
    if let Some(phone) = world.phones.get_mut("kitchen") {
        phone.habit = if seed.is_multiple_of(3) { Habit::Silent } else { Habit::Ring };
    }
    world.network = kit::sim::Network::new(seed);
    world.network.loss_percent = seed % 31;
    world.network.double_percent = seed % 20;
    world.network.jitter = Duration::from_millis(seed % 400);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_millis(seed * 37 % 9_000));
    let who = if seed.is_multiple_of(2) { "alice" } else { "bob" };
    if seed.is_multiple_of(5) {
        world.tell("bob", |phone, now| {
            if phone.state == State::Talking {
                phone.hold(now, "sendonly");
            }
        });
        world.run_for(Duration::from_secs(1));
    }
    world.tell(who, |phone, now| phone.hang_up(now));
    // Both try again until they are heard: nobody stays in a call for ever.
    for _ in 0..30 {
        world.run_for(Duration::from_secs(10));
        for name in ["alice", "bob"] {
            world.tell(name, |phone, now| {
                if phone.state == State::Talking {
                    phone.hang_up(now);
                }
            });
        }
    }
    world
}

#[test]
fn nothing_is_left_after_a_call_over_a_bad_line() {
    let mut answered = 0;
    for seed in 0..SEEDS {
        let world = play(seed);
        assert!(world.sides.is_empty(), "seed {seed}: sound is left open");
        assert!(world.live.is_empty(), "seed {seed}: facts are left");
        world.finish();
        let load = world.load();
        assert_eq!((load.calls, load.transactions), (0, 0), "seed {seed}");
        assert!(world.calls.len() <= 1, "seed {seed}: more records than calls");
        for call in &world.calls {
            assert_ne!(call.ending, Ending::ServerFailed, "seed {seed}");
            assert!(call.ended_at >= call.began_at && !call.story.is_empty(), "seed {seed}");
            answered += usize::from(call.answered_at.is_some());
        }
    }
    assert!(answered > 20, "only {answered} calls were answered: the test shows little");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let said = |seed| play(seed).take_ladder();
    assert_eq!(said(17), said(17));
    assert_ne!(said(17), said(18));
}
