//! Phones that talk: each sends a packet of sound every 20 ms and hears what the relay sends it.
//!
//! RFC 3550. What they say is a [`Voice`]'s matter; when it came, the kernel says, so that a phone
//! that has no time to listen makes no relay look slow.

mod sealed;
mod speech;
mod voice;

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

pub(crate) use sealed::Sealed;
pub(crate) use speech::{Ear, Speech};
use voice::Heard;
pub(crate) use voice::{Speaking, Voice};

/// Phones are spread over the milliseconds of a packet's interval.
const SLOTS: u64 = 20;
/// How long what is on its way at the end may take.
const DRAINS_FOR: Duration = Duration::from_millis(200);

/// A phone's port, the relay's port for it, and what it says there.
pub(crate) struct Phone {
    pub(crate) socket: UdpSocket,
    pub(crate) target: SocketAddr,
    pub(crate) voice: Voice,
}

/// What the phones sent and heard.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Packets that say when they left.
    pub(crate) sent: u64,
    pub(crate) heard: u64,
    /// How late these were, in microseconds.
    pub(crate) delays: Vec<u64>,
    /// Packets of speech.
    pub(crate) said: u64,
    pub(crate) understood: u64,
    /// What came and was not what the other phone had said.
    pub(crate) wrong: u64,
    /// How loud it was where somebody listened, beside what had been said.
    pub(crate) levels: Vec<f64>,
}

/// What all talking threads share.
pub(crate) struct Talk {
    start: Instant,
    stop: AtomicBool,
    heard: AtomicU64,
}

impl Phone {
    /// One that says in each packet when it left.
    pub(crate) fn new(socket: UdpSocket, target: SocketAddr) -> Self {
        Self { socket, target, voice: Voice::Timed }
    }

    /// Says one packet, by itself.
    pub(crate) fn say(&mut self, number: u64, round: u64) {
        let mut room = Vec::new();
        self.voice.say(number, round, micros(), &mut room);
        // One that is not sent is not heard, which whoever counts will see.
        let _ = self.socket.send_to(&room, self.target);
    }

    /// How many packets have come to it.
    pub(crate) fn count(&self) -> u64 {
        let _ = self.socket.set_nonblocking(true);
        let mut room = [0; 2_048];
        std::iter::from_fn(|| self.socket.recv(&mut room).ok()).map(|_| 1).sum()
    }
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
        self.said += other.said;
        self.understood += other.understood;
        self.wrong += other.wrong;
        self.delays.extend(other.delays);
        self.levels.extend(other.levels);
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
pub(crate) fn talk(core: usize, mut phones: Vec<Phone>, talk: &Talk) -> io::Result<Traffic> {
    pin(&[core])?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, phone) in (0..).zip(&phones) {
        phone.socket.set_nonblocking(true)?;
        setsockopt(&phone.socket, sockopt::ReceiveTimestampns, &true)?;
        epoll.add(phone.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    let mut traffic = Traffic::default();
    let mut room = Vec::new();
    let began_at = talk.start.elapsed();
    for tick in 0.. {
        if talk.stop.load(Ordering::Relaxed) {
            break;
        }
        let due = talk.start + began_at + Duration::from_millis(tick);
        listen_until(due, &epoll, &mut phones, talk, &mut traffic)?;
        let round = tick / SLOTS;
        let speaking = (0..).zip(&mut phones).filter(|(number, _)| number % SLOTS == tick % SLOTS);
        for (number, phone) in speaking {
            phone.voice.say(number, round, micros(), &mut room);
            let sent = u64::from(phone.socket.send_to(&room, phone.target).is_ok());
            match phone.voice {
                Voice::Timed | Voice::Sealed(_) => traffic.sent += sent,
                Voice::Speaking(_) => traffic.said += sent,
            }
        }
    }
    listen_until(Instant::now() + DRAINS_FOR, &epoll, &mut phones, talk, &mut traffic)?;
    traffic.levels = phones.iter().filter_map(|phone| phone.voice.level()).collect();
    Ok(traffic)
}

fn listen_until(
    due: Instant,
    epoll: &Epoll,
    phones: &mut [Phone],
    talk: &Talk,
    traffic: &mut Traffic,
) -> io::Result<()> {
    let mut ready = [EpollEvent::empty(); 256];
    let mut notes = nix::cmsg_space!(TimeSpec);
    let mut room = [0; 2_048];
    // At least once, so that who is late still hears.
    loop {
        let left = due.saturating_duration_since(Instant::now());
        let patience = match left > Duration::from_micros(300) {
            true => EpollTimeout::from(1_u8),
            false => EpollTimeout::ZERO,
        };
        let count = epoll.wait(&mut ready, patience)?;
        let before = traffic.heard + traffic.understood;
        for event in ready.iter().take(count) {
            let Some(phone) = phones.get_mut(event.data() as usize) else { continue };
            while let Some((len, came_at)) = receive(&phone.socket, &mut room, &mut notes) {
                match phone.voice.hear(room.get(..len).unwrap_or_default()) {
                    Heard::SentAt(sent_at) => {
                        traffic.heard += 1;
                        traffic.delays.push(came_at.saturating_sub(sent_at));
                    }
                    Heard::Speech => traffic.understood += 1,
                    Heard::Wrong => traffic.wrong += 1,
                    Heard::Report => {}
                }
            }
        }
        let now = traffic.heard + traffic.understood;
        talk.heard.fetch_add(now - before, Ordering::Relaxed);
        if left.is_zero() {
            return Ok(());
        }
    }
}

/// A datagram that waits, and when it came.
pub(crate) fn receive(
    socket: &UdpSocket,
    room: &mut [u8],
    notes: &mut [u8],
) -> Option<(usize, u64)> {
    let mut parts = [IoSliceMut::new(room)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(notes), flags).ok()?;
    let came_at = message.cmsgs().ok()?.find_map(|note| match note {
        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
        _ => None,
    });
    Some((message.bytes, came_at.map_or_else(micros, in_micros)))
}

/// What the clock says by which the kernel notes when a datagram came.
pub(crate) fn micros() -> u64 {
    in_micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn in_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
