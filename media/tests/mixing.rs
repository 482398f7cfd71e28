//! A conference costs no memory while it lasts, recorded or not: not one allocation in a second of six
//! voices.
//!
//! One test alone in its process, as every allocation of the thread of sound is counted. (Opus's encoder takes
//! room to work in; it is left out.)

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ledger;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use media::recording::{Folder, Rendering};
use media::{Config, Media};
use pbx::chance::Chance;
use pbx::id::{CallId, RecordingId, TenantId};
use pbx::media::{
    Channel, Clip, Codec, CodecKind, Event, Kept, Often, Part, PlayId, Protection, Reception,
    Recording, Reports, Side, Stored, Terms, Wish,
};
use pbx::moment::Moment;

use ledger::{Of, count_me, entries};

const COMES_WITHIN: Duration = Duration::from_secs(5);
const CODECS: [(CodecKind, u8); 3] =
    [(CodecKind::Pcmu, 0), (CodecKind::Pcma, 8), (CodecKind::G722, 9)];

/// A member's phone, and where it sends.
struct Phone {
    side: Side,
    socket: UdpSocket,
    ours: SocketAddr,
    payload_type: u8,
    recording: RecordingId,
}

#[test]
fn a_second_of_six_voices_allocates_nothing() {
    let (told, events) = channel();
    let folder = std::env::temp_dir().join(format!("mixing-{}", std::process::id()));
    let recordings = Some(Folder { path: folder.clone(), limit: 1 << 30 });
    let config = Config { ports: 20_800..=20_899, threads: 1, recordings, ..Config::default() };
    let media = Media::start(&config, move |event| {
        // What else is told is no matter of this test, and would be counted.
        if let Event::Opened { port, .. } = event {
            count_me();
            told.send(port).unwrap();
        }
    });
    let media = media.unwrap_or_else(|failure| panic!("{failure:?}"));
    let mut chance = Chance::from_seed([7; 32]);
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
            let ours = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let recording = RecordingId(chance.uuid(Moment::from_secs(1)));
            Phone { side, socket, ours, payload_type, recording }
        })
        .collect();
    (0..100).for_each(|number| talk(&phones, number));
    let before = entries(Of::Marked);
    (100..150).for_each(|number| talk(&phones, number));
    assert_eq!(entries(Of::Marked) - before, 0);

    phones.iter().for_each(|phone| record(&media, phone));
    (150..250).for_each(|number| talk(&phones, number));
    let before = entries(Of::Marked);
    (250..300).for_each(|number| talk(&phones, number));
    assert_eq!(entries(Of::Marked) - before, 0, "all are recorded");
    hear_alone(&media, &phones[0]);
    for phone in &phones {
        media.wish(Wish::Close { side: phone.side });
    }
    phones.iter().for_each(|phone| check(&folder, phone));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What a member says is kept, and what it hears.
fn record(media: &Media, phone: &Phone) {
    let side = phone.side;
    for (kept, channel) in [(Kept::Said, Channel::Left), (Kept::Heard, Channel::Right)] {
        let (id, tenant) = (phone.recording, TenantId(Default::default()));
        let recording = Recording { id, tenant, call: side.call, asked_by: String::new() };
        media.wish(Wish::Record { side, kept, channel, recording: Box::new(recording) });
    }
}

/// A member that is told something hears that instead of the conference, and not both at once.
fn hear_alone(media: &Media, phone: &Phone) {
    let tenant = TenantId(Default::default());
    let object = Stored { tenant, object: Default::default(), sha256: [0; 32], bytes: 0 };
    media.fill(&object, Some(vec![8_000; 16_000].into()));
    let (clip, how) = (Clip::Sound(object), Often::Once);
    media.wish(Wish::Play { side: phone.side, play: PlayId(1), clip, how });
    let mut heard = [0; 512];
    let mut hear = || {
        let len = phone.socket.recv(&mut heard).unwrap();
        (u32::from_be_bytes(heard[4..8].try_into().unwrap()), heard[12..len].to_vec())
    };
    let told = |payload: &[u8]| payload.iter().all(|sample| *sample == payload[0]);
    while !told(&hear().1) {}
    let began = hear().0;
    for packet in 1..40 {
        let (timestamp, payload) = hear();
        assert_eq!((timestamp.wrapping_sub(began), told(&payload)), (packet * 160, true));
    }
}

/// A member's recording is whole, and something is heard on both ears for as long as it lasted.
fn check(folder: &Path, phone: &Phone) {
    let part = folder.join(format!("{}.0000.whole", phone.recording.0.hyphenated()));
    let begin = Instant::now();
    while !part.exists() {
        assert!(begin.elapsed() < COMES_WITHIN, "{part:?} does not come");
        std::thread::yield_now();
    }
    let rendering = Rendering::open(vec![part]).unwrap();
    assert_eq!(rendering.lost, 0);
    let mut wave = Vec::new();
    let take = |piece: &[u8]| {
        wave.extend_from_slice(piece);
        Ok(())
    };
    assert_eq!(rendering.render(take).unwrap(), 0, "each packet is in a codec that was agreed on");
    let loud = [0, 2].map(|ear| {
        let samples = wave[44 + ear..].chunks(4).map(|two| i16::from_le_bytes([two[0], two[1]]));
        samples.filter(|sample| sample.unsigned_abs() > 500).count() * 4
    });
    let least = wave.len() / 3;
    assert!(loud.iter().all(|loud| *loud > least), "{loud:?} of {}", wave.len());
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
