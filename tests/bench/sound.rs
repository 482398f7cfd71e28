//! Phones that talk: each sends a packet of sound every 20 ms and hears what the relay sends it.
//!
//! RFC 3550 with G.711 (RFC 3551). A packet's first samples say when it left, so that whoever hears
//! it knows how long the relay took.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::Pid;

/// G.711 of 20 ms with its head.
const PACKET: usize = 172;
/// Phones are spread over the milliseconds of a packet's interval.
const SLOTS: u64 = 20;

/// A phone's port, and the relay's port for it.
pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    pub(crate) target: SocketAddr,
}

/// What the phones sent and heard, and how late it was, in microseconds.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) heard: u64,
    pub(crate) delays: Vec<u64>,
}

/// What all talking threads share.
pub(crate) struct Talk {
    start: Instant,
    stop: AtomicBool,
    heard: AtomicU64,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), stop: AtomicBool::new(false), heard: AtomicU64::new(0) }
    }

    /// Packets heard so far.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Traffic {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.heard += other.heard;
        self.delays.extend(other.delays);
    }
}

/// Keeps the present thread, and what it starts, on these cores.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Plays all phones of one thread until it is told to stop.
pub(crate) fn talk(core: usize, phones: &[Phone], talk: &Talk) -> io::Result<Traffic> {
    pin(&[core])?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, phone) in (0..).zip(phones) {
        phone.socket.set_nonblocking(true)?;
        epoll.add(phone.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    let mut traffic = Traffic::default();
    let began_at = talk.start.elapsed();
    for tick in 0.. {
        if talk.stop.load(Ordering::Relaxed) {
            break;
        }
        let due = talk.start + began_at + Duration::from_millis(tick);
        listen_until(due, &epoll, phones, talk, &mut traffic)?;
        let round = tick / SLOTS;
        for (number, phone) in
            (0..).zip(phones).filter(|(number, _)| number % SLOTS == tick % SLOTS)
        {
            let packet = packet(number, round, talk.start.elapsed());
            traffic.sent += u64::from(phone.socket.send_to(&packet, phone.target).is_ok());
        }
    }
    Ok(traffic)
}

fn listen_until(
    due: Instant,
    epoll: &Epoll,
    phones: &[Phone],
    talk: &Talk,
    traffic: &mut Traffic,
) -> io::Result<()> {
    let mut ready = [EpollEvent::empty(); 256];
    let mut room = [0; 2_048];
    // At least once, so that who is late still hears.
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let patience = match left > Duration::from_micros(300) {
            true => EpollTimeout::from(1_u8),
            false => EpollTimeout::ZERO,
        };
        let count = epoll.wait(&mut ready, patience)?;
        let before = traffic.heard;
        for event in ready.iter().take(count) {
            let Some(phone) = phones.get(event.data() as usize) else { continue };
            while let Ok((PACKET, _)) = phone.socket.recv_from(&mut room) {
                traffic.heard += 1;
                let sent_at = room.iter().skip(12).take(8).rev();
                let sent_at = sent_at.fold(0, |all: u64, byte| all << 8 | u64::from(*byte));
                let now = u64::try_from(talk.start.elapsed().as_micros()).unwrap_or(u64::MAX);
                traffic.delays.push(now.saturating_sub(sent_at));
            }
        }
        talk.heard.fetch_add(traffic.heard - before, Ordering::Relaxed);
        if left.is_zero() {
            return Ok(());
        }
    }
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
