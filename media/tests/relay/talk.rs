//! Who hears whom: over both families, through routers, and with somebody else at the port.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use pbx::media::{Event, Wish};

use crate::phone::{Phone, hear, hear_within, hears_nothing};
use crate::stage::{STAYS_AWAY_FOR, Sound, V4, V6};
use crate::way::{Way, with_both_ways};

with_both_ways! {
    two_phones_hear_each_other_over_ipv4
    two_phones_hear_each_other_over_ipv6
    a_phone_with_ipv4_only_hears_one_with_ipv6_only
    a_phone_with_ipv6_only_is_followed_through_its_router_and_reports_cross_over
    a_phone_on_the_same_wire_is_heard_without_any_other_address
    a_stranger_is_not_heard_and_moves_nothing
    a_phone_behind_nat_is_followed_to_where_it_really_is
    reports_pass_both_ways_and_go_where_the_sound_goes
    whoever_is_joined_anew_hears_the_new_side_only
    a_held_phone_is_sent_nothing_and_can_still_be_heard
}

fn talks_both_ways(way: Way, ports: RangeInclusive<u16>, local: IpAddr) {
    let sound = Sound::start(way, ports);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(local);
    for _ in 0..20 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
        assert_eq!(bob.send(to_bob[0]), hear(&ada.sound));
    }
    for (leg, phone) in [(0, &ada), (1, &bob)] {
        let latched = Event::Latched { side: sound.side(leg), peer: phone.address() };
        assert_eq!(sound.event(), latched);
    }
    let heard = sound.close(0);
    assert_eq!((heard.packets, heard.bytes, heard.lost), (20, 3_200, Some(0)));
    assert!(heard.jitter_ms.is_some());
    assert_eq!(sound.close(1).packets, 20);
    let counters = sound.counts(|counters| counters.relayed == 40);
    assert_eq!((counters.relayed_bytes, counters.strangers), (40 * 172, 0));
}

fn two_phones_hear_each_other_over_ipv4(way: Way) {
    talks_both_ways(way, 21_000..=21_099, V4);
}

fn two_phones_hear_each_other_over_ipv6(way: Way) {
    talks_both_ways(way, 21_100..=21_199, V6);
}

fn a_phone_with_ipv4_only_hears_one_with_ipv6_only(way: Way) {
    let sound = Sound::start(way, 21_200..=21_299);
    let (mut ada, mut bob) = (Phone::new(V4, 1), Phone::new(V6, 2));
    let [to_ada, to_bob] = [sound.open(0, V4)[0], sound.open(1, V6)[0]];
    sound.aim(0, ada.address());
    sound.aim(1, bob.address());
    sound.join(0, 1);
    assert_eq!(ada.send(to_ada), hear(&bob.sound));
    assert_eq!(bob.send(to_bob), hear(&ada.sound));
}

fn a_phone_with_ipv6_only_is_followed_through_its_router_and_reports_cross_over(way: Way) {
    let sound = Sound::start(way, 22_200..=22_299);
    let (mut ada, mut bob) = (Phone::new(V4, 1), Phone::new(V6, 2));
    let (to_ada, to_bob) = (sound.open(0, V4), sound.open(1, V6));
    sound.aim(0, ada.address());
    // Its own idea of its port is wrong.
    sound.aim(1, SocketAddr::new(V6, 9));
    sound.join(0, 1);
    for _ in 0..4 {
        assert_eq!(bob.send(to_bob[0]), hear(&ada.sound), "heard from the first packet on");
    }
    let latched = Event::Latched { side: sound.side(1), peer: bob.address() };
    assert_eq!(sound.event(), latched);
    assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));

    let report = |ssrc: u8| [&[0x80, 201, 0, 1, 0, 0, 0], &[ssrc][..]].concat();
    ada.reports.send_to(&report(1), to_ada[1]).unwrap();
    assert_eq!(hear(&bob.reports), report(1));
    bob.reports.send_to(&report(2), to_bob[1]).unwrap();
    assert_eq!(hear(&ada.reports), report(2));
    // The other family's address is nobody's there.
    let stranger = Phone::new(V6, 3);
    stranger.reports.send_to(&report(3), to_bob[1]).unwrap();
    hears_nothing(&ada.reports);
}

