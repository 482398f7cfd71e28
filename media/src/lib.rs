//! What is heard: threads that own the ports of calls and relay sound between their sides.
//!
//! Wishes in, events out, as plain data of [`pbx::media`]. The pure half (`session`, `stream`,
//! `latch`, `contest`, `control`, `measure`, `allowance`, `packet`, `rtp`,
//! `settling`, `spare`) takes time as an argument and has
//! no socket; `worker`, `io`, `socket`, `inbox` and `cores` are the only files that touch the system.
//! Beside them stand [`stun`], which tells phones their public address, and [`upload`], which reads the
//! recordings that people bring; both need neither.

#![deny(unsafe_code)]

mod allowance;
pub mod bare;
mod clock;
pub mod codec;
mod contest;
mod control;
mod cores;
mod counters;
mod digits;
mod dtls;
mod end;
mod guard;
mod ice;
mod inbox;
mod io;
mod latch;
mod measure;
mod mixer;
mod packet;
mod play;
mod ports;
#[allow(unsafe_code, reason = "the kernel reads which place a thread is to have")]
mod precedence;
pub mod recording;
mod report;
mod rtp;
mod session;
mod settling;
mod socket;
mod spare;
mod srtp;
mod start;
mod stock;
pub mod storm;
mod stream;
pub mod stun;
pub mod toll;
mod transcode;
pub mod upload;
mod worker;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error as IoError, ErrorKind};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use pbx::id::CallId;
use pbx::media::{Event, Side, Stored, Wish};

use crate::clock::Clock;
pub use crate::cores::Pinning;
use crate::counters::Tally;
pub use crate::counters::{Counters, Quality, Secrecy};
use crate::dtls::Identity;
pub use crate::dtls::NoCertificate;
use crate::inbox::Inbox;
pub use crate::io::Io;
pub use crate::play::shelf::{Samples, Shelf, Shelved};
use crate::ports::Ports;
pub use crate::precedence::Scheduling;
use crate::recording::tap::Tap;
use crate::recording::writer;
use crate::start::{Found, Start, Ways, allow_files, tell, threads};
use crate::stock::Stock;
use crate::worker::{Shared, Worker};

/// Bytes of sounds that are kept ready where nothing else is said: half an hour.
pub const SHELF: usize = 64 << 20;

/// How sound is carried.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ports for sound: pairs, the even one for RTP.
    pub ports: RangeInclusive<u16>,
    /// How many threads; 0: two, or one on a machine with one core.
    pub threads: usize,
    /// How packets come in and go out.
    pub io: Io,
    /// Whether each thread stays on a core.
    pub pinning: Pinning,
    /// Whether they go before all else.
    pub scheduling: Scheduling,
    /// Where recordings are written; `None`: no call is recorded.
    pub recordings: Option<recording::Folder>,
    /// What can be played.
    pub shelf: Arc<Shelf>,
}

impl Default for Config {
    /// As the configuration file has it where it says nothing.
    fn default() -> Self {
        Self {
            ports: 26_000..=54_000,
            threads: 0,
            io: Io::default(),
            pinning: Pinning::default(),
            scheduling: Scheduling::default(),
            recordings: None,
            shelf: Arc::new(Shelf::new(SHELF)),
        }
    }
}

