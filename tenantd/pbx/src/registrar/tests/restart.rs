//! What is known again after a restart.

use super::*;

fn stored(world: &mut World, number: u128, ask: &Ask<'_>) -> Binding {
    added(&world.register(number, ask).unwrap()).clone()
}

fn restarted(world: &mut World, rows: Vec<Binding>) -> Vec<Change> {
    world.registrar = Registrar::default();
    world.registrar.restore(world.now, &directory(), rows, |_| false)
}

#[test]
fn phones_are_reachable_at_once_after_a_restart() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 5, "sip:101@h"));
    world.wait(600);
    assert!(restarted(&mut world, vec![row]).is_empty());
    assert_eq!(world.listed(101), ["<sip:101@h>;expires=3000"]);
    assert!(world.registrar.knows_source(HOME.parse().unwrap()));
    assert_eq!(world.register(101, &phone("a", 4, "sip:101@h")), Err(Refusal::OutOfOrder));
    let refresh = world.register(101, &phone("a", 6, "sip:101@h")).unwrap();
    assert_eq!(kinds(&refresh.changes), ["refreshed"]);
}

#[test]
fn an_expired_binding_is_doubtful_until_its_horizon() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
    world.wait(3_700);
    assert!(restarted(&mut world, vec![row.clone()]).is_empty());
    assert!(world.reachable(101).is_empty());
    assert_eq!(world.registrar.doubtful().count(), 1);
    assert_eq!(world.registrar.deadline(), Some(row.horizon));
    world.now = row.horizon;
    assert_eq!(kinds(&world.registrar.handle_deadline(world.now)), ["expired"]);
}

#[test]
fn a_doubtful_phone_that_answers_its_probe_is_reachable_again() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
    world.wait(3_700);
    let _ = restarted(&mut world, vec![row.clone()]);
    let confirmed = world.registrar.confirm(user(101), row.id).unwrap();
    assert_eq!(confirmed.expires_at, row.horizon);
    assert_eq!(world.reachable(101), ["sip:101@h"]);
    assert!(world.registrar.confirm(user(101), row.id).is_none(), "only once");
    assert!(world.registrar.give_up(user(101), row.id).is_none(), "and it stays");
}

#[test]
fn a_doubtful_phone_that_is_silent_is_removed() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
    world.wait(3_700);
    let _ = restarted(&mut world, vec![row.clone()]);
    let gone = world.registrar.give_up(user(101), row.id).unwrap();
    assert_eq!(kinds(&[gone]), ["expired"]);
    assert!(world.registrar.is_empty());
}

#[test]
fn a_doubtful_phone_that_registers_needs_no_probe() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 9, "sip:101@h"));
    world.wait(3_700);
    let _ = restarted(&mut world, vec![row.clone()]);
    let outcome = world.register(101, &phone("a", 3, "sip:101@h")).unwrap();
    assert_eq!(kinds(&outcome.changes), ["prolonged"]);
    assert_eq!(world.registrar.doubtful().count(), 0);
    assert!(world.registrar.give_up(user(101), row.id).is_none());
    assert_eq!(world.reachable(101), ["sip:101@h"]);
}

#[test]
fn a_new_phone_replaces_a_doubtful_one_before_an_old_one() {
    let mut world = World::new();
    let short = for_seconds(60, from(OFFICE, phone("b", 1, "sip:102@b")));
    let old = stored(&mut world, 102, &phone("a", 1, "sip:102@a"));
    let doubtful = stored(&mut world, 102, &short);
    world.wait(120);
    let _ = restarted(&mut world, vec![doubtful, old]);
    let new = from("203.0.113.77:5060", phone("c", 1, "sip:102@c"));
    let outcome = world.register(102, &new).unwrap();
    let replaced: Vec<&str> = outcome.replaced().map(|old| old.contact.as_str()).collect();
    assert_eq!(replaced, ["sip:102@b"]);
    assert_eq!(world.reachable(102), ["sip:102@c", "sip:102@a"]);
}

#[test]
fn rows_of_no_use_are_told_to_be_removed() {
    let mut world = World::new();
    let row = stored(&mut world, 101, &phone("a", 1, "sip:101@h"));
    let stranger = Binding { user: UserId(uuid::Uuid::from_u128(9)), ..row.clone() };
    world.now = row.horizon;
    let gone = restarted(&mut world, vec![row, stranger]);
    assert_eq!(kinds(&gone), ["expired", "user removed"]);
    assert!(world.registrar.is_empty());
}

#[test]
fn the_age_of_phones_is_remembered() {
    let mut world = World::new();
    let first = stored(&mut world, 102, &phone("a", 1, "sip:102@a"));
    world.wait(1);
    let second = stored(&mut world, 102, &from(OFFICE, phone("b", 1, "sip:102@b")));
    let _ = restarted(&mut world, vec![second, first]);
    assert_eq!(world.reachable(102), ["sip:102@b", "sip:102@a"]);
}
