//! Encryption of sound, leg by leg: what is offered, what is taken, and what is refused.

use std::time::Duration;

use kit::sim::{FINGERPRINT, Habit, Phone, State, World, company};
use pbx::media::{DtlsRole, Ice, Key, Protection, Reports, Suite};
use pbx::record::Ending;
use pbx::sip::name::Name;
use pbx::story::Event;
use pbx::tenant::directory::{PlainKeys, Srtp};

const ALPHA: &str = "alpha.example";
const PLAIN: &str = "m=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
/// 30 bytes of `A`, and of `B`; 28 of `C`.
const KEY_A: &str = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
const KEY_B: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC";
const KEY_C: &str = "Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQw==";
/// SHA-256 of some certificate: 32 times 0x5A.
const PRINT: &str = "5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:\
    5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A:5A";

fn phone<'a>(world: &'a mut World, name: &str) -> &'a mut Phone {
    world.phones.get_mut(name).expect("a phone of this name")
}

fn says(world: &mut World, name: &str, offers: &str, answers: &str) {
    let sound = &mut phone(world, name).skills.sound;
    sound.offers = Some(offers.to_owned());
    sound.answers = Some(answers.to_owned());
}

/// The stream in this profile, with these lines.
fn stream(profile: &str, lines: &[String]) -> String {
    let mut text = format!("m=audio 4000 {profile} 8\r\na=rtpmap:8 PCMA/8000\r\n");
    lines.iter().for_each(|line| text.push_str(&format!("a={line}\r\n")));
    text
}

fn crypto(tag: u32, suite: &str, key: &str) -> String {
    format!("crypto:{tag} {suite} inline:{key}")
}

fn srtp(profile: &str, tag: u32, key: &str) -> String {
    stream(profile, &[crypto(tag, "AES_CM_128_HMAC_SHA1_80", key)])
}

/// Phones by name and number; those with a connection speak TLS.
fn office(phones: &[(&str, &str, Option<u32>)]) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    for (name, number, connection) in phones {
        world.phone(name, ALPHA, number);
        if let Some(connection) = connection {
            world.encrypt(name, *connection);
        }
        world.registered(name, ALPHA, number);
    }
    world
}

fn call(world: &mut World, number: &str) {
    world.tell("alice", |phone, now| phone.call(now, number));
    world.run_for(Duration::from_secs(4));
}

fn talk(world: &mut World) {
    for name in ["alice", "bob"] {
        let state = world.phones[name].state;
        assert_eq!(state, State::Talking, "{name}: {}", world.take_ladder());
    }
}

fn told(world: &World, name: &str) -> String {
    world.phones[name].told.last().cloned().unwrap_or_default()
}

fn key(suite: Suite, byte: u8) -> Key {
    let length = if suite == Suite::AeadAes128Gcm { 28 } else { 30 };
    Key { suite, material: vec![byte; length] }
}

fn keys(world: &World, leg: u16) -> (Key, Key) {
    let Protection::Sdes { ours, theirs } = world.terms_of(leg).protection.clone() else {
        unreachable!("leg {leg} has no keys");
    };
    (ours, theirs)
}

/// Which leg this phone is, by what was told of whom was called.
fn leg_of(world: &World, name: &str) -> u16 {
    let called = world.notes.iter().filter_map(|note| match &note.event {
        Event::Called { device, .. } => Some(device.as_str()),
        _ => None,
    });
    let at = called.zip(1..).find(|(device, _)| *device == name);
    at.map(|(_, leg)| leg).expect("it was called")
}

fn is_told(world: &World, event: &Event) -> bool {
    world.notes.iter().any(|note| note.event == *event)
}

/// No key of either side in anything that is logged, told or shown.
fn nothing_leaks(world: &World) {
    let seen = format!("{:?} {:?} {:?}", world.notes, world.calls, world.boards);
    let debugged = format!("{world:?}");
    for secret in [KEY_A, KEY_B, KEY_C, "inline:"] {
        assert!(!seen.contains(secret), "{secret} was told");
    }
    for terms in world.terms.values() {
        if let Protection::Sdes { ours, .. } = &terms.protection {
            let bytes = format!("{:?}", ours.material);
            assert!(!debugged.contains(&bytes), "a key shows in Debug");
        }
    }
}