/// Why sound cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The range is too small.
    #[error("the port range {0}-{1} holds no pair of an even port and the next")]
    NoPorts(u16, u16),
    /// A thread, or what it waits on, could not be made.
    #[error("no thread for sound can be started")]
    Thread(#[source] IoError),
    /// The folder for recordings cannot be made, or nobody can write there.
    #[error("recordings cannot be written to {0}")]
    Recordings(PathBuf, #[source] IoError),
    /// There is nothing to show in handshakes.
    #[error(transparent)]
    Certificate(#[from] NoCertificate),
}

/// All threads of sound.
///
/// Events are told on the worker's thread, or, when a port is ready for a [`Wish::Open`] or a full queue
/// refuses it, on the thread that wished: the function must not block.
pub struct Media {
    workers: Vec<Arc<Shared>>,
    ports: Arc<Mutex<Ports>>,
    clock: Clock,
    identity: Identity,
    shelf: Arc<Shelf>,
    events: Mutex<Box<dyn Fn(Event) + Send>>,
    threads: Vec<JoinHandle<()>>,
    recordings: Option<Arc<writer::Shown>>,
}

impl Media {
    /// Starts the threads.
    pub fn start<F>(config: &Config, events: F) -> Result<Self, Failure>
    where
        F: Fn(Event) + Send + Clone + 'static,
    {
        let ports = Ports::new(&config.ports);
        if ports.len() == 0 {
            return Err(Failure::NoPorts(*config.ports.start(), *config.ports.end()));
        }
        allow_files(ports.len());
        let mut media = Self {
            workers: Vec::new(),
            ports: Arc::new(Mutex::new(ports)),
            clock: Clock::start(),
            identity: Identity::make()?,
            shelf: Arc::clone(&config.shelf),
            events: Mutex::new(Box::new(events.clone())),
            threads: Vec::new(),
            recordings: None,
        };
        let count = threads(config.threads);
        let (mut taps, mut writing) = (Vec::new(), None);
        if let Some(folder) = &config.recordings {
            let started = writer::start(folder, count, events.clone());
            let started = started.map_err(|e| Failure::Recordings(folder.path.clone(), e))?;
            media.recordings = Some(started.shown);
            taps = started.taps;
            writing = Some(started.thread);
        }
        let mut taps = taps.into_iter();
        let ways = Ways {
            spare: spare::most(media.ports().len(), count),
            io: config.io,
            scheduling: config.scheduling,
        };
        let start = Start { ways, cores: cores::cores_for(count, config.pinning) };
        let found = (0..count).map(|number| {
            let tap = taps.next().unwrap_or_default();
            media.add_worker(number, &start, tap, events.clone())
        });
        let found: Result<Vec<Found>, IoError> = found.collect();
        // After them all: it ends when nobody has anything to write any more.
        media.threads.extend(writing);
        tell(&found.map_err(Failure::Thread)?, start.cores.len());
        Ok(media)
    }

    fn add_worker<F>(
        &mut self,
        number: usize,
        start: &Start,
        tap: Tap,
        events: F,
    ) -> Result<Found, IoError>
    where
        F: Fn(Event) + Send + 'static,
    {
        let shared = Arc::new(Shared {
            inbox: Inbox::new()?,
            tally: Tally::default(),
            stock: Stock::default(),
            ports: Arc::clone(&self.ports),
            clock: self.clock,
            identity: self.identity.clone(),
            shelf: Arc::clone(&self.shelf),
        });
        let (started, outcome) = std::sync::mpsc::sync_channel(1);
        let theirs = Arc::clone(&shared);
        let (ways, core) = (start.ways, start.cores.get(number).copied());
        let thread = thread::Builder::new().name(format!("media-{number}"));
        // A worker is made on its own thread: the room it reads into never leaves it, and a ring is
        // used by the thread that made it alone.
        let thread = thread.spawn(move || {
            if let Some(Err(error)) = core.map(cores::stay_on) {
                tracing::warn!(?core, %error, "a thread for sound cannot stay on its core");
            }
            match Worker::new(theirs, ways, tap, events) {
                Ok((worker, found)) => {
                    let _ = started.send(Ok(found));
                    worker.run();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        self.workers.push(shared);
        self.threads.push(thread);
        outcome.recv().unwrap_or_else(|_| Err(ErrorKind::Other.into()))
    }

    /// Tells a worker what a call wishes. Never blocks; a burst of wishes wakes the worker once.
    /// Beyond a worker's limit an [`Wish::Open`] is answered by [`Event::NoPorts`] at once, and
    /// what else is dropped is counted in [`Counters::refused`]; a [`Wish::Close`] never is.
    pub fn wish(&self, wish: Wish) {
        self.wish_all([wish]);
    }

    /// The same for many: however many they are, a worker is woken once.
    pub fn wish_all(&self, wishes: impl IntoIterator<Item = Wish>) {
        for wish in wishes {
            let Some(worker) = self.worker_for(wish.call()) else { return };
            let told = match wish {
                Wish::Open { side, local, port: None } => open(worker, side, local),
                wish => worker.inbox.push(wish).err().and_then(|wish| match wish {
                    Wish::Open { side, .. } => Some(Event::NoPorts { side }),
                    _ => None,
                }),
            };
            if let Some(event) = told {
                let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                events(event);
            }
        }
        self.workers.iter().for_each(|worker| worker.inbox.ring());
    }

    /// One call, one worker, as long as the process lives.
    fn worker_for(&self, call: CallId) -> Option<&Shared> {
        let mut hasher = DefaultHasher::new();
        call.hash(&mut hasher);
        let share = hasher.finish() % self.workers.len().max(1) as u64;
        self.workers.get(share as usize).map(|worker| &**worker)
    }

    /// SHA-256 of the certificate that this process shows in handshakes (RFC 8122 §5): session
    /// descriptions carry it.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.identity.fingerprint()
    }

    /// The sounds that are ready to be played.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Puts a sound on the shelf that was wanted; `None`: it cannot be had.
    pub fn fill(&self, sound: &Stored, samples: Option<Samples>) {
        self.shelf.put(self.clock.now(), sound, samples);
    }

    /// What was carried so far, and what is open now.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.workers {
            worker.tally.add_to(&mut sum);
            sum.queued += worker.inbox.len() as u64;
            sum.refused += worker.inbox.refused();
        }
        if let Some(shown) = &self.recordings {
            sum.recording = shown.open.load(Ordering::Relaxed);
            sum.recordings_failed = shown.failed.load(Ordering::Relaxed);
            sum.recorded_bytes = shown.bytes.load(Ordering::Relaxed);
        }
        sum.ports_taken = (self.ports().taken() as u64).saturating_sub(sum.spare);
        sum
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the threads; what is open closes without another word.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.inbox.stop();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread for sound had panicked");
            }
        }
    }
}

/// Opens a side on a port that is ready, if there is one: what it is, is known at once.
fn open(worker: &Shared, side: Side, local: IpAddr) -> Option<Event> {
    let port = worker.stock.claim(local);
    match (worker.inbox.push(Wish::Open { side, local, port }), port) {
        (Ok(()), port) => port.map(|port| Event::Opened { side, port }),
        (Err(_), port) => {
            if let Some(port) = port {
                worker.stock.offer(local, port);
            }
            Some(Event::NoPorts { side })
        }
    }
}
