//! A conference costs no memory while it lasts: not one allocation in a second of six voices.
//!
//! One test alone in its process, as every allocation of the process is counted. (Opus's encoder takes
//! room to work in; it is left out.)

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use media::{Config, Media};
use pbx::id::CallId;
use pbx::media::{
    Codec, CodecKind, Event, Part, Protection, Reception, Reports, Side, Terms, Wish,
};

const COMES_WITHIN: Duration = Duration::from_secs(5);
const CODECS: [(CodecKind, u8); 3] =
    [(CodecKind::Pcmu, 0), (CodecKind::Pcma, 8), (CodecKind::G722, 9)];

/// The system's memory, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static MEMORY: Counting = Counting;

// SAFETY: all is the system allocator's; counting changes nothing that it promises.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: whoever calls us keeps what `GlobalAlloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// A member's phone, and where it sends.
struct Phone {
    socket: UdpSocket,
    ours: SocketAddr,
    payload_type: u8,
}

#[test]
fn a_second_of_six_voices_allocates_nothing() {
    let (told, events) = channel();
    let config = Config { ports: 20_800..=20_899, threads: 1, ..Config::default() };
    let media = Media::start(&config, move |event| {
        // What else is told is no matter of this test, and would be counted.
        if let Event::Opened { port, .. } = event {
            told.send(port).unwrap();
        }
    });
    let media = media.unwrap_or_else(|failure| panic!("{failure:?}"));
    let phones: Vec<Phone> = (0..6)
        .map(|seat| {
            let (kind, payload_type) = CODECS[usize::from(seat % 3)].clone();
            let side = Side { call: CallId(Default::default()), leg: seat };
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(COMES_WITHIN)).unwrap();
            let (local, rtp) = (Ipv4Addr::LOCALHOST.into(), socket.local_addr().ok());
            let codec = Codec { kind, to_peer: payload_type, from_peer: payload_type };
            media.wish_all([
                Wish::Open { side, local, port: None },
                Wish::Aim { side, rtp, rtcp: None, near: None },
                Wish::Agree { side, terms: terms(codec) },
                Wish::Mix { side, part: Part::Speaks },
            ]);
            let port = events.recv_timeout(COMES_WITHIN).unwrap();
            Phone { socket, ours: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), payload_type }
        })
        .collect();
    (0..100).for_each(|number| talk(&phones, number));
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (100..150).for_each(|number| talk(&phones, number));
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0);
}

/// All speak, and hear a packet each: that is the conference's clock.
fn talk(phones: &[Phone], number: u16) {
    let mut heard = [0; 512];
    for (seat, phone) in (0..).zip(phones) {
        // Loud in each codec.
        let mut packet = [(number as u8 ^ seat).wrapping_mul(37) & 0x9f; 172];
        packet[..2].copy_from_slice(&[0x80, phone.payload_type]);
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&[0, 0, 0, seat + 1]);
        phone.socket.send_to(&packet, phone.ours).unwrap();
    }
    for phone in phones {
        let len = phone.socket.recv(&mut heard).unwrap();
        assert_eq!((len, heard[1] & 0x7f), (172, phone.payload_type));
    }
}

fn terms(codec: Codec) -> Box<Terms> {
    Box::new(Terms {
        codecs: vec![codec],
        events: None,
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        protection: Protection::Plain,
        reports: Reports::Beside,
        reception: Reception::Wanted,
    })
}
