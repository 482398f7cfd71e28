//! Encrypted calls that outlive the process: nothing is sent under the keys of before.

use std::time::Duration;

use kit::sim::{FINGERPRINT, State, World, company};
use pbx::media::{Key, Protection, Suite};
use pbx::record::Ending;

const ALPHA: &str = "alpha.example";
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// 30 bytes of `B`.
const KEY_B: &str = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC";

/// A plain caller talks to a phone that speaks TLS, and describes its sound like this.
fn talking(profile: &str, lines: &[String]) -> World {
    let mut world = World::new(vec![company(1, ALPHA)]);
    world.registered("alice", ALPHA, "101");
    world.phone("bob", ALPHA, "102");
    world.encrypt("bob", 1);
    world.registered("bob", ALPHA, "102");
    answers(&mut world, profile, lines);
    world.tell("alice", |phone, now| phone.call(now, "102"));
    world.run_for(Duration::from_secs(4));
    assert_eq!(world.phones["bob"].state, State::Talking);
    world.take_ladder();
    world
}

fn answers(world: &mut World, profile: &str, lines: &[String]) {
    let mut text = format!("m=audio 4000 {profile} 8\r\na=rtpmap:8 PCMA/8000\r\n");
    lines.iter().for_each(|line| text.push_str(&format!("a={line}\r\n")));
    let bob = world.phones.get_mut("bob").expect("bob");
    bob.skills.sound.answers = Some(text);
}

fn with_keys() -> World {
    let mut world = talking("RTP/AVP", &[format!("crypto:2 {SUITE} inline:{KEY_B}")]);
    // From now on there is but one line to choose.
    answers(&mut world, "RTP/AVP", &[format!("crypto:1 {SUITE} inline:{KEY_B}")]);
    world
}

fn restart(world: &mut World) {
    world.restart();
    world.encrypt("bob", 11);
    world.take_ladder();
}

/// The phone's connection is there again, and known.
fn comes_back(world: &mut World) {
    world.tell("bob", |phone, now| phone.register(now, 3_600));
    world.run_for(Duration::from_secs(10));
}

fn keys(world: &World) -> (Key, Key) {
    let Protection::Sdes { ours, theirs } = world.terms_of(1).protection.clone() else {
        unreachable!("{:?}", world.terms_of(1).protection);
    };
    (ours, theirs)
}

fn asked(ladder: &str, name: &str) -> usize {
    ladder.matches(&format!("pbx -> {name:<12}INVITE")).count()
}

fn refuses(world: &mut World, status: u16) {
    let bob = world.phones.get_mut("bob").expect("bob");
    bob.skills.refuses.push(("INVITE", status));
}

#[test]
fn an_encrypted_phone_is_offered_other_keys_and_nothing_passes_before_it_answered() {
    let mut world = with_keys();
    let (before, _) = keys(&world);
    let offered = world.phones["bob"].told[0].clone();
    restart(&mut world);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.terms_of(1).protection, Protection::Awaited, "its connection is gone");
    assert_eq!(world.terms_of(0).protection, Protection::Plain);
    comes_back(&mut world);
    let ladder = world.take_ladder();
    assert_eq!((asked(&ladder, "bob"), asked(&ladder, "alice")), (1, 0), "{ladder}");
    let offer = world.phones["bob"].told.last().cloned().expect("it is told");
    let line = offer.lines().find(|line| line.contains("crypto:")).expect("there are keys");
    assert!(line.starts_with(&format!("a=crypto:1 {SUITE} inline:")), "what holds: {offer}");
    let secret = line.rsplit(':').next().expect("a key");
    assert!(!offered.contains(secret), "other keys: {offer}");
    assert!(!offer.contains("fingerprint"), "{offer}");
    let (ours, theirs) = keys(&world);
    assert_eq!(ours.suite, before.suite);
    assert_ne!(ours, before, "never the old one again");
    assert_eq!(theirs.material, vec![b'B'; 30]);
    world.tell("alice", |phone, now| phone.hold(now, "sendonly"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(keys(&world), (ours, theirs), "a hold changes none of them");
    world.tell("bob", |phone, now| phone.hang_up(now));
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.calls[0].ending, Ending::CalleeHungUp);
    world.finish();
}

#[test]
fn each_restart_has_keys_and_a_number_of_its_own() {
    let mut world = with_keys();
    let mut seen = vec![keys(&world).0.material];
    let mut versions = vec![];
    for _ in 0..3 {
        restart(&mut world);
        comes_back(&mut world);
        let ours = keys(&world).0.material;
        assert!(!seen.contains(&ours), "a key is used again");
        seen.push(ours);
        let offer = world.phones["bob"].told.last().cloned().expect("it is told");
        let origin = offer.lines().find(|line| line.starts_with("o=")).expect("an origin");
        let version = origin.split(' ').nth(2).and_then(|version| version.parse::<u64>().ok());
        versions.push(version.expect("a version"));
    }
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    world.finish();
}

