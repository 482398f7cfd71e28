//! Encryption of sound, leg by leg: what is offered, what is taken, and what is refused.

use std::time::Duration;

use kit::sim::{FINGERPRINT, Habit, Phone, State, World, company};
use pbx::media::{DtlsRole, Ice, Key, Protection, Reception, Reports, Suite};
use pbx::record::Ending;
use pbx::sip::name::Name;
use pbx::story::Event;
use pbx::tenant::directory::{PlainKeys, Srtp};

mod keys;
mod ways;

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
