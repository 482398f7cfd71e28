//! What a relayed packet of sound costs: many calls over loopback, ours and rtpengine under the same load.
//!
//! `cargo bench -p tests --bench rtp -- CALLS SECONDS THREADS [WAY | bare WAY | NG_ADDRESS PID]`
//!
//! Each call is two phones that send a packet every 20 ms. The CPU time is that of the relay's threads
//! alone, as the scheduler counts it. WAY is `auto`, `io_uring` or `epoll`; with `bare` the same way
//! relays between fixed addresses and asks nothing, which is the floor. With an address and a process
//! the relay is a running rtpengine, spoken to over its ng protocol; start a fresh one for each run.
//! The relay's threads run on cores 0 and 1, the phones on 2 and 3 (start rtpengine under `taskset
//! -c 0,1`).

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use media::bare::Bare;
use media::{Config, Io, Media};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Side, Wish};
use pbx::moment::Moment;

#[path = "sound/mod.rs"]
#[expect(dead_code, unused_imports, reason = "phones here say nothing but when they say it")]
mod sound;

use sound::{Phone, Talk, Traffic, pin};

/// A call that lasts costs less a packet than one that has just begun; what is measured is the first kind.
const SETTLES_FOR: Duration = Duration::from_secs(5);

/// What to run.
struct Plan {
    calls: usize,
    seconds: u64,
    threads: usize,
    relay: Relay,
}

/// What relays.
#[derive(Clone, Copy)]
enum Relay {
    Ours(Io),
    Bare(Io),
    Rtpengine { ng: SocketAddr, pid: u32 },
}

/// What relays, once it does, kept until it need not any more.
enum Running {
    Ours(Media),
    Bare(Bare),
    Rtpengine,
}

