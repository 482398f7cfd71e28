//! The process in which one uploaded file is read: it gives away what it could do harm with, reads
//! the file from its standard input, says what it found on its standard output, and ends.
//!
//! setrlimit(2): no file can be opened, memory and time are counted, nothing is left of a crash. It
//! says `refused <word>`, or `samples <count>` and then the samples.

use std::io::{self, Read, Write};
use std::time::Duration;

use media::upload::{self, RATE};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};

use crate::nice;

/// The program itself, with its allocator's reserves.
const PROGRAM: u64 = 256 << 20;
/// How often a file and its samples may be in memory, in all forms that they take on the way.
const COPIES: u64 = 8;
/// What a short file may take; a long one more.
const SECONDS: u64 = 20;
/// A recording is read this much faster than it is heard, on a slow machine.
const FASTER: u64 = 20;
/// Whoever waits for the processor waits longer than one works.
const WAIT_FACTOR: u32 = 3;

/// What a cell is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Bytes of a file.
    pub largest: u64,
    /// How long it may last.
    pub longest: Duration,
}

impl Task {
    /// The hidden command of our program.
    pub(super) fn arguments(&self) -> [String; 3] {
        let longest = self.longest.as_millis();
        [
            "read-sound".to_owned(),
            format!("--largest={}", self.largest),
            format!("--longest-ms={longest}"),
        ]
    }

    fn memory(&self) -> u64 {
        let samples = self.longest.as_secs().saturating_mul(u64::from(RATE) * 4);
        let grows = self.largest.saturating_add(samples).saturating_mul(COPIES);
        PROGRAM.saturating_add(grows)
    }

    fn seconds(&self) -> u64 {
        SECONDS + self.longest.as_secs() / FASTER
    }

    /// Whoever started the cell waits no longer than this.
    pub(super) fn wait_for(&self) -> Duration {
        Duration::from_secs(self.seconds()) * WAIT_FACTOR
    }
}

/// Does the task in this process.
///
/// # Errors
/// If it cannot be confined, or there is nobody to be told.
pub fn run(task: Task) -> io::Result<()> {
    confine(task)?;
    let mut file = Vec::new();
    io::stdin().lock().take(task.largest + 1).read_to_end(&mut file)?;
    let outcome = match file.len() as u64 > task.largest {
        true => Err(upload::Refusal::TooLarge),
        false => upload::read(file, upload::Limits { longest: task.longest }),
    };
    let mut out = io::stdout().lock();
    match outcome {
        Err(refusal) => writeln!(out, "refused {}", refusal.word())?,
        Ok(samples) => {
            writeln!(out, "samples {}", samples.len())?;
            for piece in samples.chunks(16 * 1024) {
                let bytes: Vec<u8> = piece.iter().flat_map(|s| s.to_le_bytes()).collect();
                out.write_all(&bytes)?;
            }
        }
    }
    out.flush()
}

/// What is given away does not come back.
fn confine(task: Task) -> io::Result<()> {
    for (what, most) in [
        (Resource::RLIMIT_AS, task.memory()),
        (Resource::RLIMIT_CPU, task.seconds()),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 0),
        (Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(what, most, most)?;
    }
    set_no_new_privs()?;
    nice::step_back()
}
