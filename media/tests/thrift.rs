//! A relayed packet costs no memory: not one allocation in some thousand packets, either way they go.
//!
//! One test alone in its process, as every allocation of the process is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ledger;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use media::{Config, Failure, Io, Media};
use pbx::chance::Chance;
use pbx::id::{CallId, TenantId};
use pbx::media::{
    Clip, Codec, CodecKind, Event, Key, Often, PlayId, Protection, Reception, Reports, Side,
    Stored, Suite, Terms, Wish,
};
use pbx::moment::Moment;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::providers::RingCrypto;
use rtc_srtp::protection_profile::ProtectionProfile;

use ledger::{Of, entries};

/// Each phone may send 500 packets at once, and no more: that would be no sound.
const CALLS: usize = 10;
const COMES_WITHIN: Duration = Duration::from_secs(5);

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

        let before = entries(Of::All);
        calls.iter().for_each(|call| call.talk(100..400));
        let allocated = entries(Of::All) - before;
        assert_eq!(allocated, 0, "with {io:?}");

        // From now on the first phone's sound is encrypted. What it says is sealed beforehand.
        for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
            let mut sealed = Sealed::by(suite);
            calls.iter().for_each(|call| call.encrypt(&media, suite));
            calls.iter().for_each(|call| call.talk_sealed(&sealed.packets(0..50)));
            let packets = sealed.packets(50..200);
            let before = entries(Of::All);
            calls.iter().for_each(|call| call.talk_sealed(&packets));
            let allocated = entries(Of::All) - before;
            assert_eq!(allocated, 0, "with {io:?} and {suite:?}");
        }
        hear_music(&media, &calls);
    }
}

/// Ten phones hear music: what was packed before goes round and costs no memory, and one allocation
/// holds a second of what is packed for the first time.
fn hear_music(media: &Media, calls: &[Call]) {
    let object = Stored {
        tenant: TenantId(Default::default()),
        object: Default::default(),
        sha256: [0; 32],
        bytes: 0,
    };
    media.fill(&object, Some(vec![1_000; 16_000].into()));
    for call in calls {
        call.agree(media);
        let (clip, how) = (Clip::Music(object), Often::Forever);
        media.wish(Wish::Play { side: call.sides[1], play: PlayId(1), clip, how });
    }
    let mut room = [0; 256];
    let mut hear = |packets: usize| {
        for _ in 0..packets {
            calls.iter().for_each(|call| assert!(call.phones[1].recv(&mut room).unwrap() > 12));
        }
    };
    // It goes round after a second.
    hear(60);
    let before = entries(Of::All);
    hear(100);
    let allocated = entries(Of::All) - before;
    assert_eq!(allocated, 0, "{} packets of music", 100 * calls.len());
}

/// A phone's sound under one key.
struct Sealed {
    context: Context,
    first: u16,
}

impl Sealed {
    fn by(suite: Suite) -> Self {
        let (profile, salt, first) = match suite {
            Suite::AeadAes128Gcm => (ProtectionProfile::AeadAes128Gcm, 12, 800),
            _ => (ProtectionProfile::Aes128CmHmacSha1_80, 14, 400),
        };
        let context =
            Context::new(&[7; 16], &[7; 14][..salt], profile, None, None, &RingCrypto).unwrap();
        Self { context, first }
    }

    fn packets(&mut self, range: Range<u16>) -> Vec<(Vec<u8>, Vec<u8>)> {
        range
            .map(|number| {
                let plain = packet(1, self.first + number);
                (self.context.encrypt_rtp(&plain).unwrap().to_vec(), plain.to_vec())
            })
            .collect()
    }
}

fn terms(protection: Protection) -> Terms {
    Terms {
        codecs: vec![Codec { kind: CodecKind::Pcmu, to_peer: 0, from_peer: 0 }],
        events: None,
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection,
        reports: Reports::Beside,
    }
}

fn packet(ssrc: u32, number: u16) -> [u8; 172] {
    let mut packet = [0xd5; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&number.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

/// Two phones, and where each of them sends.
struct Call {
    sides: [Side; 2],
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
        Self { sides, phones, ours }
    }

    /// Both phones speak in turn, and hear each other.
    fn talk(&self, packets: Range<u16>) {
        let mut heard = [0; 256];
        for number in packets {
            for (from, to) in [(0, 1), (1, 0)] {
                let packet = packet(from as u32 + 1, number);
                self.phones[from].send_to(&packet, self.ours[from]).unwrap();
                let len = self.phones[to].recv(&mut heard).unwrap();
                assert_eq!(heard[..len], packet);
            }
        }
    }

    fn encrypt(&self, media: &Media, suite: Suite) {
        let len = if suite == Suite::AeadAes128Gcm { 28 } else { 30 };
        let key = Key { suite, material: vec![7; len] };
        let terms = Box::new(terms(Protection::Sdes { ours: key.clone(), theirs: key }));
        media.wish(Wish::Agree { side: self.sides[0], terms });
    }

    /// The second phone's sound is plain, and something is known of it.
    fn agree(&self, media: &Media) {
        let terms = Box::new(terms(Protection::Plain));
        media.wish(Wish::Agree { side: self.sides[1], terms });
    }

    /// The first phone speaks, and each time the second answers; what goes out is longer by a tag.
    fn talk_sealed(&self, packets: &[(Vec<u8>, Vec<u8>)]) {
        let mut heard = [0; 256];
        for (sealed, plain) in packets {
            self.phones[0].send_to(sealed, self.ours[0]).unwrap();
            let len = self.phones[1].recv(&mut heard).unwrap();
            assert_eq!(heard[..len], plain[..]);
            self.phones[1].send_to(plain, self.ours[1]).unwrap();
            assert_eq!(self.phones[0].recv(&mut heard).unwrap(), sealed.len());
        }
    }
}