fn main() -> io::Result<()> {
    let Some(plan) = Plan::from_arguments() else {
        println!("CALLS SECONDS THREADS [NG_ADDRESS PID]: nothing to do without them");
        return Ok(());
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let sockets = (0..plan.calls * 2)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<Vec<_>>>()?;
    let addresses = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
    pin(&[0, 1])?;
    let (targets, running) = match plan.relay {
        Relay::Rtpengine { ng, .. } => (through_rtpengine(ng, &addresses)?, Running::Rtpengine),
        Relay::Ours(io) => {
            let (targets, media) = through_us(plan.threads, io, &addresses);
            (targets, Running::Ours(media))
        }
        Relay::Bare(io) => {
            let (bare, targets) = Bare::start(io, plan.threads, &addresses)?;
            (targets, Running::Bare(bare))
        }
    };
    let phones =
        sockets.into_iter().zip(targets).map(|(socket, target)| Phone::new(socket, target));
    run(&plan, phones.collect(), running)
}

fn run(plan: &Plan, phones: Vec<Phone>, running: Running) -> io::Result<()> {
    let mut halves = [Vec::new(), Vec::new()];
    for (number, phone) in phones.into_iter().enumerate() {
        if let Some(half) = halves.get_mut(number / 2 % 2) {
            half.push(phone);
        }
    }
    let talk = Arc::new(Talk::new());
    let threads = (2..).zip(halves).map(|(core, half)| {
        let talk = Arc::clone(&talk);
        thread::spawn(move || sound::talk(core, half, &talk))
    });
    let threads: Vec<_> = threads.collect();
    thread::sleep(SETTLES_FOR);
    let before = (cpu(plan)?, talk.heard(), Instant::now());
    thread::sleep(Duration::from_secs(plan.seconds));
    let (used, took) = (cpu(plan)? - before.0, before.2.elapsed());
    // A relay that loses packets is charged for those it delivered.
    let delivered = (talk.heard() - before.1) as f64;
    talk.stop();
    let mut all = Traffic::default();
    for thread in threads {
        all.add(thread.join().map_err(|_| io::Error::other("a phone panicked"))??);
    }
    all.delays.sort_unstable();
    let delay = |share: usize| all.delays.get(all.delays.len() * share / 100).copied();
    println!(
        "{} calls: {:.2} µs of CPU a packet, {:.0} % of a core, {} sent, {} heard, delay p50 {:?} p99 {:?} µs",
        plan.calls,
        used.as_secs_f64() * 1e6 / delivered,
        used.as_secs_f64() / took.as_secs_f64() * 100.0,
        all.sent,
        all.heard,
        delay(50),
        delay(99),
    );
    match running {
        Running::Ours(media) => println!("{:?}", media.counters()),
        Running::Bare(bare) => drop(bare),
        Running::Rtpengine => {}
    }
    Ok(())
}

impl Plan {
    fn from_arguments() -> Option<Self> {
        // Cargo adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let [calls, seconds, threads] = [arguments.next()?, arguments.next()?, arguments.next()?];
        let way = |name: &str| match name {
            "auto" => Some(Io::Auto),
            "io_uring" => Some(Io::IoUring),
            "epoll" => Some(Io::Epoll),
            _ => None,
        };
        let relay = match (arguments.next().as_deref(), arguments.next().as_deref()) {
            (None, _) => Relay::Ours(Io::Auto),
            (Some(name), None) => Relay::Ours(way(name)?),
            (Some("bare"), Some(name)) => Relay::Bare(way(name)?),
            (Some(ng), Some(pid)) => {
                Relay::Rtpengine { ng: ng.parse().ok()?, pid: pid.parse().ok()? }
            }
        };
        let (calls, seconds) = (calls.parse().ok()?, seconds.parse().ok()?);
        Some(Self { calls, seconds, threads: threads.parse().ok()?, relay })
    }
}

/// The time that the relay's threads have run.
fn cpu(plan: &Plan) -> io::Result<Duration> {
    let (pid, prefix) = match plan.relay {
        Relay::Rtpengine { pid, .. } => (pid, ""),
        Relay::Ours(_) | Relay::Bare(_) => (process::id(), "media-"),
    };
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if !fs::read_to_string(task.join("comm"))?.starts_with(prefix) {
            continue;
        }
        let ran = fs::read_to_string(task.join("schedstat"))?;
        nanos += ran.split(' ').next().and_then(|ran| ran.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// Memory of this process, in KiB; what the kernel keeps for sockets is not in it.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Opens and joins both sides of each call, and says where each phone sends.
fn through_us(threads: usize, io: Io, phones: &[SocketAddr]) -> (Vec<SocketAddr>, Media) {
    let (told, events) = mpsc::channel();
    let config = Config { ports: 26_000..=54_000, threads, io, ..Config::default() };
    let media = Media::start(&config, move |event| drop(told.send(event)));
    let media = media.expect("the range is free");
    let empty = resident();
    let mut chance = Chance::from_seed([7; 32]);
    let calls = phones.chunks(2).map(|_| CallId(chance.uuid(Moment::from_secs(1))));
    let calls: Vec<CallId> = calls.collect();
    let sides = calls.iter().flat_map(|call| [0, 1].map(|leg| Side { call: *call, leg }));
    let sides: Vec<Side> = sides.collect();
    for (side, phone) in sides.iter().copied().zip(phones.iter().copied()) {
        media.wish(Wish::Open { side, local: phone.ip(), port: None });
        media.wish(Wish::Aim { side, rtp: Some(phone), rtcp: None, near: None });
    }
    for pair in sides.chunks_exact(2) {
        if let [a, b] = *pair {
            media.wish(Wish::Join { a, b });
        }
    }
    let mut ports = HashMap::new();
    while ports.len() < sides.len() {
        match events.recv().expect("the relay lives") {
            Event::Opened { side, port } => drop(ports.insert(side, port)),
            other => println!("{other:?}"),
        }
    }
    let more = resident().saturating_sub(empty);
    println!("{:.1} KiB of memory a call", more as f64 / calls.len().max(1) as f64);
    let targets = sides.iter().filter_map(|side| ports.get(side));
    let targets = targets.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
    (targets.collect(), media)
}

/// The same with rtpengine: an offer and an answer a call (its ng protocol, in bencode).
fn through_rtpengine(ng: SocketAddr, phones: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut targets = Vec::new();
    for (number, pair) in phones.chunks_exact(2).enumerate() {
        let call = format!("{}-{number}", process::id());
        let fields = |command: &str, phone: &SocketAddr| {
            let sdp = format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                 m=audio {} RTP/AVP 0\r\n",
                phone.port(),
            );
            let pairs =
                [("call-id", &*call), ("command", command), ("from-tag", "a"), ("sdp", &sdp)];
            let text = |text: &str| format!("{}:{text}", text.len());
            pairs.map(|(key, value)| text(key) + &text(value)).concat()
        };
        let [ada, bob] = pair else { continue };
        let for_bob =
            ask(&socket, ng, &format!("{call}-o"), &format!("d{}e", fields("offer", ada)))?;
        let for_ada = ask(
            &socket,
            ng,
            &format!("{call}-a"),
            &format!("d{}6:to-tag1:be", fields("answer", bob)),
        )?;
        targets.extend([for_ada, for_bob]);
    }
    Ok(targets)
}

fn ask(socket: &UdpSocket, ng: SocketAddr, cookie: &str, body: &str) -> io::Result<SocketAddr> {
    socket.send_to(format!("{cookie} {body}").as_bytes(), ng)?;
    let mut room = [0; 8_192];
    let (len, _) = socket.recv_from(&mut room)?;
    let reply = String::from_utf8_lossy(room.get(..len).unwrap_or_default()).into_owned();
    let port = reply.split("m=audio ").nth(1).and_then(|line| line.split(' ').next());
    let port: Option<u16> = port.and_then(|port| port.parse().ok());
    port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok_or(io::Error::other(reply))
}
