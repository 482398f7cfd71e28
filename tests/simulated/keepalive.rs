//! Phones that ask whether their call is still there, and change it by UPDATE.

use std::time::Duration;

use kit::sim::{State, World, company};
use pbx::sip::method::Method;
use pbx::sip::name::Name;
use pbx::story::Event;

const ALPHA: &str = "alpha.example";

fn talking() -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.take_ladder();
    world
}

fn answers(world: &World, name: &str) -> String {
    world.phones[name].answers.join(", ")
}

/// The headers that say that a phone can be asked by UPDATE.
fn allows_update(world: &mut World, name: &str) {
    let said = (Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE".to_owned());
    if let Some(phone) = world.phones.get_mut(name) {
        phone.skills.asks_with.push(said.clone());
        phone.skills.answers_with.push(said);
    }
}

#[test]
fn a_request_without_a_body_is_a_keepalive_and_answered_here() {
    for method in [Method::Update, Method::Info, Method::Message, Method::Options] {
        for name in ["alice", "bob"] {
            let mut world = talking();
            world.tell(name, |phone, now| phone.ask_within(now, method, &[], ""));
            world.run_for(Duration::from_secs(1));
            assert_eq!(answers(&world, name), format!("200 {}", method.as_str()));
            let ladder = world.take_ladder();
            assert_eq!(ladder.lines().count(), 2, "nobody else hears of it: {ladder}");
        }
    }
}

#[test]
fn a_keepalive_for_a_call_that_is_over_is_answered_481() {
    for method in [Method::Update, Method::Info, Method::Message] {
        let mut world = talking();
        world.tell("bob", |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_secs(60));
        world.tell("alice", |phone, now| phone.ask_within(now, method, &[], ""));
        world.run_for(Duration::from_secs(1));
        assert_eq!(answers(&world, "alice"), format!("481 {}", method.as_str()));
    }
}

#[test]
fn a_message_outside_a_call_is_refused() {
    let mut world = talking();
    for body in ["", "hello"] {
        let text = format!(
            "MESSAGE sip:102@{ALPHA} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK{body}\r\n\
             From: <sip:101@{ALPHA}>;tag=1\r\nTo: <sip:102@{ALPHA}>\r\nCall-ID: m{body}\r\n\
             CSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        world.send_raw("198.51.100.9:5060".parse().expect("an address"), text.as_bytes());
        world.run_for(Duration::from_secs(1));
        let ladder = world.take_ladder();
        assert!(ladder.contains("405 MESSAGE"), "{ladder}");
    }
}

#[test]
fn what_has_a_body_is_between_the_phones() {
    let mut world = talking();
    let with = [(Name::Subject, "x")];
    for method in [Method::Info, Method::Message] {
        world.tell("alice", |phone, now| phone.ask_within(now, method, &with, "Signal=5"));
        world.run_for(Duration::from_secs(1));
        let heard = world.phones["bob"].last_request.clone().expect("bob is asked");
        assert_eq!((heard.method(), &*heard.body()), (method, b"Signal=5".as_slice()));
    }
    assert_eq!(answers(&world, "alice"), "200 INFO, 200 MESSAGE");
}

#[test]
fn an_update_with_a_description_goes_across_as_the_other_phone_can_take_it() {
    for knows_update in [true, false] {
        let mut world = World::new(vec![company(1, ALPHA)]);
        world.registered("alice", ALPHA, "101");
        world.registered("bob", ALPHA, "102");
        if knows_update {
            allows_update(&mut world, "bob");
        }
        world.tell("alice", |phone, now| phone.call(now, "102"));
        world.run_for(Duration::from_secs(5));
        world.take_ladder();
        for direction in ["sendonly", "sendrecv"] {
            let sdp = world.phones["alice"].describes(direction);
            world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
            world.run_for(Duration::from_secs(1));
            assert_eq!(world.phones["bob"].hears, direction);
        }
        assert_eq!(answers(&world, "alice"), "200 UPDATE, 200 UPDATE");
        let asked = world.phones["bob"].last_request.clone().expect("bob is asked");
        let expected = if knows_update { Method::Update } else { Method::Ack };
        assert_eq!(asked.method(), expected);
        let held = |note: &&pbx::story::Note| matches!(note.event, Event::Held { .. });
        assert_eq!(world.notes.iter().filter(held).count(), 1);
        world.tell("bob", |phone, now| phone.hang_up(now));
        world.run_for(Duration::from_secs(120));
        assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    }
}

#[test]
fn a_phone_that_said_it_knew_update_and_does_not_is_asked_by_invite() {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    allows_update(&mut world, "bob");
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(5));
    world.phones.get_mut("bob").expect("bob").skills.refuses.push(("UPDATE", 501));
    let sdp = world.phones["alice"].describes("sendonly");
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &sdp));
    world.run_for(Duration::from_secs(1));
    assert_eq!(answers(&world, "alice"), "200 UPDATE");
    assert_eq!(world.phones["bob"].hears, "sendonly");
}

