//! Conferences: who gets in, how, and what becomes of it.

use std::time::Duration;

use kit::sim::{Habit, State, World, company};
use pbx::media::{Cue, Part, Side};
use pbx::record::Ending;
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";
const BETA: &str = "beta.example";
const SECOND: Duration = Duration::from_secs(1);

fn office() -> World {
    let mut world = World::new(vec![company(1, ALPHA), company(2, BETA)]);
    for (name, number) in [("alice", "101"), ("bob", "102"), ("carol", "103")] {
        world.registered(name, ALPHA, number);
    }
    world
}

fn call(world: &mut World, name: &str, number: &str) {
    world.tell(name, |phone, now| phone.call(now, number));
    world.run_for(SECOND);
}

fn hang_up(world: &mut World, name: &str) {
    world.tell(name, |phone, now| phone.hang_up(now));
    world.run_for(SECOND);
}

fn is_told(world: &World, event: &Event) -> bool {
    world.notes.iter().any(|note| note.event == *event)
}

fn number(number: &str) -> String {
    number.to_owned()
}

fn cues(world: &mut World) -> Vec<Cue> {
    world.cues.drain(..).map(|(_, cue)| cue).collect()
}

/// Nothing is left of anything.
fn assert_over(world: &mut World) {
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty() && world.live.is_empty());
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    assert!(world.boards.values().all(|board| board.calls.is_empty()));
    world.finish();
}

#[test]
fn all_who_call_it_sit_in_one_session_until_the_last_has_left() {
    let mut world = office();
    for (name, members) in [("alice", 0), ("bob", 1), ("carol", 2)] {
        call(&mut world, name, "800");
        assert_eq!(world.phones[name].state, State::Talking);
        assert!(is_told(&world, &Event::DialledConference { number: number("800"), members }));
    }
    let sessions: Vec<Side> = world.sides.keys().copied().collect();
    assert!(sessions.iter().all(|side| side.call == sessions[0].call), "{sessions:?}");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Speaks), (2, Part::Speaks)]);
    let board = world.boards.values().next().expect("a board").calls.clone();
    assert_eq!(board.len(), 3);
    assert!(board.values().all(|call| call.answered_by == "800"));

    hang_up(&mut world, "bob");
    assert_eq!(world.parts(), [(0, Part::Speaks), (2, Part::Speaks)]);
    for name in ["alice", "carol"] {
        assert_eq!(world.phones[name].state, State::Talking);
        hang_up(&mut world, name);
    }
    assert_over(&mut world);
    assert_eq!(world.calls.len(), 3);
    for record in &world.calls {
        assert_eq!((record.ending, record.legs.len()), (Ending::CallerHungUp, 1));
        assert!(record.answered_at.is_some());
        let entered = Event::EnteredConference { number: number("800") };
        assert!(record.story.iter().any(|told| told.event == entered));
    }
    // The next one opens it anew.
    call(&mut world, "alice", "800");
    let session = world.sides.keys().next().expect("a side").call;
    assert_ne!(session, sessions[0].call);
}

#[test]
fn a_pin_lets_in_and_its_end_needs_no_key() {
    for keys in ["4711", "47*4711", "#4711#"] {
        let mut world = office();
        call(&mut world, "alice", "801");
        assert_eq!(world.phones["alice"].state, State::Talking);
        assert_eq!(world.parts(), [(0, Part::Waits)]);
        assert_eq!(cues(&mut world), [Cue::AskPin]);
        world.press_keys(0, keys);
        assert_eq!(world.parts(), [(0, Part::Speaks)], "{keys}");
        assert_eq!(cues(&mut world), []);
        hang_up(&mut world, "alice");
        assert_over(&mut world);
        let shown = format!("{:?} {:?} {:?}", world.calls, world.notes, world.live);
        assert!(!shown.contains("4711"), "nobody can read a PIN");
    }
}

#[test]
fn a_pin_may_come_by_messages() {
    let mut world = office();
    call(&mut world, "alice", "801");
    for key in "4711".chars() {
        world.tell("alice", |phone, now| {
            let kind = [(Name::ContentType, "application/dtmf-relay")];
            let body = format!("Signal={key}\r\nDuration=160\r\n");
            phone.ask_within(now, Method::Info, &kind, &body);
        });
        world.run_for(Duration::from_millis(200));
    }
    assert_eq!(world.parts(), [(0, Part::Speaks)]);
    assert_eq!(world.phones["alice"].answers, ["200 INFO"; 4]);
    assert!(world.pressed.is_empty());
}

