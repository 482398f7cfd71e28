//! Load: phones by the thousand, on a few threads, that register, call and answer each other.
//!
//! A fleet runs through phases: it prepares (phones register), runs, counts what is done, and drains.
//! Whoever directs it reads the servers' meters at the edges of the counting.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kit::failure::{Failure, Outcome};
use kit::wait;

use crate::sound;

mod called;
mod errand;
mod line;
mod phone;
mod proof;
mod reading;
mod worker;

/// RFC 3261 §17.1.1.1: an estimate of the round trip.
const T1: Duration = Duration::from_millis(500);
/// The longest wait before a repetition.
const T2: Duration = Duration::from_secs(4);
/// Where nobody listens: for calls whose sound is only described.
const NO_SOUND: u16 = 9;
/// What phones ask for.
const EXPIRES: u32 = 600;
/// Fixed, so that a phone's contact is the same in each run.
const FIRST_PORT: u16 = 9_060;
/// After this a fleet that drains is told to leave.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the phones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Ask whether the server lives.
    Options,
    /// Register.
    Register(Renewal),
    /// Call each other; a call lasts so long after its answer.
    Call(Duration),
    /// Call each other and stay.
    Stay(Sound),
}

/// How a phone registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// With a nonce it has used before; it is registered already.
    Refresh,
    /// Without a password first.
    Fresh,
    /// The same; it comes and goes in turn, so that each adds or removes it.
    Change,
}

/// Whether phones in a call send anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sound {
    Described,
    Sent,
}

/// When the next piece of work is begun.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As soon as another is done: so many at the same time.
    Window(usize),
    /// So many a second, whatever becomes of them.
    Rate(f64),
    /// Each phone once, spread over this time.
    Burst(Duration),
    /// So many in all, so many a second.
    Upto { count: usize, rate: f64 },
}

/// Who there is: the same users in each tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Population {
    pub(crate) tenants: usize,
    pub(crate) users: usize,
}

/// What phones do before anything is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparation {
    Nothing,
    /// All register.
    Come,
    /// All take their registration back.
    Go,
}

/// What a fleet is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddrV4,
    pub(crate) work: Work,
    pub(crate) pace: Pace,
    pub(crate) population: Population,
    pub(crate) preparation: Preparation,
    /// One thread on each.
    pub(crate) cores: Vec<usize>,
}

/// What was done while it counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Pieces of work done in the counting phase.
    pub(crate) done: u64,
    /// What failed in any phase, and how often.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Messages sent again in any phase, by what they were about.
    pub(crate) repeated: BTreeMap<String, u64>,
    /// How long each took in µs: a registration until its 200, a call until its answer.
    pub(crate) delays: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Preparing,
    Running,
    Counting,
    Draining,
    Leaving,
}

/// What the threads of a fleet share.
struct Shared {
    phase: AtomicU8,
    prepared: AtomicUsize,
    done: AtomicUsize,
    up: AtomicUsize,
    left: AtomicUsize,
    talking: Mutex<Vec<sound::Phone>>,
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Preparing,
            1 => Phase::Running,
            2 => Phase::Counting,
            3 => Phase::Draining,
            _ => Phase::Leaving,
        }
    }
}

/// Threads that play phones.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Outcome<Report>>>,
}

impl Fleet {
    /// Starts its threads; they begin to prepare.
    pub(crate) fn start(plan: &Plan) -> Outcome<Self> {
        let shared = Arc::new(Shared {
            phase: AtomicU8::new(0),
            prepared: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            up: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            talking: Mutex::new(vec![]),
        });
        // A registrar may refuse what is older than what it has.
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() / 10;
        let cseq = u32::try_from(since % 0x7000_0000)?;
        let threads = plan.cores.iter().enumerate().map(|(index, core)| {
            let (plan, shared, core) = (plan.clone(), Arc::clone(&shared), *core);
            thread::spawn(move || {
                sound::pin(&[core])?;
                let outcome = worker::work(&plan, index, cseq, &shared);
                shared.left.fetch_add(1, Ordering::Relaxed);
                outcome
            })
        });
        let threads = threads.collect();
        Ok(Self { shared, threads })
    }

    /// Waits until all phones are prepared.
    pub(crate) fn wait_prepared(&self) -> Outcome {
        self.wait("the phones' preparation", Duration::from_secs(180), |shared| {
            shared.prepared.load(Ordering::Relaxed) == self.threads.len()
        })
    }

    /// Waits until so many pieces of work are done, failed ones too.
    pub(crate) fn wait_done(&self, count: usize, within: Duration) -> Outcome {
        self.wait("the work's end", within, |shared| shared.done.load(Ordering::Relaxed) >= count)
    }

    /// Waits until so many calls are up.
    pub(crate) fn wait_up(&self, count: usize, within: Duration) -> Outcome {
        self.wait("the calls' answers", within, |shared| shared.up.load(Ordering::Relaxed) >= count)
    }

    fn wait(&self, what: &str, within: Duration, done: impl Fn(&Shared) -> bool) -> Outcome {
        wait::until(what, within, || match done(&self.shared) {
            true => Ok(Some(())),
            false if self.threads.iter().any(JoinHandle::is_finished) => {
                Err(Failure::new("the load ended by itself"))
            }
            false => Ok(None),
        })
    }

    /// Begins the next phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The phones whose calls have sound.
    pub(crate) fn take_talking(&self) -> Vec<sound::Phone> {
        let mut talking = self.shared.talking.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut talking)
    }

    /// Lets all that has begun end, hangs up, and says what was done.
    pub(crate) fn finish(self) -> Outcome<Report> {
        self.enter(Phase::Draining);
        let began_at = Instant::now();
        while self.shared.left.load(Ordering::Relaxed) < self.threads.len() {
            if began_at.elapsed() > PATIENCE {
                self.enter(Phase::Leaving);
            }
            thread::sleep(Duration::from_millis(2));
        }
        let mut all = Report::default();
        for thread in self.threads {
            let report = thread.join().map_err(|_| Failure::new("a load thread panicked"))??;
            all.add(report);
        }
        all.delays.sort_unstable();
        Ok(all)
    }
}

impl Report {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.delays.extend(other.delays);
        for (why, count) in other.failed {
            *self.failed.entry(why).or_default() += count;
        }
        for (what, count) in other.repeated {
            *self.repeated.entry(what).or_default() += count;
        }
    }

    /// How many failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The delay in µs that this share of all did not exceed.
    pub(crate) fn delay(&self, share: f64) -> Option<u32> {
        let last = self.delays.len().checked_sub(1)?;
        self.delays.get((last as f64 * share) as usize).copied()
    }
}

/// A tenant's domain.
pub(crate) fn domain(tenant: usize) -> String {
    format!("t{tenant:03}.bench.test")
}

/// A user's name: the same names in each tenant.
pub(crate) fn user(number: usize) -> String {
    (1_000 + number).to_string()
}

/// Another password for each.
pub(crate) fn password(user: &str, domain: &str) -> String {
    format!("pw-{user}-{domain}")
}