fn parts(world: &mut World) {
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(120));
    assert!(world.sides.is_empty() && world.live.is_empty());
    assert_eq!((world.load().calls, world.load().transactions), (0, 0));
    nothing_leaks(world);
    world.finish();
}

#[test]
fn a_plain_phone_and_one_with_keys_talk_and_each_sees_only_its_own() {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(1))]);
    let sha80 = srtp("RTP/AVP", 2, KEY_B);
    says(&mut world, "bob", &srtp("RTP/AVP", 1, KEY_A), &sha80);
    call(&mut world, "102");
    talk(&mut world);
    let offer = world.phones["bob"].told[0].clone();
    assert!(offer.contains("m=audio 26"), "{offer}");
    assert!(offer.contains(" RTP/AVP 8 "), "a wish, and no demand (RFC 8643): {offer}");
    let suites = ["AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"];
    for (tag, suite) in (1..).zip(suites) {
        assert!(offer.contains(&format!("a=crypto:{tag} {suite} inline:")), "{offer}");
    }
    assert!(offer.contains("a=fingerprint:sha-256 AB:") && offer.contains("a=setup:actpass\r\n"));
    let answer = told(&world, "alice");
    assert!(answer.contains(" RTP/AVP 8\r\n") && !answer.contains("crypto"), "{answer}");
    assert_eq!(world.terms_of(0).protection, Protection::Plain);
    let (ours, theirs) = keys(&world, 1);
    assert_eq!(theirs, key(Suite::AesCm128HmacSha1_80, b'B'));
    assert_eq!((ours.suite, ours.material.len()), (Suite::AesCm128HmacSha1_80, 30));
    let how = "SDES AES_CM_128_HMAC_SHA1_80".to_owned();
    assert!(is_told(&world, &Event::Encrypted { number: "102".to_owned(), how }));
    parts(&mut world);
}

#[test]
fn a_wish_or_a_demand_may_be_met_by_a_handshake_too() {
    for profile in ["RTP/AVP", "RTP/SAVP"] {
        takes_a_handshake(profile);
    }
}

fn takes_a_handshake(profile: &'static str) {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(1))]);
    let own = [format!("fingerprint:sha-256 {PRINT}"), "setup:active".to_owned()];
    says(&mut world, "bob", PLAIN, &stream(profile, &own));
    phone(&mut world, "bob").skills.sound.demands = Some(profile);
    call(&mut world, "102");
    talk(&mut world);
    let before = world.terms_of(1).clone();
    let Protection::Dtls { role: DtlsRole::Server, fingerprint, ice: None } = before.protection
    else {
        unreachable!("{before:?}");
    };
    assert_eq!(fingerprint, [0x5a; 32]);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    let offer = told(&world, "bob");
    assert!(offer.contains("a=fingerprint:") && !offer.contains("crypto"), "what holds: {offer}");
    assert_eq!(*world.terms_of(1), before);
    parts(&mut world);
}

#[test]
fn a_phone_with_keys_calls_one_that_has_none() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", None)]);
    let lines = [
        crypto(7, "F8_128_HMAC_SHA1_80", KEY_B),
        crypto(8, "AES_CM_128_HMAC_SHA1_32", &format!("{KEY_A}|2^31")),
        crypto(9, "AES_CM_128_HMAC_SHA1_80", KEY_A),
    ];
    says(&mut world, "alice", &stream("RTP/SAVP", &lines), PLAIN);
    call(&mut world, "102");
    talk(&mut world);
    let offer = &world.phones["bob"].told[0];
    assert!(offer.contains(" RTP/AVP 8 ") && !offer.contains("crypto"), "{offer}");
    let answer = told(&world, "alice");
    assert!(answer.contains(" RTP/SAVP 8\r\n"), "{answer}");
    assert_eq!(answer.matches("a=crypto:").count(), 1, "{answer}");
    assert!(answer.contains("a=crypto:8 AES_CM_128_HMAC_SHA1_32 inline:"), "{answer}");
    assert_eq!(keys(&world, 0).1, key(Suite::AesCm128HmacSha1_32, b'A'));
    assert_eq!(world.terms_of(1).protection, Protection::Plain);
    parts(&mut world);
}

