//! Codecs of two phones in a call: what passes, what is converted, and under which numbers.

use std::time::Duration;

use kit::sim::{Habit, Phone, State, Tongue, World, company};
use pbx::media::{Codec, CodecKind, Protection, Reception, Reports};

const ALPHA: &str = "alpha.example";

const PCMA: &str = "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";

fn phone<'a>(world: &'a mut World, name: &str) -> &'a mut Phone {
    world.phones.get_mut(name).expect("a phone of this name")
}

/// Alice and Bob, who say this of their sound.
fn office(alice: &str, bob: &str) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.registered("bob", ALPHA, "102");
    for (name, says) in [("alice", alice), ("bob", bob)] {
        let says = Some(says.to_owned());
        phone(&mut world, name).skills.sound =
            Tongue { offers: says.clone(), answers: says, demands: None };
    }
    world
}

fn call(world: &mut World) {
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(4));
    for name in ["alice", "bob"] {
        let state = world.phones[name].state;
        assert_eq!(state, State::Talking, "{}", world.take_ladder());
    }
}

/// Both still talk, and what is changed now arrives.
fn holds_and_parts(world: &mut World) {
    for (direction, heard) in [("sendonly", "sendonly"), ("sendrecv", "sendrecv")] {
        world.tell("bob", |phone, now| phone.hold(now, direction));
        world.run_for(Duration::from_secs(1));
        let hears = world.phones["alice"].hears.clone();
        assert_eq!(hears, heard, "{}", world.take_ladder());
        let bobs = match direction {
            "sendonly" => Reception::Unwanted,
            _ => Reception::Wanted,
        };
        for (side, terms) in &world.terms {
            let wanted = if side.leg == 1 { bobs } else { Reception::Wanted };
            assert_eq!(terms.reception, wanted, "leg {}, while Bob says {direction}", side.leg);
        }
    }
    world.tell("alice", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty() && world.live.is_empty());
    world.finish();
}

fn last_told(world: &World, name: &str) -> String {
    world.phones[name].told.last().cloned().unwrap_or_default()
}

/// The formats of the stream in a description.
fn list(description: &str) -> Vec<&str> {
    let line = description.lines().find(|line| line.starts_with("m=audio")).expect("a stream");
    line.split(' ').skip(3).collect()
}

fn codec(kind: CodecKind, to_peer: u8, from_peer: u8) -> Codec {
    Codec { kind, to_peer, from_peer }
}

fn opus(fec: bool) -> CodecKind {
    CodecKind::Opus { stereo: false, fec, most: None }
}

#[test]
fn phones_with_a_codec_in_common_hear_each_other_without_converting() {
    let mut world = office(PCMA, PCMA);
    call(&mut world);
    let offer = &world.phones["bob"].told[0];
    assert_eq!(list(offer), ["8", "96", "9", "0", "97", "98"], "{offer}");
    for line in ["96 opus/48000/2", "9 G722/8000", "97 telephone-event/8000"] {
        assert!(offer.contains(&format!("a=rtpmap:{line}\r\n")), "{offer}");
    }
    assert!(offer.contains("a=rtpmap:98 telephone-event/48000\r\n"), "{offer}");
    let answer = last_told(&world, "alice");
    assert_eq!(list(&answer), ["8"], "{answer}");
    for leg in [0, 1] {
        let terms = world.terms_of(leg);
        assert_eq!(terms.codecs, [codec(CodecKind::Pcma, 8, 8)]);
        assert_eq!((terms.events, terms.comfort_noise, terms.ptime), (None, None, 20));
        assert_eq!((&terms.protection, terms.reports), (&Protection::Plain, Reports::Beside));
    }
    holds_and_parts(&mut world);
}