fn a_phone_on_the_same_wire_is_heard_without_any_other_address(way: Way) {
    let Some(here) = link_local() else {
        eprintln!("SKIPPED: no interface has a link-local address");
        return;
    };
    let sound = Sound::start(way, 22_300..=22_399);
    let mut phones = [1, 2].map(|ssrc| Phone::bound(here, ssrc));
    // What is told between phones, and to us, has no interface in it.
    let bare = |at: SocketAddr| SocketAddr::new(at.ip(), at.port());
    let mut ours = [0, 1].map(|leg: u16| {
        let [at, _] = sound.open(leg, here.ip());
        let mut there = here;
        there.set_port(at.port());
        there
    });
    for (leg, phone) in (0..).zip(&phones) {
        sound.aim(leg, bare(phone.address()));
    }
    sound.join(0, 1);
    for _ in 0..4 {
        for (phone, to) in phones.iter_mut().zip(ours) {
            phone.send(to);
        }
    }
    // They spoke at once, so either may be known first.
    let known = [sound.event(), sound.event()];
    for (leg, phone) in (0..).zip(&phones) {
        let latched = Event::Latched { side: sound.side(leg), peer: phone.address() };
        assert!(known.contains(&latched), "{known:?}");
    }
    let [ada, bob] = &mut phones;
    while hear_within(&bob.sound, STAYS_AWAY_FOR).is_some() {}
    let said = ada.send(ours[0]);
    assert_eq!(hear(&bob.sound), said);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    ours[0].set_port(ours[0].port() + 1);
    ada.reports.send_to(&report, ours[0]).unwrap();
    assert_eq!(hear(&bob.reports), report);
}

/// An address of this machine that is valid on one wire only.
fn link_local() -> Option<SocketAddr> {
    nix::ifaddrs::getifaddrs().unwrap().find_map(|interface| {
        let address = interface.address?;
        let address = address.as_sockaddr_in6()?;
        let own = address.ip().is_unicast_link_local();
        own.then(|| SocketAddrV6::new(address.ip(), 0, 0, address.scope_id()).into())
    })
}

fn a_stranger_is_not_heard_and_moves_nothing(way: Way) {
    let sound = Sound::start(way, 21_400..=21_499);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(V4);
    for _ in 0..5 {
        ada.send(to_ada[0]);
        hear(&bob.sound);
    }
    let mut thief = Phone::new(V4, 99);
    for _ in 0..50 {
        thief.send(to_ada[0]);
    }
    hears_nothing(&bob.sound);
    assert_eq!(bob.send(to_bob[0]), hear(&ada.sound));
    hears_nothing(&thief.sound);
    let heard = sound.close(0);
    assert_eq!((heard.packets, heard.strangers), (5, 50));
}

fn a_phone_behind_nat_is_followed_to_where_it_really_is(way: Way) {
    let sound = Sound::start(way, 21_500..=21_599);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(V4);
    // What Ada's SDP names cannot be reached; her router has given her other ports.
    sound.aim(0, "127.0.0.1:9".parse().unwrap());
    for _ in 0..4 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound), "heard from the first packet on");
    }
    let latched = Event::Latched { side: sound.side(0), peer: ada.address() };
    assert_eq!(sound.event(), latched);
    assert_eq!(bob.send(to_bob[0]), hear(&ada.sound));
}

fn reports_pass_both_ways_and_go_where_the_sound_goes(way: Way) {
    let sound = Sound::start(way, 21_600..=21_699);
    let [(mut ada, to_ada), (bob, to_bob)] = sound.call(V4);
    let report = |ssrc: u8| [&[0x80, 201, 0, 1, 0, 0, 0], &[ssrc][..]].concat();
    ada.reports.send_to(&report(1), to_ada[1]).unwrap();
    assert_eq!(hear(&bob.reports), report(1));
    bob.reports.send_to(&report(2), to_bob[1]).unwrap();
    assert_eq!(hear(&ada.reports), report(2));

    // On the port of the sound they pass once the phone is known.
    for _ in 0..4 {
        ada.send(to_ada[0]);
        hear(&bob.sound);
    }
    ada.sound.send_to(&report(3), to_ada[0]).unwrap();
    assert_eq!(hear(&bob.sound), report(3));
}

fn whoever_is_joined_anew_hears_the_new_side_only(way: Way) {
    let sound = Sound::start(way, 22_000..=22_099);
    let [(mut ada, to_ada), (bob, _)] = sound.call(V4);
    let carol = Phone::new(V4, 3);
    sound.open(2, V4);
    sound.aim(2, carol.address());
    sound.join(0, 2);
    let said = ada.send(to_ada[0]);
    assert_eq!(hear(&carol.sound), said);
    hears_nothing(&bob.sound);
}

fn a_held_phone_is_sent_nothing_and_can_still_be_heard(way: Way) {
    let sound = Sound::start(way, 22_100..=22_199);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(V4);
    let (side, hold) = (sound.side(1), Some("0.0.0.0:4000".parse().unwrap()));
    sound.media.wish(Wish::Aim { side, rtp: hold, rtcp: None, near: None });
    assert_eq!(bob.send(to_bob[0]), hear(&ada.sound), "music for who is held");
    ada.send(to_ada[0]);
    hears_nothing(&bob.sound);
    sound.aim(1, bob.address());
    assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
}
