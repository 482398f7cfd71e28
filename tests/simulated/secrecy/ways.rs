//! In which way a phone is asked to encrypt, and what becomes of one that wants another.

use super::*;

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
