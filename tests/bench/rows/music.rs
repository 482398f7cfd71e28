//! What it costs to play music to phones on hold, beside relaying their calls; and whether prompts
//! that begin by the hundred leave in time.
//!
//! The threads of sound run in this process, and only they are metered: no call is set up by SIP.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use kit::failure::{Failure, Outcome};
use kit::tone;
use media::{Config, Media};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::unistd::{SysconfVar, sysconf};
use pbx::id::{CallId, TenantId};
use pbx::media::{
    Clip, Codec, CodecKind, Event, Often, PlayId, Protection, Reception, Reports, Side, Stored,
    Terms, Wish,
};
use uuid::Uuid;

use super::{Row, Settings, Verdict, median};
use crate::sound::{self, Phone, Talk, Traffic};

const CALLS: usize = 1_000;
const PROMPTS_A_SECOND: u32 = 500;
const PROMPT_LASTS: Duration = Duration::from_millis(2_500);
const OPENS_WITHIN: Duration = Duration::from_secs(10);
/// Until every phone has a socket of its own (`media::settling`).
const SETTLES_FOR: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(20);

/// The threads of sound, with their sides.
struct Stage {
    media: Media,
    events: Receiver<Event>,
    calls: u128,
}

impl Stage {
    fn set() -> Outcome<Self> {
        let (told, events) = channel();
        let told = Mutex::new(told);
        let told = Arc::new(told);
        let media = Media::start(&Config::default(), move |event| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever ended the measurement hears no more.
            let _ = told.send(event);
        })
        .map_err(|failure| Failure::new(failure.to_string()))?;
        let sound = tone::sine(16_000, 700.0, 16_000 * 60);
        media.fill(&clip(1), Some(sound.samples.into()));
        let prompt = 16 * PROMPT_LASTS.as_millis() as usize;
        media.fill(&clip(2), Some(tone::sine(16_000, 700.0, prompt).samples.into()));
        Ok(Self { media, events, calls: 0 })
    }

    /// A call between two phones, each with its socket.
    fn call(&mut self) -> Outcome<[(Side, Phone); 2]> {
        self.calls += 1;
        let call = CallId(Uuid::from_u128(self.calls));
        let sides = [0, 1].map(|leg| Side { call, leg });
        let mut phones = vec![];
        for side in sides {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let local = Ipv4Addr::LOCALHOST.into();
            self.media.wish(Wish::Open { side, local, port: None });
            let port = loop {
                match self.events.recv_timeout(OPENS_WITHIN)? {
                    Event::Opened { port, side: opened } if opened == side => break port,
                    Event::NoPorts { .. } => return Err(Failure::new("no port is free")),
                    _ => {}
                }
            };
            let rtp = Some(socket.local_addr()?);
            self.media.wish(Wish::Agree { side, terms: Box::new(terms()) });
            self.media.wish(Wish::Aim { side, rtp, rtcp: None, near: None });
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            phones.push((side, Phone::new(socket, target)));
        }
        self.media.wish(Wish::Join { a: sides[0], b: sides[1] });
        phones.try_into().map_err(|_| Failure::new("two phones are a call"))
    }

    fn play(&self, side: Side, play: u32, clip: Clip, how: Often) {
        self.media.wish(Wish::Play { side, play: PlayId(play), clip, how });
    }
}

fn clip(number: u128) -> Stored {
    let tenant = TenantId(Uuid::from_u128(1));
    Stored { tenant, object: Uuid::from_u128(number), sha256: [0; 32], bytes: 0 }
}

fn terms() -> Terms {
    Terms {
        codecs: vec![Codec { kind: CodecKind::Pcmu, to_peer: 0, from_peer: 0 }],
        events: None,
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection: Protection::Plain,
        reports: Reports::Beside,
    }
}

/// The CPU time of all threads of sound so far.
fn used() -> Duration {
    let ticks = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let rest = stat.rsplit_once(')')?.1;
        let mut words = rest.split_whitespace().skip(11);
        let own: u64 = words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?;
        name.starts_with("media-").then_some(own)
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let each = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let each = each.and_then(|each| u64::try_from(each).ok()).unwrap_or(100);
    Duration::from_millis(tasks.filter_map(ticks).sum::<u64>() * 1_000 / each.max(1))
}

/// What each phone heard: when, in microseconds, and which timestamp.
type Heard = BTreeMap<usize, Vec<(u64, u32)>>;

