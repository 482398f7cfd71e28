//! Phones behind routers are found, and stay found.

use std::net::SocketAddr;
use std::time::Duration;

use kit::sim::{Habit, Router, State, World, company};
use pbx::board::Trouble;
use pbx::flow::Advertised;
use pbx::id::NodeId;
use pbx::input::Input;
use pbx::sip::name::Name;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";
const ROUTER: &str = "198.51.100.7:40000";

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// Alice in the open, and Bob behind a router that remembers for so long.
fn office(remembers_for: u64) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    let router = Router::new(outside(), seconds(remembers_for));
    world.routers.insert("bob".to_owned(), router);
    world.registered("bob", ALPHA, "102");
    world
}

fn outside() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 40_000))
}

fn router(world: &mut World) -> &mut Router {
    world.routers.get_mut("bob").expect("bob has one")
}

fn alice_calls_bob(world: &mut World) {
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(seconds(4));
}

fn asked(world: &mut World) -> usize {
    world
        .take_ladder()
        .lines()
        .filter(|line| line.starts_with("pbx -> bob") && line.contains("OPTIONS"))
        .count()
}

fn trouble(world: &World) -> Option<Trouble> {
    let board = &world.boards[&world.tenants()[0]];
    let bob = board.phones.values().find(|phone| &*phone.extension == "102");
    bob.expect("bob is on the board").trouble
}

fn told(world: &World, is: impl Fn(&Event) -> bool) -> usize {
    world.notes.iter().filter(|note| is(&note.event)).count()
}

#[test]
fn a_phone_rings_though_its_router_forgets_within_12_seconds() {
    let mut world = office(12);
    for _ in 0..5 {
        world.run_for(seconds(55));
        assert!(world.routers["bob"].is_open(world.now));
    }
    alice_calls_bob(&mut world);
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(2));
    assert_eq!(world.phones["bob"].state, State::Ended(200));
}

#[test]
fn without_being_asked_it_would_not() {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    // A phone in the open is not asked, and so its router would forget it.
    let open = Router::new(SocketAddr::from(([192, 0, 2, 11], 5060)), seconds(12));
    world.routers.insert("bob".to_owned(), open);
    world.registered("bob", ALPHA, "102");
    world.run_for(seconds(55));
    alice_calls_bob(&mut world);
    assert_ne!(world.phones["bob"].state, State::Talking);
}

#[test]
fn bad_lines_do_not_close_the_way() {
    let mut world = office(12);
    world.network.loss_percent = 5;
    let mut closed = 0;
    for _ in 0..1_000 {
        world.run_for(seconds(1));
        closed += u32::from(!world.routers["bob"].is_open(world.now));
        if world.now.as_secs().is_multiple_of(200) {
            world.tell("bob", |phone, now| phone.register(now, 300));
        }
    }
    assert!(closed < 100, "closed for {closed} s of 1000");
}

#[test]
fn a_phone_in_the_open_is_left_alone() {
    let mut world = office(60);
    world.run_for(seconds(1_000));
    let said = world.take_ladder();
    assert!(!said.contains("pbx -> alice"), "{said}");
}

#[test]
fn a_phone_that_keeps_its_way_open_is_left_alone() {
    let mut world = office(30);
    world.run_for(seconds(20));
    assert!(asked(&mut world) >= 1, "it must have answered once");
    for _ in 0..10 {
        let now = world.now;
        router(&mut world).pass_out(now);
        world.send_raw(outside(), b"\r\n\r\n");
        world.run_for(seconds(20));
    }
    assert!(asked(&mut world) <= 1);
    world.run_for(seconds(60));
    assert!(asked(&mut world) >= 1, "it has stopped");
}

#[test]
fn a_dead_way_is_noticed_told_shown_and_not_called() {
    let mut world = office(60);
    world.run_for(seconds(30));
    assert_eq!(trouble(&world), None);
    router(&mut world).restart();
    world.run_for(seconds(35));
    assert_eq!(trouble(&world), Some(Trouble::NotAnswering));
    let silent = |event: &Event| {
        matches!(event, Event::NotAnswering { number, from }
        if number == "102" && from == ROUTER)
    };
    assert_eq!(told(&world, silent), 1);
    world.take_ladder();
    alice_calls_bob(&mut world);
    let said = world.take_ladder();
    assert!(said.contains("pbx -> alice       480"), "{said}");

    world.tell("bob", |phone, now| phone.register(now, 300));
    world.run_for(seconds(1));
    assert_eq!(trouble(&world), None);
    alice_calls_bob(&mut world);
    assert_eq!(world.phones["bob"].state, State::Talking);
}

