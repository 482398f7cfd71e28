//! Calls that are over leave no memory behind: neither their ports, nor their keys, nor their codecs.
//!
//! One test alone in its process, as all memory of the process is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use media::{Config, Media};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{
    Codec, CodecKind, Event, Key, Protection, Reception, Reports, Side, Suite, Terms, Wish,
};
use pbx::moment::Moment;

/// So many at the same time.
const AT_ONCE: usize = 100;
const ROUNDS: usize = 6;
const CALLS_OF_A_ROUND: usize = 1_000;
/// Less than the smallest thing that a call could leave.
const LEAVES: i64 = 8;
const COMES_WITHIN: Duration = Duration::from_secs(20);
/// Addresses that no other test has, so that all of their ports are ours.
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 1));
const PHONES: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 2);

/// The system's memory, counted.
struct Counting;

static TAKEN: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static MEMORY: Counting = Counting;

// SAFETY: all is the system allocator's; counting changes nothing that it promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: whoever calls us keeps what `GlobalAlloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[test]
fn six_thousand_short_calls_leave_no_memory_behind() {
    let mut sound = Sound::start();
    let more = (0..ROUNDS).map(|_| {
        let before = TAKEN.load(Ordering::SeqCst);
        sound.calls(CALLS_OF_A_ROUND);
        TAKEN.load(Ordering::SeqCst) - before
    });
    let more: Vec<i64> = more.collect();
    // A table that had to become larger did so in some rounds; what each call leaves is in all of them.
    let least = more.iter().min().copied().unwrap();
    assert!(least < CALLS_OF_A_ROUND as i64 * LEAVES, "each round leaves some: {more:?}");
}

struct Sound {
    media: Media,
    events: Receiver<Event>,
    chance: Chance,
    /// Two for each call; those who have the next call have those of an earlier one.
    phones: Vec<[UdpSocket; 2]>,
}

/// What a call is.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Encrypted,
    Converted,
}

impl Sound {
    fn start() -> Self {
        let (told, events) = channel();
        let config = Config { ports: 33_000..=60_000, threads: 1, ..Config::default() };
        let media = Media::start(&config, move |event| drop(told.send(event))).unwrap();
        let phone = || {
            let socket = UdpSocket::bind((PHONES, 0)).unwrap();
            socket.set_read_timeout(Some(COMES_WITHIN)).unwrap();
            socket
        };
        let phones = (0..AT_ONCE).map(|_| [phone(), phone()]).collect();
        Self { media, events, chance: Chance::from_seed([9; 32]), phones }
    }

    fn calls(&mut self, count: usize) {
        for _ in 0..count / AT_ONCE {
            let calls: Vec<CallId> =
                (0..AT_ONCE).map(|_| CallId(self.chance.uuid(Moment::from_secs(1)))).collect();
            let kinds = [Kind::Plain, Kind::Plain, Kind::Encrypted, Kind::Converted].into_iter();
            let calls: Vec<(CallId, Kind)> = calls.into_iter().zip(kinds.cycle()).collect();
            self.begin(&calls);
            let ports = self.opened(&calls);
            self.talk(&calls, &ports);
            self.end(&calls);
        }
    }

    fn begin(&self, calls: &[(CallId, Kind)]) {
        for ((call, kind), phones) in calls.iter().zip(&self.phones) {
            let [a, b] = sides(*call);
            for (side, phone) in [a, b].into_iter().zip(phones) {
                let rtp = phone.local_addr().ok();
                self.media.wish(Wish::Open { side, local: OURS, port: None });
                self.media.wish(Wish::Aim { side, rtp, rtcp: None, near: None });
                self.media.wish(Wish::Agree { side, terms: Box::new(terms(*kind, side.leg)) });
            }
            self.media.wish(Wish::Join { a, b });
        }
    }

    fn opened(&self, calls: &[(CallId, Kind)]) -> BTreeMap<Side, u16> {
        let mut ports = BTreeMap::new();
        while ports.len() < calls.len() * 2 {
            match self.events.recv_timeout(COMES_WITHIN).unwrap() {
                Event::Opened { side, port } => drop(ports.insert(side, port)),
                Event::NoPorts { .. } => panic!("no port is free"),
                _ => {}
            }
        }
        ports
    }

    /// The first phone of each call speaks, until the other has heard something.
    fn talk(&self, calls: &[(CallId, Kind)], ports: &BTreeMap<Side, u16>) {
        for number in 0..4 {
            for ((call, kind), [phone, _]) in calls.iter().zip(&self.phones) {
                let payload_type = if matches!(kind, Kind::Converted) { 8 } else { 0 };
                let to = SocketAddr::new(OURS, ports[&sides(*call)[0]]);
                phone.send_to(&packet(payload_type, number), to).unwrap();
            }
        }
        for [_, other] in &self.phones {
            other.recv(&mut [0; 2_048]).unwrap();
        }
    }

    fn end(&self, calls: &[(CallId, Kind)]) {
        let sides = || calls.iter().flat_map(|(call, _)| sides(*call));
        self.media.wish_all(sides().map(|side| Wish::Close { side }));
        let mut open: BTreeSet<Side> = sides().collect();
        while !open.is_empty() {
            if let Event::Closed { side, .. } = self.events.recv_timeout(COMES_WITHIN).unwrap() {
                open.remove(&side);
            }
        }
        // What came after the first packet is not the next call's.
        for phone in self.phones.iter().flatten() {
            phone.set_nonblocking(true).unwrap();
            while phone.recv(&mut [0; 2_048]).is_ok() {}
            phone.set_nonblocking(false).unwrap();
        }
    }
}

fn sides(call: CallId) -> [Side; 2] {
    [0, 1].map(|leg| Side { call, leg })
}

/// What is plain or converted has no key; what is encrypted has one where it goes to.
fn terms(kind: Kind, leg: u16) -> Terms {
    let (codec, number) = match (kind, leg) {
        (Kind::Plain | Kind::Encrypted, _) => (CodecKind::Pcmu, 0),
        (Kind::Converted, 0) => (CodecKind::Pcma, 8),
        (Kind::Converted, _) => (CodecKind::Opus { stereo: false, fec: true, most: None }, 96),
    };
    let key = |of: u8| Key { suite: Suite::AesCm128HmacSha1_80, material: vec![of; 30] };
    Terms {
        codecs: vec![Codec { kind: codec, to_peer: number, from_peer: number }],
        events: Some(101),
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection: match (kind, leg) {
            (Kind::Encrypted, 1) => Protection::Sdes { ours: key(1), theirs: key(2) },
            (Kind::Plain | Kind::Encrypted | Kind::Converted, _) => Protection::Plain,
        },
        reports: Reports::Beside,
    }
}

fn packet(payload_type: u8, number: u16) -> [u8; 172] {
    let mut packet = [0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, payload_type]);
    packet[2..4].copy_from_slice(&number.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&[0, 0, 0, 7]);
    packet
}