/// Listens at all of them until it is told to stop.
fn listen(core: usize, sockets: &[UdpSocket], stop: &AtomicBool) -> std::io::Result<Heard> {
    sound::pin(&[core])?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, socket) in (0..).zip(sockets) {
        socket.set_nonblocking(true)?;
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
    }
    let (mut heard, mut ready) = (Heard::new(), [EpollEvent::empty(); 1_024]);
    let (mut room, mut notes) = ([0; 2_048], nix::cmsg_space!(TimeSpec));
    while !stop.load(Ordering::Relaxed) {
        // A phone that sleeps must be woken, which on loopback is charged to whoever sends: a network
        // wakes nobody. When a packet came the kernel says.
        thread::sleep(Duration::from_millis(4));
        let count = epoll.wait(&mut ready, EpollTimeout::ZERO)?;
        for event in ready.iter().take(count) {
            let number = event.data() as usize;
            let Some(socket) = sockets.get(number) else { continue };
            while let Some((len, at)) = sound::receive(socket, &mut room, &mut notes) {
                if let (12.., Some(&[a, b, c, d])) = (len, room.get(4..8)) {
                    let timestamp = u32::from_be_bytes([a, b, c, d]);
                    heard.entry(number).or_default().push((at, timestamp));
                }
            }
        }
    }
    Ok(heard)
}

/// How many microseconds each packet was later than the earliest of its phone's.
fn lateness(heard: &Heard) -> Vec<f64> {
    let mut late = vec![];
    for packets in heard.values() {
        let Some((first, base)) = packets.first().copied() else { continue };
        let offsets = packets.iter().map(|(at, timestamp)| {
            let due = f64::from(timestamp.wrapping_sub(base)) * 125.0;
            *at as f64 - first as f64 - due
        });
        let offsets: Vec<f64> = offsets.collect();
        let earliest = offsets.iter().copied().fold(f64::INFINITY, f64::min);
        late.extend(offsets.into_iter().map(|offset| offset - earliest));
    }
    late.sort_by(f64::total_cmp);
    late
}

fn share(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Listens on the load's cores while something goes on.
fn listening<T>(
    settings: &Settings,
    sockets: Vec<UdpSocket>,
    act: impl FnOnce() -> Outcome<T>,
) -> Outcome<(T, Heard)> {
    let stop = Arc::new(AtomicBool::new(false));
    let cores = settings.cores.load.clone();
    let mut shares: Vec<Vec<UdpSocket>> = cores.iter().map(|_| vec![]).collect();
    let (count, mut all) = (cores.len(), Heard::new());
    for (number, socket) in sockets.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % count) {
            share.push(socket);
        }
    }
    let threads = cores.into_iter().zip(shares).map(|(core, share)| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || listen(core, &share, &stop))
    });
    let threads: Vec<_> = threads.collect();
    let done = act();
    stop.store(true, Ordering::Relaxed);
    for (place, thread) in threads.into_iter().enumerate() {
        let heard = thread.join().map_err(|_| Failure::new("a phone panicked"))??;
        all.extend(heard.into_iter().map(|(number, packets)| (number * count + place, packets)));
    }
    Ok((done?, all))
}

/// Lets all of them talk, until they are told to stop.
fn talk(
    settings: &Settings,
    phones: Vec<Phone>,
    talk: &Arc<Talk>,
) -> Vec<thread::JoinHandle<std::io::Result<Traffic>>> {
    let cores = &settings.cores.load;
    let mut shares: Vec<Vec<Phone>> = cores.iter().map(|_| vec![]).collect();
    for (number, phone) in phones.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % cores.len()) {
            share.push(phone);
        }
    }
    let threads = cores.clone().into_iter().zip(shares).map(|(core, share)| {
        let talk = Arc::clone(talk);
        thread::spawn(move || sound::talk(core, share, &talk))
    });
    threads.collect()
}

