//! What a relayed packet of sound costs: many calls over loopback, ours and rtpengine under the same load.
//!
//! `cargo bench -p tests --bench rtp -- CALLS SECONDS THREADS [NG_ADDRESS PID]`
//!
//! Each call is two phones that send a packet every 20 ms. The CPU time is that of the relay's threads
//! alone, as the scheduler counts it. With the last two arguments the relay is a running rtpengine,
//! spoken to over its ng protocol; start a fresh one for each run. The relay's threads run on
//! cores 0 and 1, the phones on 2 and 3 (start rtpengine under `taskset -c 0,1`).

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use media::{Config, Media};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use pbx::chance::Chance;
use pbx::id::CallId;
use pbx::media::{Event, Side, Wish};
use pbx::moment::Moment;

/// G.711 of 20 ms with its head.
const PACKET: usize = 172;
/// Phones are spread over the milliseconds of a packet's interval.
const SLOTS: u64 = 20;
const SETTLES_FOR: Duration = Duration::from_secs(1);

/// What to run.
struct Plan {
    calls: usize,
    seconds: u64,
    threads: usize,
    peer: Option<(SocketAddr, u32)>,
}

/// A phone's port, and the relay's port for it.
struct Phone {
    socket: UdpSocket,
    target: SocketAddr,
}

/// What the phones sent and heard, and how late it was, in microseconds.
#[derive(Default)]
struct Traffic {
    sent: u64,
    heard: u64,
    delays: Vec<u64>,
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
    let (targets, ours) = match plan.peer {
        Some((ng, _)) => (through_rtpengine(ng, &addresses)?, None),
        None => {
            let (targets, media) = through_us(plan.threads, &addresses);
            (targets, Some(media))
        }
    };
    let phones = sockets.into_iter().zip(targets).map(|(socket, target)| Phone { socket, target });
    run(&plan, phones.collect(), ours.as_ref())
}

fn run(plan: &Plan, phones: Vec<Phone>, ours: Option<&Media>) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut halves = [Vec::new(), Vec::new()];
    for (number, phone) in phones.into_iter().enumerate() {
        if let Some(half) = halves.get_mut(number / 2 % 2) {
            half.push(phone);
        }
    }
    let start = Instant::now();
    let threads = (2..).zip(halves).map(|(core, half)| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || talk(core, &half, start, &stop))
    });
    let threads: Vec<_> = threads.collect();
    thread::sleep(SETTLES_FOR);
    let before = (cpu(plan)?, Instant::now());
    thread::sleep(Duration::from_secs(plan.seconds));
    let (used, took) = (cpu(plan)? - before.0, before.1.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut all = Traffic::default();
    for thread in threads {
        let traffic = thread.join().map_err(|_| io::Error::other("a phone panicked"))??;
        all.sent += traffic.sent;
        all.heard += traffic.heard;
        all.delays.extend(traffic.delays);
    }
    // A relay that loses packets is charged for those it delivered.
    let delivered = all.heard as f64 / start.elapsed().as_secs_f64() * took.as_secs_f64();
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
    if let Some(media) = ours {
        println!("{:?}", media.counters());
    }
    Ok(())
}

impl Plan {
    fn from_arguments() -> Option<Self> {
        // Cargo adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        let [calls, seconds, threads] = [arguments.next()?, arguments.next()?, arguments.next()?];
        let peer = match (arguments.next(), arguments.next()) {
            (Some(ng), Some(pid)) => Some((ng.parse().ok()?, pid.parse().ok()?)),
            _ => None,
        };
        let (calls, seconds) = (calls.parse().ok()?, seconds.parse().ok()?);
        Some(Self { calls, seconds, threads: threads.parse().ok()?, peer })
    }
}

/// The time that the relay's threads have run.
fn cpu(plan: &Plan) -> io::Result<Duration> {
    let (pid, prefix) = match plan.peer {
        Some((_, pid)) => (pid, ""),
        None => (process::id(), "media-"),
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

fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Opens and joins both sides of each call, and says where each phone sends.
fn through_us(threads: usize, phones: &[SocketAddr]) -> (Vec<SocketAddr>, Media) {
    let (told, events) = mpsc::channel();
    let config = Config { ports: 26_000..=54_000, threads };
    let media = Media::start(&config, move |event| drop(told.send(event)));
    let media = media.expect("the range is free");
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

/// Plays all phones of one thread until it is told to stop.
fn talk(core: usize, phones: &[Phone], start: Instant, stop: &AtomicBool) -> io::Result<Traffic> {
    pin(&[core])?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, phone) in (0..).zip(phones) {
        phone.socket.set_nonblocking(true)?;
        epoll.add(phone.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    let mut traffic = Traffic::default();
    for tick in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        listen_until(start + Duration::from_millis(tick), &epoll, phones, start, &mut traffic)?;
        let round = tick / SLOTS;
        for (number, phone) in
            (0..).zip(phones).filter(|(number, _)| number % SLOTS == tick % SLOTS)
        {
            let packet = packet(number, round, start.elapsed());
            traffic.sent += u64::from(phone.socket.send_to(&packet, phone.target).is_ok());
        }
    }
    Ok(traffic)
}

fn listen_until(
    due: Instant,
    epoll: &Epoll,
    phones: &[Phone],
    start: Instant,
    traffic: &mut Traffic,
) -> io::Result<()> {
    let mut ready = [EpollEvent::empty(); 256];
    let mut room = [0; 2_048];
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        let patience = match left > Duration::from_micros(300) {
            true => EpollTimeout::from(1_u8),
            false => EpollTimeout::ZERO,
        };
        let count = epoll.wait(&mut ready, patience)?;
        for event in ready.iter().take(count) {
            let Some(phone) = phones.get(event.data() as usize) else { continue };
            while let Ok((PACKET, _)) = phone.socket.recv_from(&mut room) {
                traffic.heard += 1;
                let sent_at = room.iter().skip(12).take(8).rev();
                let sent_at = sent_at.fold(0, |all: u64, byte| all << 8 | u64::from(*byte));
                let now = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                traffic.delays.push(now.saturating_sub(sent_at));
            }
        }
    }
    Ok(())
}

/// A packet of G.711 whose first samples say when it left.
fn packet(number: u64, round: u64, at: Duration) -> [u8; PACKET] {
    let mut packet = [0xd5; PACKET];
    let head = [
        &[0x80, 0][..],
        &(round as u16).to_be_bytes(),
        &(round as u32).wrapping_mul(160).to_be_bytes(),
        &(number as u32 + 77).to_be_bytes(),
        &(at.as_micros() as u64).to_le_bytes(),
    ];
    for (place, byte) in packet.iter_mut().zip(head.concat()) {
        *place = byte;
    }
    packet
}