#[test]
fn whoever_dials_three_wrong_pins_is_hung_up() {
    let mut world = office();
    call(&mut world, "bob", "801");
    world.press_keys(0, "4711");
    call(&mut world, "alice", "801");
    world.press_keys(1, "1234");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Waits)]);
    assert_eq!(cues(&mut world), [Cue::AskPin, Cue::AskPin, Cue::WrongPin]);
    world.press_keys(1, "47#");
    world.run_for(SECOND);
    assert_eq!(world.phones["alice"].state, State::Talking);
    world.press_keys(1, "9999");
    world.run_for(SECOND);
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    assert_eq!(world.phones["bob"].state, State::Talking);
    let record = world.calls.last().expect("a record");
    assert_eq!(record.ending, Ending::Forbidden);
    let wrong = Event::PinWrong { number: number("801") };
    assert_eq!(record.story.iter().filter(|told| told.event == wrong).count(), 3);
    hang_up(&mut world, "bob");
    assert_over(&mut world);
}

#[test]
fn whoever_dials_nothing_is_asked_again_and_then_hung_up() {
    let mut world = office();
    call(&mut world, "alice", "801");
    world.run_for(Duration::from_secs(10));
    world.press_keys(0, "47");
    world.run_for(Duration::from_secs(10));
    assert_eq!(cues(&mut world), [Cue::AskPin], "each key gives time");
    world.run_for(Duration::from_secs(6));
    assert_eq!(cues(&mut world), [Cue::WrongPin]);
    world.press_keys(0, "11");
    assert_eq!(world.parts(), [(0, Part::Waits)], "what was begun is forgotten");
    world.run_for(Duration::from_secs(32));
    assert_eq!(world.phones["alice"].state, State::Ended(200));
    assert_over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::Forbidden);
}

#[test]
fn a_member_mutes_itself_and_is_heard_again() {
    let mut world = office();
    call(&mut world, "alice", "800");
    call(&mut world, "bob", "800");
    world.press_keys(1, "6*56");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Speaks)]);
    world.press_keys(1, "*6");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Listens)]);
    assert!(is_told(&world, &Event::Muted { number: number("102") }));
    // A restart forgets nothing of it.
    world.restart();
    world.run_for(SECOND);
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Listens)]);
    world.press_keys(1, "**6");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Speaks)]);
    assert_eq!(cues(&mut world), [Cue::Muted, Cue::Unmuted]);
}

#[test]
fn a_member_that_holds_the_conference_is_neither_heard_nor_told_anything() {
    let mut world = office();
    call(&mut world, "alice", "800");
    call(&mut world, "bob", "800");
    for (direction, hears, part) in [
        ("sendonly", "recvonly", Part::Away),
        ("sendrecv", "sendrecv", Part::Speaks),
        ("inactive", "inactive", Part::Away),
        ("recvonly", "sendonly", Part::Listens),
        ("sendrecv", "sendrecv", Part::Speaks),
    ] {
        world.tell("bob", |phone, now| phone.hold(now, direction));
        world.run_for(SECOND);
        assert_eq!(world.phones["bob"].hears, hears);
        assert_eq!(world.parts(), [(0, Part::Speaks), (1, part)], "{direction}");
    }
    assert!(is_told(&world, &Event::Held { number: number("102") }));
    world.tell("bob", |phone, now| phone.offer_nothing(now));
    world.run_for(SECOND);
    assert_eq!(world.phones["bob"].state, State::Talking);
    let told = world.phones["bob"].told.last().expect("an offer");
    assert!(told.contains("m=audio") && told.contains("a=rtpmap:8 PCMA/8000"), "{told}");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Speaks)]);
    for name in ["alice", "bob"] {
        hang_up(&mut world, name);
    }
    assert_over(&mut world);
}

