//! Files that people upload: each is brought to a place of limited size while it arrives, and read by
//! somebody whom it cannot harm.
//!
//! Few arrive at once, and each within a time: whoever sends slowly keeps nobody out for long.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use pbx::id::TenantId;
use store::object_work::Work;
use store::objects::Hasher;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::form::{Broken, Form, Piece};

/// How many arrive and are read at once; whoever comes then is told to come again.
const AT_ONCE: usize = 8;
/// How many of them may be one company's.
const OF_ONE: usize = 2;
/// How long one may take to arrive: 32 MiB at a megabit a second.
const ARRIVES_WITHIN: Duration = Duration::from_secs(300);
/// How long it may pause meanwhile.
const PAUSES_FOR: Duration = Duration::from_secs(20);
/// The longest text that a form brings beside its file.
const LONGEST_TEXT: usize = 1024;
/// So much of what is too large is thrown away as it comes: browsers show an answer only to
/// a form that they could send.
const THROWN_AWAY: u64 = 256 << 20;

/// A recording in the form in which it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// A whole file.
    pub wave: Bytes,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u32,
}

/// Why a file became no recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The file is at fault: a word that has a sentence (`sound.refused`).
    Refused(&'static str),
    /// Too many are being read.
    Busy,
    /// We let it down.
    Failed(String),
}

/// Something that is being done.
pub type Doing<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Reads a file from its beginning.
pub type Read = Box<dyn Fn(File) -> Doing<Result<Recording, NotTaken>> + Send + Sync>;
/// Brings an object from the outbox to the store, if it can be done soon; else it is done later.
pub type Carry = Box<dyn Fn(Work) -> Doing<()> + Send + Sync>;

/// What it takes to take files in.
pub struct Means {
    /// Where they are while they arrive.
    pub folder: PathBuf,
    /// Whose outbox recordings are put into.
    pub node: String,
    /// The largest file.
    pub largest: u64,
    /// The longest recording.
    pub longest: Duration,
    /// Who reads them.
    pub read: Read,
    /// Who carries recordings.
    pub carry: Carry,
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Where files are taken in. Clones share its limits.
#[derive(Debug, Clone)]
pub struct Uploads {
    pub(crate) means: Arc<Means>,
    slots: Arc<Mutex<[Option<TenantId>; AT_ONCE]>>,
}

/// The right to bring a file.
#[derive(Debug)]
pub(crate) struct Turn {
    slots: Arc<Mutex<[Option<TenantId>; AT_ONCE]>>,
    slot: usize,
}

/// What a form brought.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) name: String,
    /// At its beginning, and nobody else's: it has no name on the disk.
    pub(crate) file: File,
    pub(crate) sha256: [u8; 32],
}

/// Why a form brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not one that we gave out.
    Foreign,
    /// It cannot be read.
    Broken(Broken),
    /// It took too long.
    Slow,
    /// Its file is not taken.
    File(NotTaken),
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::File(NotTaken::Failed(error.to_string()))
    }
}

impl Uploads {
    /// With an empty folder of its own.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(means: Means) -> io::Result<Self> {
        fs::create_dir_all(&means.folder)?;
        Ok(Self { means: Arc::new(means), slots: Arc::default() })
    }

    /// A turn for this company, if there is one now.
    pub(crate) fn begin(&self, tenant: TenantId) -> Option<Turn> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.iter().filter(|slot| **slot == Some(tenant)).count() >= OF_ONE {
            return None;
        }
        let slot = slots.iter().position(Option::is_none)?;
        *slots.get_mut(slot)? = Some(tenant);
        Some(Turn { slots: self.slots.clone(), slot })
    }

    /// A form as it may be at most: what is too large is thrown away, and only then cut off.
    pub(crate) fn longest_form(&self) -> u64 {
        self.means.largest.saturating_add(THROWN_AWAY)
    }

    /// Waits for all of a form; `is_ours` says whether it was we who gave it out, which it must say
    /// before its file comes.
    pub(crate) async fn receive(
        &self,
        turn: &Turn,
        form: &mut Form,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Received, Refused> {
        let mut arrival = Arrival::begin(self.means.largest, self.place(turn).await?);
        let until = Instant::now() + ARRIVES_WITHIN;
        loop {
            let next = timeout(PAUSES_FOR, form.next());
            let next = timeout_at(until, next).await.map_err(|_| Refused::Slow)?;
            match next.map_err(|_| Refused::Slow)?? {
                Piece::Part(name) => arrival.begin_part(&name, &is_ours),
                Piece::Bytes(bytes) => arrival.take(&bytes).await?,
                Piece::End => return arrival.finish(&is_ours).await,
            }
        }
    }

    /// A file that is gone when whoever has it lets it go, whatever happens.
    async fn place(&self, turn: &Turn) -> io::Result<File> {
        let path = self.means.folder.join(turn.slot.to_string());
        let open = move || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        };
        tokio::task::spawn_blocking(open).await.map_err(io::Error::other)?
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(self.slot) {
            *slot = None;
        }
    }
}

/// A form of which some has come.
struct Arrival {
    part: Part,
    csrf: Vec<u8>,
    name: Vec<u8>,
    file: tokio::fs::File,
    hasher: Hasher,
    bytes: u64,
    largest: u64,
    /// Nothing more is kept, and at the end this is said.
    wrong: Option<Refused>,
}

enum Part {
    Csrf,
    Name,
    File,
    Other,
}

impl Arrival {
    fn begin(largest: u64, file: File) -> Self {
        Self {
            part: Part::Other,
            csrf: Vec::new(),
            name: Vec::new(),
            file: tokio::fs::File::from_std(file),
            hasher: Hasher::default(),
            bytes: 0,
            largest,
            wrong: None,
        }
    }

    fn begin_part(&mut self, name: &str, is_ours: &impl Fn(&str) -> bool) {
        self.part = match name {
            "csrf" => Part::Csrf,
            "name" => Part::Name,
            "file" => {
                self.prove(is_ours);
                Part::File
            }
            _ => Part::Other,
        };
    }

    fn prove(&mut self, is_ours: &impl Fn(&str) -> bool) {
        if !std::str::from_utf8(&self.csrf).is_ok_and(is_ours) {
            self.wrong = Some(Refused::Foreign);
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let text = match self.part {
            Part::Csrf => &mut self.csrf,
            Part::Name => &mut self.name,
            Part::Other => return Ok(()),
            Part::File if self.wrong.is_some() => return Ok(()),
            Part::File => {
                self.bytes += bytes.len() as u64;
                if self.bytes > self.largest {
                    self.wrong = Some(Refused::File(NotTaken::Refused("too_large")));
                    return Ok(());
                }
                self.hasher.take(bytes);
                return Ok(self.file.write_all(bytes).await?);
            }
        };
        text.extend_from_slice(bytes);
        match text.len() > LONGEST_TEXT {
            true => Err(Refused::Broken(Broken::Malformed)),
            false => Ok(()),
        }
    }

    async fn finish(mut self, is_ours: &impl Fn(&str) -> bool) -> Result<Received, Refused> {
        self.prove(is_ours);
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.bytes == 0 {
            return Err(Refused::File(NotTaken::Refused("empty")));
        }
        self.file.flush().await?;
        let mut file = self.file.into_std().await;
        file.seek(SeekFrom::Start(0))?;
        let name = String::from_utf8(self.name).map_err(|_| Broken::Malformed)?;
        Ok(Received { name, file, sha256: self.hasher.content().sha256 })
    }
}

#[cfg(test)]
mod tests;