#[test]
fn two_phones_with_different_suites_have_keys_of_their_own() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", Some(2))]);
    says(&mut world, "alice", &srtp("RTP/SAVP", 1, KEY_A), "");
    let gcm = stream("RTP/AVP", &[crypto(1, "AEAD_AES_128_GCM", KEY_C)]);
    says(&mut world, "bob", PLAIN, &gcm);
    call(&mut world, "102");
    talk(&mut world);
    let (ours_0, theirs_0) = keys(&world, 0);
    let (ours_1, theirs_1) = keys(&world, 1);
    assert_eq!(theirs_0, key(Suite::AesCm128HmacSha1_80, b'A'));
    assert_eq!(theirs_1, key(Suite::AeadAes128Gcm, b'C'));
    assert_eq!(ours_1.suite, Suite::AeadAes128Gcm);
    assert_ne!(ours_0.material[..28], ours_1.material[..28]);
    assert!(!world.phones["bob"].told[0].contains(KEY_A), "keys end at their leg");
    parts(&mut world);
}

#[test]
fn whoever_must_encrypt_and_does_not_is_refused() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", None)]);
    world.configure(ALPHA, |directory| directory.encryption.srtp = Srtp::Required);
    world.configure(ALPHA, |directory| {
        directory.users.values_mut().for_each(|user| user.srtp = Srtp::Required);
    });
    call(&mut world, "102");
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    let ladder = world.take_ladder();
    assert!(!ladder.contains("pbx -> bob"), "nobody is called: {ladder}");
    let device = "alice".to_owned();
    assert!(is_told(&world, &Event::NotEncrypted { number: "101".to_owned(), device }));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls[0].ending, Ending::NotEncrypted);
    world.finish();
}

#[test]
fn a_refused_caller_hears_why() {
    let mut world = office(&[("alice", "101", None)]);
    world.configure(ALPHA, |directory| {
        directory.users.values_mut().for_each(|user| user.srtp = Srtp::Required);
    });
    call(&mut world, "102");
    let refusal = world.phones["alice"].last_refusal.clone().expect("alice is answered");
    assert_eq!(refusal.status(), Some(488));
    let warning = refusal.first(Name::Warning).unwrap_or_default();
    assert!(warning.starts_with("399 ") && warning.contains("SRTP"), "{warning}");
    assert_eq!(refusal.first(Name::Reason), Some("Q.850;cause=88"));
}

#[test]
fn a_called_phone_that_must_encrypt_and_does_not_is_hung_up_and_the_next_one_wins() {
    let mut world =
        office(&[("alice", "101", None), ("bob", "102", Some(2)), ("kitchen", "102", Some(3))]);
    world.configure(ALPHA, |directory| {
        let bob = directory.users.values_mut().find(|user| user.number == "102");
        bob.expect("102").srtp = Srtp::Required;
    });
    phone(&mut world, "bob").habit = Habit::Answer(Duration::from_secs(1));
    phone(&mut world, "kitchen").habit = Habit::Answer(Duration::from_secs(2));
    says(&mut world, "bob", PLAIN, PLAIN);
    says(&mut world, "kitchen", PLAIN, &srtp("RTP/SAVP", 2, KEY_A));
    call(&mut world, "102");
    let offer = &world.phones["bob"].told[0];
    assert!(offer.contains(" RTP/SAVP 8 "), "{offer}");
    assert_eq!(world.phones["bob"].state, State::Ended(200), "it answered and was hung up");
    assert_eq!(world.phones["kitchen"].state, State::Talking);
    assert_eq!(world.phones["alice"].state, State::Talking);
    let device = "bob".to_owned();
    assert!(is_told(&world, &Event::NotEncrypted { number: "102".to_owned(), device }));
    let kitchen = keys(&world, leg_of(&world, "kitchen")).1;
    assert_eq!(kitchen, key(Suite::AesCm128HmacSha1_80, b'A'));
    world.finish();
}