#[test]
fn a_phone_that_was_away_for_a_while_is_called_as_soon_as_it_answers() {
    let mut world = office(100_000);
    world.run_for(seconds(30));
    world.network.loss_percent = 100;
    world.run_for(seconds(60));
    assert_eq!(trouble(&world), Some(Trouble::NotAnswering));
    world.network.loss_percent = 0;
    world.run_for(seconds(31));
    assert_eq!(trouble(&world), None);
    assert_eq!(told(&world, |event| matches!(event, Event::AnsweringAgain { .. })), 1);
    alice_calls_bob(&mut world);
    assert_eq!(world.phones["bob"].state, State::Talking);
}

#[test]
fn a_router_grants_five_minutes_and_is_kept_open_after_a_restart_of_ours() {
    let mut world = office(12);
    let bob = world.bindings.values().find(|binding| binding.path.peer.to_string() == ROUTER);
    let left = bob.unwrap().expires_at - world.now;
    assert!(left <= seconds(300) && left > seconds(290), "{left:?}");
    world.run_for(seconds(5));
    world.restart();
    world.run_for(seconds(60));
    alice_calls_bob(&mut world);
    assert_eq!(world.phones["bob"].state, State::Talking);
}

#[test]
fn a_call_goes_on_where_its_phone_has_gone() {
    let mut world = office(60);
    alice_calls_bob(&mut world);
    // A new port for the old phone, which it does not know of; its next REGISTER comes from there.
    router(&mut world).restart();
    world.tell("bob", |phone, now| phone.register(now, 300));
    world.run_for(seconds(1));
    assert_eq!(router(&mut world).outside.port(), 40_001);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(seconds(1));
    assert_eq!(world.phones["bob"].hears, "sendonly");
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    assert_eq!(world.phones["bob"].state, State::Ended(200));
    assert_eq!(world.bindings.len(), 2, "it moved, and left no ghost");
}

#[test]
fn requests_go_where_the_phone_comes_from_and_name_what_it_calls_itself() {
    let mut world = office(60);
    world.phones.get_mut("bob").unwrap().habit = Habit::Answer(seconds(1));
    alice_calls_bob(&mut world);
    let invite = world.phones["bob"].last_request.clone();
    let via = invite.as_ref().and_then(|request| request.first(Name::Via).map(str::to_owned));
    assert!(via.unwrap().ends_with(";rport"), "we ask for it, too");
    // It arrived: at the router's port. It names the phone's own address.
    assert!(invite.unwrap().target().starts_with("sip:102@192.0.2.11:5060"));
}

#[test]
fn a_new_public_address_is_told_with_the_next_call_or_description_and_not_before() {
    let mut world = office(60);
    alice_calls_bob(&mut world);
    let moved = |last: u8| Advertised {
        external: vec![[198, 51, 100, last].into()],
        local_networks: vec![],
    };
    world.take_ladder();
    world.input(|| Input::Node { node: NodeId(1), boot: 1, sip: moved(8) });
    world.input(|| Input::SoundMoved(moved(9)));
    assert_eq!(world.take_ladder(), "\n", "nothing is said about it");
    let heard = |world: &World| {
        let request = world.phones["bob"].last_request.clone().expect("bob was asked something");
        let via = request.first(Name::Via).unwrap_or_default().to_owned();
        (via, String::from_utf8_lossy(&request.body()).into_owned())
    };
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    // Until Bob has heard the re-INVITE, and not yet its ACK.
    world.run_for(Duration::from_millis(25));
    let (via, described) = heard(&world);
    world.run_for(seconds(1));
    assert!(via.starts_with("SIP/2.0/UDP 198.51.100.8:5060;"), "{via}");
    assert!(described.contains("c=IN IP4 198.51.100.9\r\n"), "{described}");
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(seconds(1));
    assert_eq!(world.phones["bob"].state, State::Ended(200), "the call outlived it");
}
