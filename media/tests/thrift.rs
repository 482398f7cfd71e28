//! A relayed packet costs no memory: not one allocation in some thousand packets, either way they go.
//!
//! One test alone in its process, as every allocation of the process is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use media::{Config, Failure, Io, Media};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Side, Wish};
use pbx::moment::Moment;

/// Each phone may send 500 packets at once, and no more: that would be no sound.
const CALLS: usize = 10;
const COMES_WITHIN: Duration = Duration::from_secs(5);

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

#[test]
fn some_thousand_relayed_packets_allocate_nothing() {
    for (io, first) in [(Io::Epoll, 20_600), (Io::IoUring, 20_700)] {
        let (told, events) = channel();
        let config = Config { ports: first..=first + 99, threads: 1, io, ..Config::default() };
        let media = match Media::start(&config, move |event| told.send(event).unwrap()) {
            Ok(media) => media,
            Err(Failure::Thread(error)) if io == Io::IoUring => {
                eprintln!("SKIPPED: no io_uring here: {error}");
                continue;
            }
            Err(failure) => panic!("{failure:?}"),
        };
        let mut chance = Chance::from_seed([6; 32]);
        let calls = [(); CALLS].map(|()| Call::begin(&media, &events, &mut chance));
        // The first packets make the streams known, and that is told.
        calls.iter().for_each(|call| call.talk(0..100));
        while events.recv_timeout(Duration::from_millis(200)).is_ok() {}

        let before = ALLOCATIONS.load(Ordering::SeqCst);
        calls.iter().for_each(|call| call.talk(100..400));
        let allocated = ALLOCATIONS.load(Ordering::SeqCst) - before;
        assert_eq!(allocated, 0, "with {io:?}");
    }
}

/// Two phones, and where each of them sends.
struct Call {
    phones: [UdpSocket; 2],
    ours: [SocketAddr; 2],
}

impl Call {
    fn begin(media: &Media, events: &Receiver<Event>, chance: &mut Chance) -> Self {
        let call = CallId(chance.uuid(Moment::from_secs(1)));
        let sides = [0, 1].map(|leg| Side { call, leg });
        let phones = sides.map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        for (side, phone) in sides.into_iter().zip(&phones) {
            phone.set_read_timeout(Some(COMES_WITHIN)).unwrap();
            let (local, rtp) = (Ipv4Addr::LOCALHOST.into(), phone.local_addr().ok());
            media.wish(Wish::Open { side, local, port: None });
            media.wish(Wish::Aim { side, rtp, rtcp: None, near: None });
        }
        media.wish(Wish::Join { a: sides[0], b: sides[1] });
        let ours = sides.map(|_| match events.recv_timeout(COMES_WITHIN).unwrap() {
            Event::Opened { port, .. } => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            other => panic!("{other:?}"),
        });
        Self { phones, ours }
    }

    /// Both phones speak in turn, and hear each other.
    fn talk(&self, packets: Range<u16>) {
        let mut packet = [0xd5; 172];
        let mut heard = [0; 256];
        for number in packets {
            for (from, to) in [(0, 1), (1, 0)] {
                packet[..2].copy_from_slice(&[0x80, 0]);
                packet[2..4].copy_from_slice(&number.to_be_bytes());
                packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
                packet[8..12].copy_from_slice(&(from as u32 + 1).to_be_bytes());
                self.phones[from].send_to(&packet, self.ours[from]).unwrap();
                let len = self.phones[to].recv(&mut heard).unwrap();
                assert_eq!(heard[..len], packet);
            }
        }
    }
}