#[test]
fn a_wish_for_encryption_in_mid_call_counts_from_the_next_change_on() {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(2))]);
    says(&mut world, "bob", PLAIN, PLAIN);
    call(&mut world, "102");
    talk(&mut world);
    world.configure(ALPHA, |directory| {
        let bob = directory.users.values_mut().find(|user| user.number == "102");
        bob.expect("102").srtp = Srtp::Required;
    });
    talk(&mut world);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.phones["alice"].answers, ["488 INVITE"]);
    let device = "bob".to_owned();
    assert!(is_told(&world, &Event::NotEncrypted { number: "102".to_owned(), device }));
    parts(&mut world);
}

#[test]
fn each_phone_of_a_fork_is_offered_what_its_way_allows() {
    let mut world =
        office(&[("alice", "101", Some(1)), ("bob", "102", Some(2)), ("kitchen", "102", None)]);
    says(&mut world, "alice", &srtp("RTP/SAVP", 1, KEY_A), "");
    phone(&mut world, "kitchen").habit = Habit::Early(Duration::from_secs(9));
    phone(&mut world, "bob").habit = Habit::Answer(Duration::from_secs(2));
    says(&mut world, "bob", PLAIN, &srtp("RTP/AVP", 2, KEY_B));
    call(&mut world, "102");
    assert!(world.phones["bob"].told[0].contains("a=crypto:"));
    let plain = &world.phones["kitchen"].told[0];
    assert!(plain.contains(" RTP/AVP 8 ") && !plain.contains("crypto"), "{plain}");
    talk(&mut world);
    assert_eq!(world.phones["kitchen"].state, State::Ended(487));
    assert_eq!(keys(&world, 0).1, key(Suite::AesCm128HmacSha1_80, b'A'));
    let bob = keys(&world, leg_of(&world, "bob")).1;
    assert_eq!(bob, key(Suite::AesCm128HmacSha1_80, b'B'));
    let kitchen = world.terms_of(leg_of(&world, "kitchen"));
    assert_eq!(kitchen.protection, Protection::Plain, "its early sound was");
    parts(&mut world);
}

#[test]
fn keys_last_as_long_as_nobody_changes_them() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", Some(2))]);
    says(&mut world, "alice", &srtp("RTP/SAVP", 1, KEY_A), &srtp("RTP/SAVP", 1, KEY_A));
    says(&mut world, "bob", &srtp("RTP/AVP", 1, KEY_B), &srtp("RTP/AVP", 2, KEY_B));
    call(&mut world, "102");
    talk(&mut world);
    let before = world.terms.clone();
    phone(&mut world, "bob").skills.sound.answers = Some(srtp("RTP/AVP", 1, KEY_B));
    for (name, direction) in
        [("alice", "sendonly"), ("alice", "sendrecv"), ("bob", "sendonly"), ("bob", "sendrecv")]
    {
        world.tell(name, |phone, now| phone.hold(now, direction));
        world.run_for(Duration::from_secs(1));
        let other = if name == "alice" { "bob" } else { "alice" };
        assert_eq!(world.phones[other].hears, direction);
        assert_eq!(told(&world, other).matches("a=crypto:").count(), 1, "what holds is offered");
        assert_eq!(world.terms, before, "after {name} {direction}");
    }
    // A new key of one phone is between it and us: the other is not asked.
    says(&mut world, "alice", &srtp("RTP/SAVP", 5, KEY_B), "");
    world.take_ladder();
    world.tell("alice", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_secs(1));
    let ladder = world.take_ladder();
    assert!(!ladder.contains("pbx -> bob"), "{ladder}");
    let (ours, theirs) = keys(&world, 0);
    assert_eq!(theirs, key(Suite::AesCm128HmacSha1_80, b'B'));
    let Protection::Sdes { ours: first, .. } =
        &before[before.keys().next().expect("a leg")].protection
    else {
        unreachable!("the first leg was encrypted");
    };
    assert_eq!(ours, *first, "ours stays");
    assert!(told(&world, "alice").contains("a=crypto:5 "), "{}", told(&world, "alice"));
    nothing_leaks(&world);
}

