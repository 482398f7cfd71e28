//! Two phones talk through real ports, and whoever else sends there is not heard.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use media::{Config, Counters, Failure, Io, Media};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Heard, Side, Wish};
use pbx::moment::Moment;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// How long a test waits for what must come, and for what must not.
const COMES_WITHIN: Duration = Duration::from_secs(5);
const STAYS_AWAY_FOR: Duration = Duration::from_millis(20);

/// How packets come in and go out in a test.
#[derive(Clone, Copy)]
struct Way {
    io: Io,
    /// Both ways are tested at once, and so need ports of their own.
    lower_by: u16,
}

impl Way {
    const EPOLL: Self = Self { io: Io::Epoll, lower_by: 0 };
    const IO_URING: Self = Self { io: Io::IoUring, lower_by: 7_000 };

    fn ports(self, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
        ports.start() - self.lower_by..=ports.end() - self.lower_by
    }

    /// Whether this machine has it; says so if not.
    fn is_there(self) -> bool {
        let ports = self.ports(&(20_800..=20_801));
        let config = Config { ports, threads: 1, io: self.io, ..Config::default() };
        match Media::start(&config, drop) {
            Ok(_) => true,
            Err(Failure::Thread(error)) if self.io == Io::IoUring => {
                eprintln!("SKIPPED: no io_uring here: {error}");
                false
            }
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

/// Each of these tests with both ways.
macro_rules! with_both_ways {
    ($($name:ident)*) => {
        mod with_epoll {
            $(#[test]
            fn $name() {
                super::$name(super::Way::EPOLL);
            })*
        }
        mod with_io_uring {
            $(#[test]
            fn $name() {
                if super::Way::IO_URING.is_there() {
                    super::$name(super::Way::IO_URING);
                }
            })*
        }
    };
}

/// The sound of one test: a range of ports of its own, and its events.
struct Sound {
    media: Media,
    events: Receiver<Event>,
    call: CallId,
}

impl Sound {
    fn start(way: Way, ports: RangeInclusive<u16>) -> Self {
        let (told, events) = channel();
        let ports = way.ports(&ports);
        let config = Config { ports: ports.clone(), threads: 1, io: way.io, ..Config::default() };
        let media = Media::start(&config, move |event| told.send(event).unwrap()).unwrap();
        let seed = [(ports.start() / 100) as u8; 32];
        let call = CallId(Chance::from_seed(seed).uuid(Moment::from_secs(1)));
        Self { media, events, call }
    }

    /// Counters are told a moment after what they count.
    fn counts(&self, so: impl Fn(&Counters) -> bool) -> Counters {
        let began_at = Instant::now();
        loop {
            let counters = self.media.counters();
            if so(&counters) {
                return counters;
            }
            assert!(began_at.elapsed() < COMES_WITHIN, "{counters:?}");
            std::thread::yield_now();
        }
    }

    fn side(&self, leg: u16) -> Side {
        Side { call: self.call, leg }
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(COMES_WITHIN).expect("an event")
    }

    /// Opens a side and says where its sound and its reports are taken.
    fn open(&self, leg: u16, local: IpAddr) -> [SocketAddr; 2] {
        let side = self.side(leg);
        self.media.wish(Wish::Open { side, local, port: None });
        let Event::Opened { side: opened, port } = self.event() else { panic!("not opened") };
        assert_eq!((opened, port % 2), (side, 0));
        [SocketAddr::new(local, port), SocketAddr::new(local, port + 1)]
    }

    fn aim(&self, leg: u16, rtp: SocketAddr) {
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        let side = self.side(leg);
        self.media.wish(Wish::Aim { side, rtp: Some(rtp), rtcp: Some(rtcp), near: None });
    }

    fn join(&self, a: u16, b: u16) {
        self.media.wish(Wish::Join { a: self.side(a), b: self.side(b) });
    }

    fn close(&self, leg: u16) -> Heard {
        self.media.wish(Wish::Close { side: self.side(leg) });
        loop {
            match self.event() {
                Event::Closed { side, heard } if side == self.side(leg) => return heard,
                Event::Latched { .. } => {}
                other => panic!("not closed but {other:?}"),
            }
        }
    }

    /// Two phones joined to each other, and where each of them sends.
    fn call(&self, local: IpAddr) -> [(Phone, [SocketAddr; 2]); 2] {
        let sides = [0, 1].map(|leg| {
            let phone = Phone::new(local, u32::from(leg) + 1);
            let ours = self.open(leg, local);
            self.aim(leg, phone.address());
            (phone, ours)
        });
        self.join(0, 1);
        sides
    }
}

/// A phone: a pair of ports and a stream.
struct Phone {
    sound: UdpSocket,
    reports: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

impl Phone {
    fn new(local: IpAddr, ssrc: u32) -> Self {
        Self::bound(SocketAddr::new(local, 0), ssrc)
    }

    fn bound(mut local: SocketAddr, ssrc: u32) -> Self {
        loop {
            local.set_port(0);
            let sound = UdpSocket::bind(local).unwrap();
            let Some(next) = sound.local_addr().unwrap().port().checked_add(1) else { continue };
            local.set_port(next);
            let Ok(reports) = UdpSocket::bind(local) else { continue };
            return Self { sound, reports, ssrc, sequence: 65_530 };
        }
    }

    fn address(&self) -> SocketAddr {
        self.sound.local_addr().unwrap()
    }

    fn next_packet(&mut self) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let timestamp = u32::from(self.sequence.wrapping_add(6)) * 160;
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend([self.ssrc as u8; 160]);
        packet
    }

    fn send(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.next_packet();
        self.sound.send_to(&packet, to).unwrap();
        packet
    }
}

fn hear(socket: &UdpSocket) -> Vec<u8> {
    hear_within(socket, COMES_WITHIN).expect("something is heard")
}

fn hears_nothing(socket: &UdpSocket) {
    assert_eq!(hear_within(socket, STAYS_AWAY_FOR), None);
}

fn hear_within(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut room = [0; 2_048];
    let (len, _) = socket.recv_from(&mut room).ok()?;
    Some(room[..len].to_vec())
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

with_both_ways! {
    two_phones_hear_each_other_over_ipv4
    two_phones_hear_each_other_over_ipv6
    a_phone_with_ipv4_only_hears_one_with_ipv6_only
    a_phone_with_ipv6_only_is_followed_through_its_router_and_reports_cross_over
    a_phone_on_the_same_wire_is_heard_without_any_other_address
    both_families_share_a_port_number_on_wildcard_addresses
    a_stranger_is_not_heard_and_moves_nothing
    a_phone_behind_nat_is_followed_to_where_it_really_is
    reports_pass_both_ways_and_go_where_the_sound_goes
    a_closed_pair_is_kept_open_and_used_again_once_it_is_at_rest
    a_closed_pair_rests_and_an_exhausted_range_says_so
    a_side_that_never_was_is_closed_all_the_same
    a_port_that_another_program_holds_is_left_to_it
    whoever_is_joined_anew_hears_the_new_side_only
    a_held_phone_is_sent_nothing_and_can_still_be_heard
    a_port_at_rest_is_known_at_once_to_whoever_opens_a_side
    a_phone_that_stays_has_a_socket_of_its_own_and_is_still_followed
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

fn both_families_share_a_port_number_on_wildcard_addresses(way: Way) {
    let sound = Sound::start(way, 21_300..=21_301);
    let other = Sound::start(way, 21_300..=21_301);
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    assert_eq!(sound.open(0, any)[0].port(), 21_300 - way.lower_by);
    assert_eq!(other.open(0, any6)[0].port(), 21_300 - way.lower_by);
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

fn a_phone_that_stays_has_a_socket_of_its_own_and_is_still_followed(way: Way) {
    let sound = Sound::start(way, 22_800..=22_899);
    let [(mut ada, to_ada), (mut bob, to_bob)] = sound.call(V4);
    for _ in 0..4 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
    }
    assert_eq!(connected_at(to_ada[0].port()), None, "it may be a short call");
    settled(to_ada[0], Some(ada.address()));
    assert_eq!(connected_at(to_bob[0].port()), None, "bob has said nothing yet");
    for _ in 0..4 {
        assert_eq!(ada.send(to_ada[0]), hear(&bob.sound));
        assert_eq!(bob.send(to_bob[0]), hear(&ada.sound));
    }
    let mut thief = Phone::new(V4, 99);
    thief.send(to_ada[0]);
    hears_nothing(&bob.sound);
    assert!(share(to_ada[0]).is_err(), "the port is ours alone");

    // Signalling says that she is elsewhere now.
    let mut moved = Phone::new(V4, 1);
    sound.aim(0, moved.address());
    for _ in 0..4 {
        assert_eq!(moved.send(to_ada[0]), hear(&bob.sound));
        assert_eq!(bob.send(to_bob[0]), hear(&moved.sound));
    }
    settled(to_ada[0], Some(moved.address()));
    assert_eq!(bob.send(to_bob[0]), hear(&moved.sound));
    assert_eq!(moved.send(to_ada[0]), hear(&bob.sound));
    while !matches!(sound.event(), Event::Latched { side, peer } if (side, peer) == (sound.side(0), moved.address()))
    {
    }
    assert_eq!(sound.close(0).strangers, 1);
    assert_eq!(connected_at(to_ada[0].port()), None);
}

/// Waits until the kernel says that a port of ours is connected to this address.
fn settled(ours: SocketAddr, to: Option<SocketAddr>) {
    let began_at = Instant::now();
    while connected_at(ours.port()) != to {
        assert!(began_at.elapsed() < COMES_WITHIN, "{ours} is not connected to {to:?}");
        std::thread::sleep(STAYS_AWAY_FOR);
    }
}

/// Whom a port of this machine is connected to.
fn connected_at(port: u16) -> Option<SocketAddr> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let mut addresses = line.split_whitespace().skip(1).take(2).map(|text| {
            let (ip, port) = text.split_once(':').unwrap();
            let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
            SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
        });
        let (ours, theirs) = (addresses.next().unwrap(), addresses.next().unwrap());
        (ours.port() == port && theirs.port() != 0).then_some(theirs)
    })
}

/// Tries to have a port beside whoever has it.
fn share(address: SocketAddr) -> nix::Result<()> {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
    };
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))
}

#[test]
fn an_empty_range_is_refused_at_start() {
    let started = Media::start(&Config { ports: 9..=9, threads: 1, ..Config::default() }, drop);
    assert!(started.is_err_and(|failure| failure.to_string().contains("9-9")));
}
