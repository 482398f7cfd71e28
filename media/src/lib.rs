//! What is heard: threads that own the ports of calls and relay sound between their sides.
//!
//! Wishes in, events out, as plain data of [`pbx::media`]. The pure half (`session`, `stream`,
//! `latch`, `contest`, `control`, `measure`, `allowance`, `packet`, `rtp`, `spare`) takes time as an argument and has
//! no socket; `worker`, `socket` and `inbox` are the only files that touch the system. Beside them
//! stands [`stun`], which tells phones their public address, and needs neither.

mod allowance;
mod clock;
pub mod codec;
mod contest;
mod control;
mod counters;
mod digits;
mod end;
mod guard;
mod inbox;
mod latch;
mod measure;
mod packet;
mod ports;
mod report;
mod rtp;
mod session;
mod socket;
mod spare;
mod srtp;
pub mod storm;
mod stream;
pub mod stun;
mod transcode;
mod worker;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pbx::id::CallId;
use pbx::media::{Event, Wish};

use crate::clock::Clock;
use crate::counters::Tally;
pub use crate::counters::{Counters, Secrecy};
use crate::inbox::Inbox;
use crate::ports::Ports;
use crate::worker::{Shared, Worker};

/// How sound is carried.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ports for sound: pairs, the even one for RTP.
    pub ports: RangeInclusive<u16>,
    /// How many threads; 0: two, or one on a machine with one core.
    pub threads: usize,
}

/// Why sound cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The range is too small.
    #[error("the port range {0}-{1} holds no pair of an even port and the next")]
    NoPorts(u16, u16),
    /// A thread, or what it waits on, could not be made.
    #[error("no thread for sound can be started")]
    Thread(#[source] io::Error),
}

/// All threads of sound.
///
/// Events are told on the worker's thread, or, when a full queue refuses an [`Wish::Open`], on the
/// thread that wished: the function must not block.
pub struct Media {
    workers: Vec<Arc<Shared>>,
    ports: Arc<Mutex<Ports>>,
    clock: Clock,
    refuse: Mutex<Box<dyn Fn(Event) + Send>>,
    threads: Vec<JoinHandle<()>>,
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
            refuse: Mutex::new(Box::new(events.clone())),
            threads: Vec::new(),
        };
        let count = threads(config.threads);
        let spare = spare::most(media.ports().len(), count);
        for number in 0..count {
            media.add_worker(number, spare, events.clone()).map_err(Failure::Thread)?;
        }
        Ok(media)
    }

    fn add_worker<F>(&mut self, number: usize, spare: usize, events: F) -> io::Result<()>
    where
        F: Fn(Event) + Send + 'static,
    {
        let shared = Arc::new(Shared {
            inbox: Inbox::new()?,
            tally: Tally::default(),
            ports: Arc::clone(&self.ports),
            clock: self.clock,
        });
        let (started, outcome) = std::sync::mpsc::sync_channel(1);
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name(format!("media-{number}"));
        // A worker is made on its own thread: the room it reads into never leaves it.
        let thread = thread.spawn(move || match Worker::new(theirs, spare, events) {
            Ok(worker) => {
                let _ = started.send(Ok(()));
                worker.run();
            }
            Err(error) => drop(started.send(Err(error))),
        })?;
        self.workers.push(shared);
        self.threads.push(thread);
        outcome.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
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
            if let Err(Wish::Open { side, .. }) = worker.inbox.push(wish) {
                let refuse = self.refuse.lock().unwrap_or_else(PoisonError::into_inner);
                refuse(Event::NoPorts { side });
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

    /// What was carried so far, and what is open now.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.workers {
            worker.tally.add_to(&mut sum);
            sum.queued += worker.inbox.len() as u64;
            sum.refused += worker.inbox.refused();
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

fn threads(wanted: usize) -> usize {
    match wanted {
        0 => thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
        wanted => wanted,
    }
}

/// A pair is two open files, and many systems allow only 1,024 unless asked for more.
fn allow_files(pairs: usize) {
    let wanted = pairs as u64 * 2 + 4_096;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let allowed = wanted.min(hard);
    if allowed > soft && setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() {
        tracing::warn!(soft, "the limit of open files cannot be raised");
    }
    if hard < wanted {
        tracing::warn!(hard, wanted, "fewer files may be open than there are ports for sound");
    }
}