#[test]
fn keys_that_anybody_can_read_count_only_where_the_company_wants_it() {
    let offer = srtp("RTP/SAVP", 1, KEY_A);
    let mut world = office(&[("alice", "101", None), ("bob", "102", None)]);
    says(&mut world, "alice", &offer, "");
    call(&mut world, "102");
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    let device = "alice".to_owned();
    assert!(is_told(&world, &Event::KeysRefused { number: "101".to_owned(), device }));
    // As a wish they are passed over.
    says(&mut world, "alice", &srtp("RTP/AVP", 1, KEY_A), "");
    call(&mut world, "102");
    talk(&mut world);
    assert_eq!(world.terms_of(0).protection, Protection::Plain);
    assert!(!told(&world, "alice").contains("crypto"));
    parts(&mut world);

    let mut world = office(&[("alice", "101", None), ("bob", "102", None)]);
    world.configure(ALPHA, |directory| directory.encryption.plain_keys = PlainKeys::Taken);
    says(&mut world, "alice", &offer, "");
    call(&mut world, "102");
    talk(&mut world);
    assert_eq!(keys(&world, 0).1, key(Suite::AesCm128HmacSha1_80, b'A'));
    assert!(is_told(&world, &Event::KeysReadable { number: "101".to_owned() }));
    parts(&mut world);
}

#[test]
fn encryption_that_is_off_is_neither_offered_nor_taken() {
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", Some(2))]);
    world.configure(ALPHA, |directory| {
        directory.users.values_mut().for_each(|user| user.srtp = Srtp::Off);
    });
    says(&mut world, "alice", &srtp("RTP/AVP", 1, KEY_A), "");
    call(&mut world, "102");
    talk(&mut world);
    assert!(!world.phones["bob"].told[0].contains("crypto"));
    assert_eq!(world.terms_of(0).protection, Protection::Plain);
    parts(&mut world);
    says(&mut world, "alice", &srtp("RTP/SAVP", 1, KEY_A), "");
    call(&mut world, "102");
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    let device = "alice".to_owned();
    assert!(is_told(&world, &Event::EncryptionRefused { number: "101".to_owned(), device }));
}

#[test]
fn a_phone_that_wants_another_way_is_asked_in_that_way_and_called_so_from_then_on() {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(2))]);
    says(&mut world, "bob", &srtp("RTP/SAVP", 1, KEY_A), &srtp("RTP/SAVP", 2, KEY_B));
    phone(&mut world, "bob").skills.sound.demands = Some("RTP/SAVP");
    call(&mut world, "102");
    talk(&mut world);
    let ladder = world.take_ladder();
    assert_eq!(ladder.matches("bob -> pbx         488").count(), 1, "{ladder}");
    assert_eq!(keys(&world, 1).1, key(Suite::AesCm128HmacSha1_80, b'B'));
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    // It calls once itself: now it is known.
    world.tell("bob", |phone, now| phone.call(now, "101"));
    world.run_for(Duration::from_secs(4));
    talk(&mut world);
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    world.take_ladder();
    call(&mut world, "102");
    talk(&mut world);
    let ladder = world.take_ladder();
    assert!(!ladder.contains("488"), "{ladder}");
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    nothing_leaks(&world);
}

