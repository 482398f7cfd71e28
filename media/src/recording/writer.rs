//! The thread that writes recordings as they go: a file each, to which it appends twice a second.
//!
//! It runs beside the threads of sound and shares nothing with them but rooms full of copies. A process
//! that is killed loses what was on its way, less than a second; what it wrote the kernel has.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pbx::media::{Channel, Event, Recording, Side};
use pbx::moment::Moment;

use super::log::{self, Entry, HEAD, Kind, MAGIC, Place};
use super::tap::{Line, Message, PLACES, ROOMS, Tap};
use super::{OPEN, WHOLE};

/// How often what was gathered is written.
const WRITTEN_EVERY: Duration = Duration::from_millis(300);
/// A book that grew so large is written before.
const GATHERED: usize = 64 * 1024;
/// How often the folder is measured: others take files away.
const MEASURED_EVERY: Duration = Duration::from_secs(10);
/// Parts of one recording: one more with each restart.
const PARTS: u32 = 10_000;

/// Where recordings are written, and how much.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The folder; it is made if it is not there.
    pub path: PathBuf,
    /// Bytes that may lie there; beyond, recordings end.
    pub limit: u64,
}

/// What recordings cost, for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) open: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// A writer, and what workers say to it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) taps: Vec<Tap>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the writer for so many workers.
pub(crate) fn start<F>(folder: &Folder, workers: usize, events: F) -> io::Result<Started>
where
    F: Fn(Event) + Send + 'static,
{
    fs::create_dir_all(&folder.path)?;
    let (full, filled) = sync_channel(PLACES * workers);
    let (mut taps, mut empties) = (Vec::new(), Vec::new());
    for worker in 0..workers {
        let (back, empty) = sync_channel(ROOMS);
        empties.push(back.clone());
        taps.push(Tap::new(Line { worker, full: full.clone(), empty, back }));
    }
    let shown = Arc::new(Shown::default());
    let mut writer = Writer {
        folder: folder.clone(),
        books: HashMap::new(),
        empties,
        events,
        shown: Arc::clone(&shown),
        used: 0,
        measure_at: Instant::now(),
        write_at: Instant::now(),
    };
    let thread = thread::Builder::new().name("recordings".to_owned());
    let thread = thread.spawn(move || writer.run(&filled))?;
    Ok(Started { taps, shown, thread })
}

struct Writer<F> {
    folder: Folder,
    books: HashMap<u32, Book>,
    empties: Vec<SyncSender<Vec<u8>>>,
    events: F,
    shown: Arc<Shown>,
    used: u64,
    measure_at: Instant,
    write_at: Instant,
}

/// A recording that is being written.
struct Book {
    side: Side,
    path: PathBuf,
    file: File,
    gathered: Vec<u8>,
    /// The last side is closed.
    is_whole: bool,
}

impl<F: Fn(Event)> Writer<F> {
    fn run(&mut self, filled: &Receiver<Message>) {
        loop {
            let patience = self.write_at.saturating_duration_since(Instant::now());
            match filled.recv_timeout(patience) {
                Ok(Message::Open { book, side, at, recording }) => {
                    self.open(book, side, at, &recording);
                }
                Ok(Message::Entries { worker, room }) => self.take(worker, room),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write_all(),
            }
            if self.write_at <= Instant::now() {
                self.write_at = Instant::now() + WRITTEN_EVERY;
                self.write_all();
            }
        }
    }

    fn open(&mut self, number: u32, side: Side, at: Moment, recording: &Recording) {
        self.measure();
        let opened = match self.used < self.folder.limit {
            true => create(&self.folder.path, recording),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        match opened {
            Ok((path, file)) => {
                let mut gathered = Vec::with_capacity(GATHERED + GATHERED / 4);
                gathered.extend_from_slice(MAGIC);
                let place = Place { at, leg: side.leg, channel: Channel::Left };
                let about = log::about(recording);
                Entry { kind: Kind::About, place, body: &about }.write(&mut gathered);
                self.books.insert(number, Book { side, path, file, gathered, is_whole: false });
                self.shown.open.store(self.books.len() as u64, Ordering::Relaxed);
            }
            Err(error) => self.give_up(side, &error),
        }
    }

    /// Sorts a room's entries into their books, and gives the room back.
    fn take(&mut self, worker: usize, mut room: Vec<u8>) {
        let mut rest = room.as_slice();
        while let Some((number, after)) = rest.split_first_chunk::<4>() {
            let len = after.get(HEAD - 2..HEAD).and_then(|len| len.first_chunk());
            let len = len.map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
            let Some((entry, after)) = after.split_at_checked(HEAD + len) else { break };
            rest = after;
            let number = u32::from_be_bytes(*number);
            let Some(book) = self.books.get_mut(&number) else { continue };
            book.gathered.extend_from_slice(entry);
            let is_closed = entry.first() == Some(&(Kind::Closed as u8));
            book.is_whole |= is_closed && entry.last() == Some(&1);
            if book.gathered.len() >= GATHERED || book.is_whole {
                self.write(number);
            }
        }
        room.clear();
        if let Some(empty) = self.empties.get(worker) {
            let _ = empty.try_send(room);
        }
    }

    fn write_all(&mut self) {
        self.measure();
        let filled = self.books.iter().filter(|(_, book)| !book.gathered.is_empty());
        let filled: Vec<u32> = filled.map(|(number, _)| *number).collect();
        filled.into_iter().for_each(|number| self.write(number));
    }

    fn write(&mut self, number: u32) {
        let Some(book) = self.books.get_mut(&number) else { return };
        let written = match self.used < self.folder.limit {
            true => book.file.write_all(&book.gathered),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        self.used += book.gathered.len() as u64;
        self.shown.bytes.store(self.used, Ordering::Relaxed);
        book.gathered.clear();
        let is_over = book.is_whole || written.is_err();
        if !is_over {
            return;
        }
        let Some(book) = self.books.remove(&number) else { return };
        self.shown.open.store(self.books.len() as u64, Ordering::Relaxed);
        // What was written is a recording, even if it ends too early.
        let whole = book.path.with_extension(WHOLE);
        let ended = written.and(fs::rename(&book.path, whole));
        if let Err(error) = ended {
            let _ = fs::rename(&book.path, book.path.with_extension(WHOLE));
            self.give_up(book.side, &error);
        }
    }

    fn give_up(&self, side: Side, error: &io::Error) {
        tracing::error!(call = %side.call, %error, "a call is not recorded, or not to its end");
        self.shown.failed.fetch_add(1, Ordering::Relaxed);
        (self.events)(Event::Unrecorded { side });
    }

    /// How much lies in the folder.
    fn measure(&mut self) {
        if self.measure_at > Instant::now() {
            return;
        }
        self.measure_at = Instant::now() + MEASURED_EVERY;
        let Ok(files) = fs::read_dir(&self.folder.path) else { return };
        let sizes = files.flatten().filter_map(|file| file.metadata().ok());
        self.used = sizes.map(|file| file.len()).sum();
        self.shown.bytes.store(self.used, Ordering::Relaxed);
    }
}

/// The next part of a recording.
fn create(folder: &Path, recording: &Recording) -> io::Result<(PathBuf, File)> {
    for part in 0..PARTS {
        let name = |end: &str| format!("{}.{part:04}.{end}", recording.id.0.hyphenated());
        let path = folder.join(name(OPEN));
        if folder.join(name(WHOLE)).exists() {
            continue;
        }
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