#[test]
fn two_updates_at_once_end_in_a_491_and_one_upon_another_in_a_500() {
    let mut world = talking();
    let of = |world: &World, name: &str| world.phones[name].describes("sendonly");
    let (from_alice, from_bob) = (of(&world, "alice"), of(&world, "bob"));
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &from_alice));
    world.tell("bob", |phone, now| phone.ask_within(now, Method::Update, &[], &from_bob));
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Update, &[], &from_alice));
    world.run_for(Duration::from_secs(3));
    assert_eq!(answers(&world, "bob"), "491 UPDATE");
    let answers = answers(&world, "alice");
    assert!(answers.contains("500 UPDATE") && answers.contains("200 UPDATE"), "{answers}");
    assert_eq!(world.load().calls, 1);
}

#[test]
fn an_offer_that_is_refused_leaves_what_was_agreed_before() {
    let mut world = talking();
    world.phones.get_mut("bob").expect("bob").skills.refuses.push(("INVITE", 488));
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(answers(&world, "alice"), "488 INVITE");
    world.take_ladder();
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(answers(&world, "alice"), "488 INVITE, 200 INVITE");
    let ladder = world.take_ladder();
    assert!(!ladder.contains("bob"), "bob still knows that: {ladder}");
}

#[test]
fn an_invite_that_says_nothing_new_is_answered_here_and_one_without_an_offer_goes_across() {
    let mut world = talking();
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    world.take_ladder();
    for name in ["alice", "bob"] {
        let direction = if name == "bob" { "sendonly" } else { "recvonly" };
        world.tell(name, |phone, now| phone.hold(now, direction));
        world.run_for(Duration::from_secs(1));
        let ladder = world.take_ladder();
        assert_eq!(ladder.lines().count(), 3, "INVITE, 200, ACK: {ladder}");
        let heard = if name == "bob" { "recvonly" } else { "sendonly" };
        assert_eq!(world.phones[name].hears, heard, "a held call stays held");
    }
    world.tell("alice", |phone, now| phone.offer_nothing(now));
    world.run_for(Duration::from_secs(1));
    let ladder = world.take_ladder();
    assert!(ladder.contains("pbx -> bob         INVITE"), "{ladder}");
    assert_eq!(world.load().calls, 1);
}

#[test]
fn a_key_pressed_by_a_message_is_heard_in_the_sound_of_the_other_phone() {
    let mut world = talking();
    let relay = [(Name::ContentType, "application/dtmf-relay")];
    let body = "Signal=5\r\nDuration=250\r\n";
    world.tell("alice", |phone, now| phone.ask_within(now, Method::Info, &relay, body));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.pressed, [(1, '5', 250)]);
    assert_eq!(answers(&world, "alice"), "200 INFO");
    let asked = world.phones["bob"].last_request.as_ref();
    assert!(asked.is_none_or(|asked| asked.method() != Method::Info), "Bob is asked nothing");
}
