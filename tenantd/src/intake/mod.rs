//! Takes in the recordings that people upload: each is read by a process of its own, which has little
//! memory, little time and no files, and is believed in nothing but its samples.
//!
//! So whatever a file does to those who decode it, calls go on: the process is our own program with
//! another task (`cell`), and what it says is put into a file whose every other byte we write
//! ourselves (`wave`).

mod cell;
mod wave;

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::upload::Refusal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use cell::{Task, run};

/// How many files are read at the same time; calls come first.
const AT_ONCE: usize = 2;
/// How many may wait for that; whoever comes then is told to come again.
const WAITING: usize = 16;
/// The longest line that a cell has to say.
const LONGEST_LINE: u64 = 64;

/// How much is taken at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file.
    pub largest: u64,
    /// How long it may last.
    pub longest: Duration,
}

/// A recording in the form in which it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// A whole file.
    pub wave: Bytes,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u32,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The file is at fault.
    #[error("{}", .0.word())]
    Refused(Refusal),
    /// Too many files are waiting.
    #[error("too many recordings are being read at once")]
    Busy,
    /// We could not begin.
    #[error("no process to read a recording: {0}")]
    NoCell(#[source] io::Error),
}

/// Where recordings are taken in. Clones share its limits.
#[derive(Debug, Clone)]
pub struct Intake {
    program: PathBuf,
    limits: Limits,
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Intake {
    /// With our own program, which is run again for each file.
    pub fn new(limits: Limits) -> Self {
        // Not its path: that may be another version's by now.
        Self::with_program(PathBuf::from("/proc/self/exe"), limits)
    }

    /// With a program that knows the task.
    pub fn with_program(program: PathBuf, limits: Limits) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE + WAITING));
        Self { program, limits, room, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What is taken at most.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Reads a file from where it stands.
    ///
    /// # Errors
    /// If it is no recording that we take, or there is no room for it now.
    pub async fn take(&self, file: File) -> Result<Recording, NotTaken> {
        let _room = self.room.try_acquire().map_err(|_| NotTaken::Busy)?;
        let _turn = self.turns.acquire().await.map_err(|_| NotTaken::Busy)?;
        let about = file.metadata().map_err(NotTaken::NoCell)?;
        if about.is_file() && about.len() > self.limits.largest {
            return Err(NotTaken::Refused(Refusal::TooLarge));
        }
        let task = Task { largest: self.limits.largest, longest: self.limits.longest };
        let mut cell = Command::new(&self.program)
            .args(task.arguments())
            // Its environment holds nothing, ours may hold secrets.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(file))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(NotTaken::NoCell)?;
        let heard = timeout(task.wait_for(), self.hear(&mut cell)).await;
        match heard {
            Ok(Ok(recording)) => recording.map_err(NotTaken::Refused),
            Ok(Err(error)) => Err(NotTaken::NoCell(error)),
            Err(_) => {
                cell.kill().await.map_err(NotTaken::NoCell)?;
                Err(NotTaken::Refused(Refusal::TooCostly))
            }
        }
    }

    /// What a cell has to say, and how it ends: both must be well.
    async fn hear(&self, cell: &mut Child) -> io::Result<Result<Recording, Refusal>> {
        let Some(out) = cell.stdout.take() else { return Ok(Err(Refusal::Broken)) };
        let said = self.words(out).await?;
        if said.is_err() {
            // It may go on writing for as long as it likes.
            cell.start_kill()?;
        }
        let ended = cell.wait().await?;
        Ok(match said {
            Ok(Some(recording)) if ended.success() => Ok(recording),
            Ok(_) => Err(why_it_ended(ended)),
            Err(refusal) => Err(refusal),
        })
    }

    /// `None`: it has said nothing.
    async fn words(&self, out: ChildStdout) -> io::Result<Result<Option<Recording>, Refusal>> {
        let (mut out, mut line) = (BufReader::new(out), Vec::new());
        (&mut out).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Ok(Ok(None));
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let samples = match line.trim_end().split_once(' ') {
            Some(("refused", word)) => {
                return Ok(Err(Refusal::of_word(word).unwrap_or(Refusal::Broken)));
            }
            Some(("samples", count)) => count.parse::<u64>().ok(),
            Some(_) | None => None,
        };
        let most = wave::most_samples(self.limits.longest);
        let Some(samples) = samples.filter(|count| (1..=most).contains(count)) else {
            return Ok(Err(Refusal::Broken));
        };
        let mut bytes = Vec::new();
        // One more than there must be, so that too many are found out.
        (&mut out).take(samples * 2 + 1).read_to_end(&mut bytes).await?;
        Ok(match bytes.len() as u64 == samples * 2 {
            true => Ok(Some(wave::recording(&bytes))),
            // It was ended in the middle: how, is the better reason.
            false if (bytes.len() as u64) < samples * 2 => Ok(None),
            false => Err(Refusal::Broken),
        })
    }
}

/// A cell that says nothing was ended: by its limits, or by what it read.
fn why_it_ended(ended: ExitStatus) -> Refusal {
    use nix::sys::signal::Signal;
    let by = ended.signal().and_then(|number| Signal::try_from(number).ok());
    match by {
        // The last is how memory that is not to be had ends a program of ours.
        Some(Signal::SIGXCPU | Signal::SIGKILL | Signal::SIGABRT) => Refusal::TooCostly,
        Some(_) | None => Refusal::Broken,
    }
}

#[cfg(test)]
mod tests;