#[test]
fn a_caller_with_opus_alone_reaches_a_phone_with_g711_alone() {
    let caller = "m=audio 4000 RTP/AVP 111 110\r\na=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 stereo=1;useinbandfec=1\r\na=rtpmap:110 telephone-event/48000\r\na=ptime:40\r\n";
    let called = "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n";
    let mut world = office(caller, called);
    call(&mut world);
    let offer = &world.phones["bob"].told[0];
    assert_eq!(list(offer)[..2], ["111", "110"], "what the caller has comes first: {offer}");
    assert!(offer.contains("a=rtpmap:96 telephone-event/8000\r\n"), "{offer}");
    let answer = last_told(&world, "alice");
    assert_eq!(list(&answer), ["111", "110"], "{answer}");
    assert!(answer.contains("a=rtpmap:110 telephone-event/48000\r\n"), "{answer}");
    assert!(!answer.contains("PCMA"), "{answer}");
    let (one, other) = (world.terms_of(0).clone(), world.terms_of(1).clone());
    let stereo = CodecKind::Opus { stereo: true, fec: true, most: None };
    assert_eq!(one.codecs, [codec(stereo, 111, 111)]);
    assert_eq!(other.codecs, [codec(CodecKind::Pcma, 8, 8)]);
    assert_eq!((one.events, other.events), (Some(110), Some(96)));
    assert_eq!((one.ptime, other.ptime), (40, 20));
    holds_and_parts(&mut world);
    assert_eq!(world.terms_of(0).codecs, one.codecs, "a hold changes no codec");
}

#[test]
fn either_phone_may_have_telephone_events_alone() {
    let with = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
    for (caller, called, events) in
        [(PCMA, with, [None, Some(101)]), (with, PCMA, [Some(101), None])]
    {
        let mut world = office(caller, called);
        call(&mut world);
        let agreed = [0, 1].map(|leg| world.terms_of(leg).events);
        assert_eq!(agreed, events, "{}", world.take_ladder());
    }
}

#[test]
fn wideband_stays_wideband() {
    let wide = "m=audio 4000 RTP/AVP 9 8\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n";
    let mut world = office(wide, wide);
    call(&mut world);
    assert_eq!(list(&last_told(&world, "alice")), ["9", "8"]);
    for leg in [0, 1] {
        assert_eq!(world.terms_of(leg).codecs[0], codec(CodecKind::G722, 9, 9));
    }
    // What a phone wants of a codec reaches the other one.
    let caller =
        "m=audio 4000 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n";
    let called = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n\
        a=fmtp:96 maxaveragebitrate=32000;useinbandfec=1\r\n";
    let mut world = office(caller, called);
    call(&mut world);
    let answer = last_told(&world, "alice");
    assert!(answer.contains("a=fmtp:96 maxaveragebitrate=32000;useinbandfec=1\r\n"), "{answer}");
    let most = Some(32_000);
    let wished = CodecKind::Opus { stereo: false, fec: true, most };
    assert_eq!(world.terms_of(1).codecs, [codec(wished, 96, 96)]);
    assert_eq!(world.terms_of(0).codecs, [codec(opus(false), 96, 96)], "what the caller said");
    // G.722 on one side and Opus on the other are converted, and not both brought down to G.711.
    let mut world = office(caller, "m=audio 4000 RTP/AVP 9 8\r\n");
    call(&mut world);
    assert_eq!(world.terms_of(0).codecs, [codec(opus(false), 96, 96)]);
    assert_eq!(world.terms_of(1).codecs[0].kind, CodecKind::G722);
}

#[test]
fn an_answer_with_fewer_codecs_leaves_fewer() {
    let many = "m=audio 4000 RTP/AVP 0 8 18 9 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\na=fmtp:18 annexb=no\r\na=maxptime:30\r\n";
    let few = "m=audio 4000 RTP/AVP 18 101\r\na=fmtp:18 annexb=no\r\n\
        a=rtpmap:101 telephone-event/8000\r\n";
    let mut world = office(many, few);
    call(&mut world);
    let answer = last_told(&world, "alice");
    assert_eq!(list(&answer), ["18", "101"], "what we do not know passes: {answer}");
    let other = CodecKind::Other { map: "g729/8000 annexb=no".to_owned() };
    for leg in [0, 1] {
        assert_eq!(world.terms_of(leg).codecs, [codec(other.clone(), 18, 18)]);
        assert_eq!(world.terms_of(leg).events, Some(101));
    }
    holds_and_parts(&mut world);
}