#[test]
fn a_phone_that_knows_no_keys_at_all_is_called_plainly_in_the_end() {
    let mut world = office(&[("alice", "101", None), ("bob", "102", Some(2))]);
    says(&mut world, "bob", PLAIN, PLAIN);
    phone(&mut world, "bob").habit = Habit::Refuse(488);
    call(&mut world, "102");
    assert_eq!(world.phones["alice"].state, State::Ended(488));
    let ladder = world.take_ladder();
    assert_eq!(ladder.matches("pbx -> bob         INVITE").count(), 5, "each way once: {ladder}");
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls[0].ending, Ending::NoCommonMedia);
}

#[test]
fn a_handshake_replaces_keys_and_comes_with_ice_where_the_phone_wants_it() {
    let lines = |setup: &str, more: &[&str]| -> Vec<String> {
        let own = [format!("fingerprint:sha-256 {PRINT}"), format!("setup:{setup}")];
        own.into_iter().chain(more.iter().map(|line| (*line).to_owned())).collect()
    };
    let checks = ["ice-ufrag:peer", "ice-pwd:0123456789012345678901", "mid:audio", "rtcp-mux"];
    let mut browser = stream("UDP/TLS/RTP/SAVPF", &lines("actpass", &checks));
    browser.insert_str(0, "a=group:BUNDLE audio\r\na=ice-options:trickle\r\n");
    let mut world = office(&[("alice", "101", Some(1)), ("bob", "102", None)]);
    says(&mut world, "alice", &browser, "");
    says(&mut world, "bob", PLAIN, PLAIN);
    call(&mut world, "102");
    talk(&mut world);
    let offer = world.phones["bob"].told[0].clone();
    for own in ["5A:5A", "ice-", "BUNDLE", "a=mid", "rtcp-mux", "setup"] {
        assert!(!offer.contains(own), "{own} ends at its leg: {offer}");
    }
    let answer = told(&world, "alice");
    let ours = FINGERPRINT.map(|byte| format!("{byte:02X}")).join(":");
    for line in [
        "a=group:BUNDLE audio",
        "a=mid:audio",
        "a=ice-lite",
        "a=rtcp-mux",
        "a=setup:passive",
        &format!("a=fingerprint:sha-256 {ours}"),
    ] {
        assert!(answer.contains(&format!("{line}\r\n")), "{line} is missing: {answer}");
    }
    assert!(answer.contains(" UDP/TLS/RTP/SAVPF 8\r\n"), "{answer}");
    assert_eq!(answer.matches("a=candidate:").count(), 1, "{answer}");
    let Protection::Dtls { role, fingerprint, ice } = &world.terms_of(0).protection else {
        unreachable!("there is a handshake");
    };
    assert_eq!((*role, *fingerprint), (DtlsRole::Server, [0x5a; 32]));
    let Some(Ice { ours, theirs }) = ice else { unreachable!("there is ICE") };
    assert_eq!(*theirs, ("peer".to_owned(), "0123456789012345678901".to_owned()));
    assert!(answer.contains(&format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.0, ours.1)));
    assert_eq!(world.terms_of(0).reports, Reports::Within);
    assert_eq!(world.terms_of(1).protection, Protection::Plain);
    parts(&mut world);

    // Called back, it is called as it calls.
    let active = stream("UDP/TLS/RTP/SAVPF", &lines("active", &checks));
    says(&mut world, "alice", &browser, &active);
    world.tell("bob", |phone, now| phone.call(now, "101"));
    world.run_for(Duration::from_secs(4));
    talk(&mut world);
    let offer = told(&world, "alice");
    assert!(offer.contains(" UDP/TLS/RTP/SAVPF 8 "), "{offer}");
    for line in ["a=setup:actpass", "a=ice-lite", "a=group:BUNDLE 0", "a=mid:0", "a=rtcp-mux"] {
        assert!(offer.contains(&format!("{line}\r\n")), "{line} is missing: {offer}");
    }
    let called = world.terms.values().last().expect("the called leg");
    let Protection::Dtls { role, ice: Some(_), .. } = &called.protection else {
        unreachable!("{:?}", called.protection);
    };
    assert_eq!(*role, DtlsRole::Server);
}