#[test]
fn members_come_back_into_the_room_after_a_kill() {
    let mut world = office();
    call(&mut world, "alice", "801");
    world.press_keys(0, "4711");
    call(&mut world, "bob", "801");
    world.press_keys(1, "4711");
    call(&mut world, "carol", "801");
    world.press_keys(2, "47");
    let before = world.sides.clone();
    world.cues.clear();
    world.restart();
    world.run_for(SECOND);
    assert_eq!(world.sides, before, "the same seats at the same ports");
    assert_eq!(world.parts(), [(0, Part::Speaks), (1, Part::Speaks), (2, Part::Waits)]);
    assert_eq!(cues(&mut world), [Cue::AskPin], "whoever dialled the PIN begins anew");
    world.press_keys(2, "4711");
    assert_eq!(world.parts()[2], (2, Part::Speaks));
    for name in ["alice", "bob", "carol"] {
        assert_eq!(world.phones[name].state, State::Talking);
        hang_up(&mut world, name);
        assert_eq!(world.phones[name].state, State::Ended(200));
    }
    assert_over(&mut world);
    assert_eq!(world.calls.len(), 3);
}

#[test]
fn a_member_whose_phone_is_gone_leaves_the_others_alone() {
    let mut world = office();
    call(&mut world, "alice", "800");
    call(&mut world, "bob", "800");
    world.phones.get_mut("bob").expect("bob").skills.power = kit::sim::Power::Off;
    world.fall_silent(1);
    world.run_for(Duration::from_secs(70));
    assert_eq!(world.parts(), [(0, Part::Speaks)]);
    assert!(is_told(&world, &Event::Vanished { number: number("102") }));
    assert_eq!(world.phones["alice"].state, State::Talking);
}

#[test]
fn a_caller_from_another_company_gets_in_by_a_public_number() {
    let mut world = office();
    world.registered("boris", BETA, "102");
    world.configure(ALPHA, |directory| {
        directory.numbers.insert(number("+431101"), number("801"));
    });
    call(&mut world, "alice", "801");
    world.press_keys(0, "4711");
    call(&mut world, "boris", "+431101");
    assert_eq!(world.phones["boris"].state, State::Talking);
    let seats: Vec<Part> = world.parts().into_iter().map(|(_, part)| part).collect();
    assert_eq!(seats, [Part::Speaks, Part::Waits]);
    hang_up(&mut world, "boris");
    hang_up(&mut world, "alice");
    assert_over(&mut world);
}

#[test]
fn a_phone_may_send_its_caller_into_a_conference() {
    let mut world = office();
    let to = format!("sip:800@{ALPHA}");
    world.phones.get_mut("bob").expect("bob").habit = Habit::Forward(to);
    call(&mut world, "alice", "102");
    assert_eq!(world.phones["alice"].state, State::Talking);
    assert_eq!(world.parts(), [(0, Part::Speaks)]);
    hang_up(&mut world, "alice");
    assert_over(&mut world);
}

#[test]
fn a_phone_that_nobody_here_can_unpack_is_refused() {
    let mut world = office();
    let strange = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 iLBC/8000\r\n";
    world.tell("alice", |phone, now| phone.call_with(now, "800", strange));
    world.run_for(SECOND);
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    // One that makes no offer is made one.
    world.tell("bob", |phone, now| phone.call_with(now, "800", ""));
    world.run_for(SECOND);
    assert_eq!(world.phones["bob"].state, State::Talking);
    assert_eq!(world.parts().len(), 1);
    hang_up(&mut world, "bob");
    assert_over(&mut world);
}

#[test]
fn a_caller_who_gives_up_at_the_door_leaves_nothing() {
    let mut world = office();
    call(&mut world, "alice", "801");
    hang_up(&mut world, "alice");
    assert_over(&mut world);
    assert_eq!(world.calls[0].ending, Ending::CallerHungUp);
    let entered = Event::EnteredConference { number: number("801") };
    assert!(!is_told(&world, &entered));
}

#[test]
fn twins_conferences_with_the_same_number_are_two() {
    let mut world = office();
    world.registered("boris", BETA, "101");
    call(&mut world, "alice", "800");
    call(&mut world, "boris", "800");
    let sessions: Vec<Side> = world.sides.keys().copied().collect();
    assert_eq!(sessions.len(), 2);
    assert_ne!(sessions[0].call, sessions[1].call);
    hang_up(&mut world, "alice");
    hang_up(&mut world, "boris");
    assert_over(&mut world);
}
