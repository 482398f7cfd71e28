//! What it costs to record a call, beside relaying it: CPU time of the threads of sound, of the writer
//! and of rendering; `cargo bench -p media --bench recordings`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "its output is what it is for")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use media::recording::{Folder, Rendering};
use media::{Config, Media};
use pbx::chance::Chance;
use pbx::id::{CallId, RecordingId, TenantId};
use pbx::media::{Channel, Event, Kept, Recording, Side, Wish};
use pbx::moment::Moment;

const CALLS: usize = 200;
const TALK_FOR: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
const PORTS: [u16; 2] = [30_000, 32_000];

fn main() {
    for round in 0..ROUNDS {
        let (plain, _) = talk(None, PORTS[0]);
        let folder =
            std::env::temp_dir().join(format!("recordings-{}-{round}", std::process::id()));
        let (recorded, rendered) = talk(Some(&folder), PORTS[1]);
        fs::remove_dir_all(&folder).unwrap();
        let a_second =
            |used: Duration| used.as_secs_f64() * 1e6 / CALLS as f64 / TALK_FOR.as_secs_f64();
        let (plain, recorded, rendered) = (a_second(plain), a_second(recorded), a_second(rendered));
        println!(
            "a second of a call: plain {plain:.0} µs, recorded {recorded:.0} µs, rendered \
             {rendered:.0} µs: {:.2} of plain",
            (recorded + rendered) / plain
        );
    }
}

/// What the threads used, and what rendering did.
fn talk(folder: Option<&Path>, first: u16) -> (Duration, Duration) {
    let (told, events) = channel();
    let recordings = folder.map(|path| Folder { path: path.to_owned(), limit: 1 << 40 });
    let config = Config { ports: first..=first + 1_999, recordings, ..Config::default() };
    let media = Media::start(&config, move |event| drop(told.send(event))).unwrap();
    let mut phones = Vec::new();
    let mut chance = Chance::from_seed([5; 32]);
    let calls = [(); CALLS].map(|()| CallId(chance.uuid(Moment::from_secs(1))));
    for call in calls {
        let sides = [0, 1].map(|leg| Side { call, leg });
        let sockets = sides.map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        for (side, socket) in sides.into_iter().zip(&sockets) {
            let (local, rtp) = (Ipv4Addr::LOCALHOST.into(), socket.local_addr().ok());
            socket.set_nonblocking(true).unwrap();
            media.wish(Wish::Open { side, local, port: None });
            media.wish(Wish::Aim { side, rtp, rtcp: None, near: None });
        }
        media.wish(Wish::Join { a: sides[0], b: sides[1] });
        for (side, channel) in sides.into_iter().zip([Channel::Left, Channel::Right]) {
            if folder.is_some() {
                let (id, tenant) = (RecordingId(side.call.0), TenantId(side.call.0));
                let asked_by = String::new();
                let recording = Box::new(Recording { id, tenant, call: side.call, asked_by });
                media.wish(Wish::Record { side, kept: Kept::Said, channel, recording });
            }
        }
        let mut ports = [0; 2];
        while ports.contains(&0) {
            if let Event::Opened { side, port } = events.recv().unwrap() {
                ports[usize::from(side.leg)] = port;
            }
        }
        let ours = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        phones.extend(sockets.into_iter().zip(ours));
    }
    speak(&phones, 0..100);
    let before = used();
    let number = (TALK_FOR.as_millis() / 20) as u16;
    speak(&phones, 100..100 + number);
    let spent = used() - before;
    for call in calls {
        for leg in [0, 1] {
            media.wish(Wish::Close { side: Side { call, leg } });
        }
    }
    drop(media);
    let talked = f64::from(number) / f64::from(number + 100);
    (spent, folder.map_or(Duration::ZERO, render).mul_f64(talked))
}

/// All phones say these packets, one each 20 ms, and hear what comes.
fn speak(phones: &[(UdpSocket, SocketAddr)], packets: std::ops::Range<u16>) {
    let begin = Instant::now();
    let mut heard = [0; 256];
    let mut packet = [0xd5; 172];
    for (turn, number) in (0_u32..).zip(packets) {
        thread::sleep((Duration::from_millis(20) * turn).saturating_sub(begin.elapsed()));
        for (ssrc, (socket, ours)) in (1_u32..).zip(phones) {
            packet[..2].copy_from_slice(&[0x80, 8]);
            packet[2..4].copy_from_slice(&number.to_be_bytes());
            packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            socket.send_to(&packet, ours).unwrap();
            while socket.recv(&mut heard).is_ok() {}
        }
    }
}

/// CPU time of all threads of sound, the writer's among them.
fn used() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let is_ours = |task: &PathBuf| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.starts_with("media-") || name.starts_with("recordings")
    };
    tasks.filter(is_ours).map(|task| cpu_of(&task)).sum()
}

fn cpu_of(task: &Path) -> Duration {
    let text = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Renders all recordings into files, with their checksums.
fn render(folder: &Path) -> Duration {
    let me = PathBuf::from("/proc/thread-self");
    let before = cpu_of(&me);
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().flatten().map(|f| f.path()).collect();
    for file in files {
        let wave = file.with_extension("wav");
        let mut to = fs::File::create(&wave).unwrap();
        let mut sum = ring::digest::Context::new(&ring::digest::SHA256);
        let rendering = Rendering::open(vec![file]).unwrap();
        rendering
            .render(|piece| {
                sum.update(piece);
                std::io::Write::write_all(&mut to, piece)
            })
            .unwrap();
        sum.finish();
    }
    cpu_of(&me) - before
}
