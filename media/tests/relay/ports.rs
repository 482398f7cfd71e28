//! Which port a call gets: one that is at rest, that nobody else holds, and that is known at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use media::{Config, Media};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Heard, Side, Wish};
use pbx::moment::Moment;

use crate::phone::Phone;
use crate::stage::{COMES_WITHIN, STAYS_AWAY_FOR, Sound, V4};
use crate::way::{Way, with_both_ways};

with_both_ways! {
    both_families_share_a_port_number_on_wildcard_addresses
    a_closed_pair_is_kept_open_and_used_again_once_it_is_at_rest
    a_port_at_rest_is_known_at_once_to_whoever_opens_a_side
    a_closed_pair_rests_and_an_exhausted_range_says_so
    a_side_that_never_was_is_closed_all_the_same
    a_port_that_another_program_holds_is_left_to_it
}

fn both_families_share_a_port_number_on_wildcard_addresses(way: Way) {
    let sound = Sound::start(way, 21_300..=21_301);
    let other = Sound::start(way, 21_300..=21_301);
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    assert_eq!(sound.open(0, any)[0].port(), 21_300 - way.lower_by);
    assert_eq!(other.open(0, any6)[0].port(), 21_300 - way.lower_by);
}

fn a_closed_pair_is_kept_open_and_used_again_once_it_is_at_rest(way: Way) {
    let sound = Sound::start(way, 22_400..=22_799);
    let first = sound.open(0, V4);
    sound.close(0);
    sound.counts(|counters| (counters.spare, counters.ports_taken) == (1, 0));
    let late = Phone::new(V4, 9);
    let began_at = Instant::now();
    let again = (1..).find(|leg| {
        // Its old peer has not noticed yet, and is not heard by whoever comes next.
        if began_at.elapsed() < Duration::from_millis(500) {
            late.sound.send_to(b"still here", first[0]).unwrap();
        }
        let ports = sound.open(*leg, V4);
        if ports != first {
            sound.close(*leg);
            let nothing = sound.events.recv_timeout(STAYS_AWAY_FOR * 5);
            assert!(nothing.is_err(), "{nothing:?} of a side that is closed");
        }
        ports == first || began_at.elapsed() > COMES_WITHIN
    });
    assert!(began_at.elapsed() >= Duration::from_secs(2), "it did not rest");
    assert!(began_at.elapsed() < COMES_WITHIN, "it was not used again");
    assert_eq!(sound.close(again.unwrap()), Heard::default());
}

fn a_port_at_rest_is_known_at_once_to_whoever_opens_a_side(way: Way) {
    let (told, events) = channel();
    let config = Config {
        ports: way.ports(&(23_600..=23_799)),
        threads: 1,
        io: way.io,
        ..Config::default()
    };
    let by_worker = || thread::current().name().is_some_and(|name| name.starts_with("media-"));
    let media = Media::start(&config, move |event| told.send((event, by_worker())).unwrap());
    let media = media.unwrap();
    let call = CallId(Chance::from_seed([23; 32]).uuid(Moment::from_secs(1)));
    let began_at = Instant::now();
    let at_once = (0..).find_map(|leg| {
        assert!(began_at.elapsed() < COMES_WITHIN, "each was opened by the worker");
        let side = Side { call, leg };
        media.wish(Wish::Open { side, local: V4, port: None });
        let (opened, by_worker) = events.recv_timeout(COMES_WITHIN).expect("an event");
        let Event::Opened { side: opened, port } = opened else { panic!("not opened") };
        assert_eq!(opened, side);
        if !by_worker {
            return Some((side, port));
        }
        media.wish(Wish::Close { side });
        let (closed, _) = events.recv_timeout(STAYS_AWAY_FOR * 5).expect("an event");
        assert!(matches!(closed, Event::Closed { .. }), "{closed:?}");
        let nothing = events.recv_timeout(STAYS_AWAY_FOR * 2);
        assert!(nothing.is_err(), "{nothing:?} of a side that is closed");
        None
    });
    // It is open and the side's: its peer is heard, and others are not.
    let (side, port) = at_once.unwrap();
    let mut ada = Phone::new(V4, 1);
    media.wish(Wish::Aim { side, rtp: Some(ada.address()), rtcp: None, near: None });
    for _ in 0..5 {
        ada.send(SocketAddr::new(V4, port));
    }
    while media.counters().unheard < 5 {
        assert!(began_at.elapsed() < COMES_WITHIN * 2, "{:?}", media.counters());
        thread::yield_now();
    }
    media.wish(Wish::Close { side });
    let heard = events.iter().find_map(|(event, _)| match event {
        Event::Closed { heard, .. } => Some(heard),
        _ => None,
    });
    assert_eq!(heard.map(|heard| heard.packets), Some(5));
}

fn a_closed_pair_rests_and_an_exhausted_range_says_so(way: Way) {
    let sound = Sound::start(way, 21_700..=21_703);
    let (first, second) = (sound.open(0, V4), sound.open(1, V4));
    assert_ne!(first, second);
    let refused = Wish::Open { side: sound.side(2), local: V4, port: None };
    sound.media.wish(refused.clone());
    assert_eq!(sound.event(), Event::NoPorts { side: sound.side(2) });

    assert_eq!(sound.close(0), Heard::default());
    sound.media.wish(refused);
    assert_eq!(sound.event(), Event::NoPorts { side: sound.side(2) }, "it rests");
    let side = sound.side(3);
    sound.media.wish(Wish::Open { side, local: V4, port: Some(first[0].port()) });
    let opened = Event::Opened { side, port: first[0].port() };
    assert_eq!(sound.event(), opened, "a revived call gets its own");
    sound.counts(|counters| counters.ports_taken == 2);
}

fn a_side_that_never_was_is_closed_all_the_same(way: Way) {
    let sound = Sound::start(way, 21_800..=21_801);
    assert_eq!(sound.close(7), Heard::default());
}

fn a_port_that_another_program_holds_is_left_to_it(way: Way) {
    let _theirs = UdpSocket::bind((V4, 21_902 - way.lower_by)).unwrap();
    let sound = Sound::start(way, 21_900..=21_903);
    assert_eq!(sound.open(0, V4)[0].port(), 21_900 - way.lower_by);
}

#[test]
fn an_empty_range_is_refused_at_start() {
    let started = Media::start(&Config { ports: 9..=9, threads: 1, ..Config::default() }, drop);
    assert!(started.is_err_and(|failure| failure.to_string().contains("9-9")));
}