#[test]
fn numbers_are_each_phones_own() {
    let caller = "m=audio 4000 RTP/AVP 96 101\r\na=rtpmap:96 opus/48000/2\r\n\
        a=rtpmap:101 telephone-event/8000\r\n";
    // It answers with numbers of its own (RFC 3264 §6.1 allows that).
    let called = "m=audio 4000 RTP/AVP 120 121\r\na=rtpmap:120 opus/48000/2\r\n\
        a=rtpmap:121 telephone-event/8000\r\n";
    let mut world = office(caller, called);
    call(&mut world);
    let answer = last_told(&world, "alice");
    assert_eq!(list(&answer), ["96", "101"], "{answer}");
    assert_eq!(world.terms_of(0).codecs, [codec(opus(false), 96, 96)]);
    assert_eq!(world.terms_of(0).events, Some(101));
    assert_eq!(world.terms_of(1).codecs, [codec(opus(false), 120, 96)]);
    assert_eq!(world.terms_of(1).events, Some(121));
    // When it makes an offer itself, the caller still gets the numbers that it knows.
    world.tell("bob", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    let offer = last_told(&world, "alice");
    assert_eq!(list(&offer)[..2], ["96", "101"], "{offer}");
    assert!(offer.contains("a=rtpmap:96 opus/48000/2\r\n") && offer.contains("a=sendonly"));
    assert_eq!(list(&last_told(&world, "bob")), ["120", "121"]);
    assert_eq!(world.terms_of(1).codecs, [codec(opus(false), 120, 120)]);
    holds_and_parts(&mut world);
}

#[test]
fn the_called_phone_may_make_the_offer() {
    let called = "m=audio 4000 RTP/AVP 9 0\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n";
    let mut world = office(PCMA, called);
    phone(&mut world, "bob").habit = Habit::Answer(Duration::from_secs(1));
    world.tell("alice", |phone, now| phone.call_with(now, "102", ""));
    world.run_for(Duration::from_secs(4));
    let offer = &world.phones["alice"].told[0];
    assert_eq!(list(offer)[..2], ["9", "0"], "{offer}");
    assert!(list(offer).contains(&"8"), "{offer}");
    let answer = last_told(&world, "bob");
    assert_eq!(list(&answer), ["9"], "Bob's best that can be converted: {answer}");
    assert_eq!(world.terms_of(0).codecs, [codec(CodecKind::Pcma, 8, 8)]);
    assert_eq!(world.terms_of(1).codecs, [codec(CodecKind::G722, 9, 9)]);
    holds_and_parts(&mut world);
}

#[test]
fn early_sound_is_agreed_on_before_the_answer() {
    let mut world = office("m=audio 4000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n", PCMA);
    phone(&mut world, "bob").habit = Habit::Early(Duration::from_secs(5));
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.phones["alice"].state, State::Calling);
    assert_eq!(list(&last_told(&world, "alice")), ["111"]);
    assert_eq!(world.terms_of(0).codecs, [codec(opus(false), 111, 111)]);
    assert_eq!(world.terms_of(1).codecs, [codec(CodecKind::Pcma, 8, 8)]);
    world.run_for(Duration::from_secs(5));
    holds_and_parts(&mut world);
}

#[test]
fn phones_without_any_common_codec_do_not_talk() {
    let alien = "m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 iLBC/8000\r\n";
    let mut world = office(alien, PCMA);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    assert_eq!(world.phones["bob"].state, State::Ended(200), "it is hung up");
    // What neither of us knows passes as it is.
    let mut world = office(alien, alien);
    call(&mut world);
    assert_eq!(list(&last_told(&world, "alice")), ["97"]);
    holds_and_parts(&mut world);
}

#[test]
fn what_is_beyond_us_passes_as_it_is() {
    let strange = "m=audio 4000 TCP/RTP/AVP 0 8\r\na=rtpmap:8 PCMA/8000\r\na=foo:bar\r\n";
    let mut world = office(strange, strange);
    call(&mut world);
    let offer = &world.phones["bob"].told[0];
    assert!(offer.contains(" TCP/RTP/AVP 0 8\r\na=rtpmap:8 PCMA/8000\r\na=foo:bar\r\n"), "{offer}");
    assert!(world.terms.is_empty(), "nothing is agreed on");
    holds_and_parts(&mut world);
}

#[test]
fn terms_outlive_the_process() {
    let mut world = office("m=audio 4000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n", PCMA);
    call(&mut world);
    let before = world.terms.clone();
    assert_eq!(before.len(), 2);
    world.restart();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.terms, before);
    holds_and_parts(&mut world);
}
