//! What phones say is copied from their ports to a file, and a recorded packet costs no memory.
//!
//! One test alone in its process, as every allocation of the thread of sound is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ledger;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use media::recording::{Folder, Rendering};
use media::{Config, Media};
use pbx::chance::Chance;
use pbx::id::{CallId, RecordingId, TenantId};
use pbx::media::{Channel, Event, Kept, Recording, Side, Wish};
use pbx::moment::Moment;

use ledger::{Of, count_me, entries};

const COMES_WITHIN: Duration = Duration::from_secs(5);
const CALLS: usize = 10;

#[test]
fn a_recorded_call_is_whole_in_its_file_and_its_packets_cost_no_memory() {
    let folder = std::env::temp_dir().join(format!("recorded-{}", std::process::id()));
    let (told, events) = channel();
    let recordings = Some(Folder { path: folder.clone(), limit: 1 << 30 });
    let config = Config { ports: 20_500..=20_599, threads: 1, recordings, ..Config::default() };
    let media = Media::start(&config, move |event| {
        // Told by the thread of sound. The writer's waits, and looks how full its folder is.
        count_me();
        told.send(event).unwrap();
    });
    let media = media.unwrap();
    let mut chance = Chance::from_seed([9; 32]);
    let calls = [(); CALLS].map(|()| Call::begin(&media, &events, &mut chance));
    calls.iter().for_each(|call| call.talk(0..100));
    while events.recv_timeout(Duration::from_millis(400)).is_ok() {}

    let before = entries(Of::Marked);
    calls.iter().for_each(|call| call.talk(100..400));
    let allocated = entries(Of::Marked) - before;
    assert_eq!(allocated, 0, "in 6000 packets");

    for call in &calls {
        call.sides.iter().for_each(|side| media.wish(Wish::Close { side: *side }));
    }
    for call in &calls {
        let part = folder.join(format!("{}.0000.whole", call.recording.0.hyphenated()));
        wait_for(&part);
        let rendering = Rendering::open(vec![part]).unwrap();
        assert_eq!(rendering.recording.call, call.sides[0].call);
        assert_eq!(rendering.lost, 0);
    }
    assert_eq!(media.counters().unrecorded, 0);
    what_is_said_at_the_same_moment_is_heard_at_the_same_moment(&media, &events, &folder);
    without_room_nothing_is_recorded_and_the_call_goes_on(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn what_is_said_at_the_same_moment_is_heard_at_the_same_moment(
    media: &Media,
    events: &Receiver<Event>,
    folder: &std::path::Path,
) {
    let mut chance = Chance::from_seed([8; 32]);
    let call = Call::begin(media, events, &mut chance);
    // Half a second of silence from each, then a click.
    let begin = Instant::now();
    for number in 0..50_u16 {
        while begin.elapsed() < Duration::from_millis(20) * u32::from(number) {
            std::thread::yield_now();
        }
        for phone in 0..2 {
            let mut packet = packet(phone as u32 + 1, number);
            packet[12..].fill(if number == 25 { 0x80 } else { 0xff });
            call.phones[phone].send_to(&packet, call.ours[phone]).unwrap();
        }
    }
    call.sides.iter().for_each(|side| media.wish(Wish::Close { side: *side }));
    let part = folder.join(format!("{}.0000.whole", call.recording.0.hyphenated()));
    wait_for(&part);
    let mut wave = Vec::new();
    let rendering = Rendering::open(vec![part]).unwrap();
    rendering
        .render(|piece| {
            wave.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    let clicks = [0, 2].map(|ear| {
        let mut samples =
            wave[44 + ear..].chunks(4).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        samples.position(|sample| sample.unsigned_abs() > 4_000).unwrap() as f64 / 8.0
    });
    assert!((clicks[0] - clicks[1]).abs() < 40.0, "{clicks:?} ms");
    assert!((clicks[0] - 500.0).abs() < 60.0, "{clicks:?} ms");
}

fn without_room_nothing_is_recorded_and_the_call_goes_on(folder: &std::path::Path) {
    let (told, events) = channel();
    let recordings = Some(Folder { path: folder.to_owned(), limit: 0 });
    let config = Config { ports: 20_400..=20_499, threads: 1, recordings, ..Config::default() };
    let media = Media::start(&config, move |event| told.send(event).unwrap()).unwrap();
    let call = Call::begin(&media, &events, &mut Chance::from_seed([7; 32]));
    call.talk(0..100);
    let refused = std::iter::from_fn(|| events.recv_timeout(COMES_WITHIN).ok());
    let mut refused = refused.filter(|event| matches!(event, Event::Unrecorded { .. }));
    assert_eq!(refused.next(), Some(Event::Unrecorded { side: call.sides[0] }));
    assert_eq!(media.counters().recordings_failed, 1);
}

fn wait_for(part: &PathBuf) {
    let begin = Instant::now();
    while !part.exists() {
        assert!(begin.elapsed() < COMES_WITHIN, "{part:?} does not come");
        std::thread::yield_now();
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
    recording: RecordingId,
}

impl Call {
    fn begin(media: &Media, events: &Receiver<Event>, chance: &mut Chance) -> Self {
        let call = CallId(chance.uuid(Moment::from_secs(1)));
        let id = RecordingId(chance.uuid(Moment::from_secs(1)));
        let sides = [0, 1].map(|leg| Side { call, leg });
        let phones = sides.map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        for (side, phone) in sides.into_iter().zip(&phones) {
            phone.set_read_timeout(Some(COMES_WITHIN)).unwrap();
            let (local, rtp) = (Ipv4Addr::LOCALHOST.into(), phone.local_addr().ok());
            media.wish(Wish::Open { side, local, port: None });
            media.wish(Wish::Aim { side, rtp, rtcp: None, near: None });
        }
        media.wish(Wish::Join { a: sides[0], b: sides[1] });
        for (side, channel) in sides.into_iter().zip([Channel::Left, Channel::Right]) {
            let tenant = TenantId(Default::default());
            let recording = Recording { id, tenant, call, asked_by: String::new() };
            media.wish(Wish::Record {
                side,
                kept: Kept::Said,
                channel,
                recording: Box::new(recording),
            });
        }
        let mut opened = std::iter::from_fn(|| events.recv_timeout(COMES_WITHIN).ok());
        let ours = sides.map(|wanted| {
            loop {
                match opened.next() {
                    Some(Event::Opened { side, port }) if side == wanted => {
                        break SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                    }
                    Some(_) => {}
                    None => panic!("not opened"),
                }
            }
        });
        Self { sides, phones, ours, recording: id }
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
}