/// The threads' CPU time a second while calls are relayed, and then while all of them are on hold and
/// hear the same music.
fn relayed_and_held(settings: &Settings) -> Outcome<[f64; 2]> {
    let mut stage = Stage::set()?;
    let (mut phones, mut held, mut sockets) = (vec![], vec![], vec![]);
    for _ in 0..CALLS {
        let [(side, one), (_, other)] = stage.call()?;
        held.push(side);
        sockets.push(one.socket.try_clone()?);
        phones.extend([one, other]);
    }
    let talking = Arc::new(Talk::new());
    let threads = talk(settings, phones, &talking);
    thread::sleep(SETTLES_FOR);
    let (before, heard) = (used(), talking.heard());
    thread::sleep(settings.window.count_for);
    let (relayed, heard) = (used() - before, talking.heard() - heard);
    talking.stop();
    for thread in threads {
        thread.join().map_err(|_| Failure::new("a phone panicked"))??;
    }
    for side in held {
        stage.play(side, 1, Clip::Music(clip(1)), Often::Forever);
    }
    let (music, played) = listening(settings, sockets, || {
        thread::sleep(settings.window.warm_for);
        let before = used();
        thread::sleep(settings.window.count_for);
        Ok(used() - before)
    })?;
    let seconds = settings.window.count_for.as_secs_f64();
    let packets: usize = played.values().map(Vec::len).sum();
    let whole = (settings.window.warm_for + settings.window.count_for).as_secs_f64();
    eprintln!(
        "  relayed: {:.0} packets/s; held: {:.0} packets/s, {:.2} ms late at p99",
        heard as f64 / seconds,
        packets as f64 / whole,
        share(&lateness(&played), 0.99) / 1e3
    );
    Ok([relayed, music].map(|used| used.as_secs_f64() / seconds))
}

pub(super) fn music(settings: &Settings) -> Outcome<Vec<Row>> {
    let (mut of_relayed, mut of_held) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        let [relayed, held] = relayed_and_held(settings)?;
        of_relayed.push(relayed);
        of_held.push(held);
    }
    let ratio = median(of_held.iter().zip(&of_relayed).map(|(held, relayed)| held / relayed));
    Ok(vec![Row {
        work: format!("{CALLS} calls on hold with the same music"),
        target: "≤ 1/3 of as many relayed",
        ours: format!("{:.2} cores", median(of_held)),
        peer: format!("relayed: {:.2} cores", median(of_relayed)),
        result: format!("{ratio:.2}"),
        verdict: Verdict::at_most(ratio, 1.0 / 3.0),
    }])
}

pub(super) fn prompts(settings: &Settings) -> Outcome<Vec<Row>> {
    let mut stage = Stage::set()?;
    let count = PROMPTS_A_SECOND as usize * (PROMPT_LASTS.as_millis() as usize / 1_000 + 1);
    let (mut sockets, mut sides, mut silent) = (vec![], vec![], vec![]);
    for _ in 0..count {
        let [(side, phone), other] = stage.call()?;
        sockets.push(phone.socket);
        sides.push(side);
        silent.push(other);
    }
    let (began, heard) = listening(settings, sockets, || {
        let (begin, mut began) = (Instant::now(), BTreeMap::<usize, Vec<u64>>::new());
        let total = PROMPTS_A_SECOND * settings.window.count_for.as_secs() as u32;
        for number in 0..total {
            let due = begin + Duration::from_secs(1) * number / PROMPTS_A_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let place = number as usize % sides.len();
            if let Some(side) = sides.get(place) {
                began.entry(place).or_default().push(sound::micros());
                stage.play(*side, number, Clip::Sound(clip(2)), Often::Once);
            }
        }
        thread::sleep(PROMPT_LASTS + FRAME);
        Ok(began)
    })?;
    let mut starts = vec![];
    for (place, began) in &began {
        let Some(packets) = heard.get(place) else { continue };
        let first = |at: &u64| packets.iter().find(|(heard, _)| heard > at);
        let waits = began.iter().filter_map(|at| Some(first(at)?.0 - *at));
        starts.extend(waits.map(|wait| wait as f64));
    }
    starts.sort_by(f64::total_cmp);
    let late = lateness(&heard);
    let packets: usize = heard.values().map(Vec::len).sum();
    let p99 = share(&late, 0.99) / 1e3;
    Ok(vec![Row {
        work: format!("{PROMPTS_A_SECOND} prompts begun a second"),
        target: "no packet later than 5 ms at p99",
        ours: format!(
            "{packets} packets, heard {:.1} ms after the wish at p99",
            share(&starts, 0.99) / 1e3
        ),
        peer: "–".to_owned(),
        result: format!("{p99:.2} ms"),
        verdict: Verdict::at_most(p99, 5.0),
    }])
}