#[test]
fn a_second_restart_before_the_answer_does_not_repeat_what_was_offered() {
    let mut world = with_keys();
    refuses(&mut world, 491);
    restart(&mut world);
    world.tell("bob", |phone, now| phone.register(now, 3_600));
    world.run_for(Duration::from_secs(5));
    let first = world.phones["bob"].told.last().cloned().expect("it is told");
    assert_eq!(world.terms_of(1).protection, Protection::Awaited);
    restart(&mut world);
    world.phones.get_mut("bob").expect("bob").skills.refuses.clear();
    comes_back(&mut world);
    let second = world.phones["bob"].told.last().cloned().expect("it is told");
    let of =
        |text: &str, start: &str| text.lines().find(|l| l.starts_with(start)).map(str::to_owned);
    for start in ["o=", "a=crypto:"] {
        assert_ne!(of(&first, start), of(&second, start), "{start}");
    }
    let _agreed = keys(&world);
    world.finish();
}

#[test]
fn an_offer_of_the_phone_itself_settles_it_with_new_keys_too() {
    let mut world = with_keys();
    let (before, _) = keys(&world);
    world.phones.get_mut("bob").expect("bob").skills.sound.offers =
        world.phones["bob"].skills.sound.answers.clone();
    restart(&mut world);
    world.tell("bob", |phone, now| phone.hold(now, "sendrecv"));
    world.run_for(Duration::from_millis(100));
    assert_ne!(keys(&world).0, before);
    world.take_ladder();
    comes_back(&mut world);
    let ladder = world.take_ladder();
    assert_eq!(asked(&ladder, "bob"), 0, "it has them already: {ladder}");
    world.finish();
}

#[test]
fn a_plain_call_hears_nothing_of_a_restart() {
    let mut world = talking("RTP/AVP", &[]);
    restart(&mut world);
    comes_back(&mut world);
    let ladder = world.take_ladder();
    assert_eq!((asked(&ladder, "bob"), asked(&ladder, "alice")), (0, 0), "{ladder}");
    assert_eq!(world.terms_of(1).protection, Protection::Plain);
    world.finish();
}

#[test]
fn a_busy_phone_is_asked_again_and_one_that_refuses_is_hung_up() {
    for (status, tries) in [(491, 6), (503, 6), (488, 1), (403, 1)] {
        let mut world = with_keys();
        refuses(&mut world, status);
        restart(&mut world);
        comes_back(&mut world);
        world.run_for(Duration::from_secs(40));
        let ladder = world.take_ladder();
        assert_eq!(asked(&ladder, "bob"), tries, "{status}: {ladder}");
        assert_eq!(world.calls[0].ending, Ending::NoCommonMedia, "{status}");
        assert_eq!(world.phones["alice"].state, State::Ended(200), "{status}");
        let keyed = |terms: &pbx::media::Terms| matches!(terms.protection, Protection::Sdes { .. });
        assert!(!world.terms.values().any(keyed), "{status}: no key was used");
        world.finish();
    }
}

#[test]
fn a_busy_phone_that_agrees_in_the_end_goes_on_talking() {
    let mut world = with_keys();
    refuses(&mut world, 491);
    restart(&mut world);
    world.tell("bob", |phone, now| phone.register(now, 3_600));
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.terms_of(1).protection, Protection::Awaited);
    world.phones.get_mut("bob").expect("bob").skills.refuses.clear();
    world.run_for(Duration::from_secs(10));
    assert_eq!(keys(&world).0.suite, Suite::AesCm128HmacSha1_80);
    assert_eq!(world.load().calls, 1);
    world.finish();
}

#[test]
fn a_phone_with_a_handshake_is_asked_for_another() {
    let print = ["5A"; 32].join(":");
    let lines = [format!("fingerprint:sha-256 {print}"), "setup:active".to_owned()];
    let mut world = talking("RTP/AVP", &lines);
    let before = world.terms_of(1).clone();
    restart(&mut world);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.terms_of(1).protection, Protection::Awaited);
    comes_back(&mut world);
    let offer = world.phones["bob"].told.last().cloned().expect("it is told");
    let ours = FINGERPRINT.map(|byte| format!("{byte:02X}")).join(":");
    assert!(offer.contains(&format!("a=fingerprint:sha-256 {ours}\r\n")), "{offer}");
    assert!(offer.contains("a=setup:actpass\r\n") && !offer.contains("crypto"), "{offer}");
    assert_eq!(*world.terms_of(1), before, "told anew, so that media shakes hands");
    world.finish();
}
