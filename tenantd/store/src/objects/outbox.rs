//! What waits here until the object store has it: files that survive the process, up to a limit.
//!
//! A file is whole and on disk before any row in Postgres names it, so a row never leads nowhere;
//! `crate::object_work` says what is to be done with it. At the limit nothing more is taken in: who
//! uploads is told so, and a recording ends. What waits can be read meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::folder::blocking;
use super::{Content, Failure, Hasher, Kind, ObjectKey};

/// The end of the name of what is still being written.
const UNFINISHED: &str = ".part";
/// What no row names and is younger may be just on its way.
const NOBODYS_AFTER: Duration = Duration::from_secs(3_600);

/// A folder of things that wait. Clones share it.
#[derive(Debug, Clone)]
pub struct Outbox {
    folder: PathBuf,
    limit: u64,
    waiting: Arc<AtomicU64>,
}

/// Something that is whole, and waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Its key.
    pub key: ObjectKey,
    /// What it is.
    pub content: Content,
}

/// Something that is being written. Dropped before it is finished, it was never there.
#[derive(Debug)]
pub struct Parcel {
    outbox: Outbox,
    key: ObjectKey,
    file: File,
    hasher: Hasher,
    written: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Finished,
}

impl Outbox {
    pub(super) fn open(folder: &Path, limit: u64) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
        let outbox = Self { folder: folder.to_owned(), limit, waiting: Arc::default() };
        outbox.measure()?;
        Ok(outbox)
    }

    /// Bytes that wait here, and how many may.
    pub fn room(&self) -> (u64, u64) {
        (self.waiting.load(Ordering::Relaxed), self.limit)
    }

    /// Where something waits, or will.
    pub fn path(&self, key: &ObjectKey) -> PathBuf {
        let (tenant, kind, id) = (key.tenant().0, key.kind().name(), key.id());
        self.folder.join(format!("{}.{kind}.{}", tenant.hyphenated(), id.hyphenated()))
    }

    /// Begins to write something, in pieces. Blocks on the disk, as does all that a [`Parcel`] does.
    ///
    /// # Errors
    /// If the outbox is full, or the disk fails.
    pub fn begin(&self, key: ObjectKey) -> Result<Parcel, Failure> {
        self.check(0)?;
        let path = unfinished(&self.path(&key));
        let file = File::create(&path).map_err(Failure::file(&path))?;
        let (hasher, outbox) = (Hasher::default(), self.clone());
        Ok(Parcel { outbox, key, file, hasher, written: 0, stage: Stage::Open })
    }

    /// Takes in what is in memory.
    ///
    /// # Errors
    /// If the outbox is full, or the disk fails.
    pub async fn stage(&self, key: ObjectKey, bytes: Bytes) -> Result<Staged, Failure> {
        let outbox = self.clone();
        blocking(move || {
            let mut parcel = outbox.begin(key)?;
            parcel.write(&bytes)?;
            parcel.finish()
        })
        .await
    }

    /// What waits under this key, checked; `None`: nothing does.
    ///
    /// # Errors
    /// If it is something else, or the disk fails.
    pub async fn read(&self, key: &ObjectKey, content: Content) -> Result<Option<Bytes>, Failure> {
        let waiting = self.read_range(key, content, 0..content.bytes).await?;
        match waiting.as_ref().is_none_or(|bytes| Content::of(bytes) == content) {
            true => Ok(waiting),
            false => Err(Failure::Changed(key.to_string())),
        }
    }

    /// A part of what waits under this key; `None`: nothing does. Only its whole length is checked.
    ///
    /// # Errors
    /// If it is something else, or the disk fails.
    pub async fn read_range(
        &self,
        key: &ObjectKey,
        content: Content,
        range: Range<u64>,
    ) -> Result<Option<Bytes>, Failure> {
        let (path, key) = (self.path(key), *key);
        blocking(move || {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Failure::file(&path)(error)),
            };
            let mut read = || -> io::Result<Option<Vec<u8>>> {
                if file.metadata()?.len() != content.bytes {
                    return Ok(None);
                }
                file.seek(SeekFrom::Start(range.start))?;
                let mut bytes = Vec::new();
                (&file).take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            };
            match read().map_err(Failure::file(&path))? {
                Some(bytes) => Ok(Some(bytes.into())),
                None => Err(Failure::Changed(key.to_string())),
            }
        })
        .await
    }

    /// The store has it, or nobody wants it any more.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn forget(&self, key: &ObjectKey) -> Result<(), Failure> {
        let (outbox, path) = (self.clone(), self.path(key));
        blocking(move || outbox.remove(&path)).await
    }

    /// Removes what lies here for long and that `is_named` by no row: left by a process that was
    /// killed before it could say what it had written. Finds out anew how much waits.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn sweep(
        &self,
        is_named: impl Fn(&ObjectKey) -> bool + Send + 'static,
    ) -> Result<u64, Failure> {
        let outbox = self.clone();
        blocking(move || {
            let mut removed = 0;
            for (path, age) in outbox.files()? {
                let named = key_of(&path).is_some_and(|key| is_named(&key));
                if age >= NOBODYS_AFTER && !named {
                    outbox.remove(&path)?;
                    removed += 1;
                }
            }
            outbox.measure()?;
            Ok(removed)
        })
        .await
    }

    /// What waits, old or new.
    ///
    /// # Errors
    /// If the disk fails.
    pub async fn list(&self) -> Result<Vec<ObjectKey>, Failure> {
        let outbox = self.clone();
        blocking(move || {
            Ok(outbox.files()?.into_iter().filter_map(|(path, _)| key_of(&path)).collect())
        })
        .await
    }

    fn files(&self) -> Result<Vec<(PathBuf, Duration)>, Failure> {
        let read = || -> io::Result<Vec<(PathBuf, Duration)>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                // It may have gone since.
                let Ok(changed_at) = entry.metadata().and_then(|about| about.modified()) else {
                    continue;
                };
                let age = SystemTime::now().duration_since(changed_at).unwrap_or_default();
                files.push((entry.path(), age));
            }
            Ok(files)
        };
        read().map_err(Failure::file(&self.folder))
    }

    /// Other processes write here too, so what we counted is an estimate between two looks.
    fn measure(&self) -> Result<(), Failure> {
        let files = self.files()?;
        let long = |(path, _): &(PathBuf, Duration)| fs::metadata(path).map_or(0, |a| a.len());
        self.waiting.store(files.iter().map(long).sum(), Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), Failure> {
        let long = fs::metadata(path).map_or(0, |about| about.len());
        match fs::remove_file(path) {
            Ok(()) => self.shrink(long),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::file(path)(error)),
        }
        Ok(())
    }

    fn shrink(&self, by: u64) {
        let less = |waiting: u64| Some(waiting.saturating_sub(by));
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn check(&self, more: u64) -> Result<(), Failure> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        match waiting.saturating_add(more) > self.limit || waiting >= self.limit {
            true => Err(Failure::Full { waiting, limit: self.limit }),
            false => Ok(()),
        }
    }
}

impl Parcel {
    /// The next piece.
    ///
    /// # Errors
    /// If the outbox is full, or the disk fails.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let long = piece.len() as u64;
        self.outbox.check(long)?;
        self.file.write_all(piece).map_err(Failure::file(&self.path()))?;
        self.hasher.take(piece);
        self.written += long;
        self.outbox.waiting.fetch_add(long, Ordering::Relaxed);
        Ok(())
    }

    /// That was all: it is on disk when this returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self) -> Result<Staged, Failure> {
        let (from, to) = (self.path(), self.outbox.path(&self.key));
        let finished = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&from, &to))
            .and_then(|()| File::open(&self.outbox.folder)?.sync_all());
        finished.map_err(Failure::file(&to))?;
        self.stage = Stage::Finished;
        Ok(Staged { key: self.key, content: std::mem::take(&mut self.hasher).content() })
    }

    fn path(&self) -> PathBuf {
        unfinished(&self.outbox.path(&self.key))
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        if self.stage == Stage::Open {
            // What cannot be removed is swept later.
            let _ = fs::remove_file(self.path());
            self.outbox.shrink(self.written);
        }
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// The key that a file's name says, if it is whole.
fn key_of(path: &Path) -> Option<ObjectKey> {
    let mut parts = path.file_name()?.to_str()?.split('.');
    let (tenant, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none();
    let key = ObjectKey::parse(&format!("tenant/{tenant}/{kind}/{id}"))?;
    whole.then_some(key).filter(|key| Kind::named(kind) == Some(key.kind()))
}

#[cfg(test)]
mod tests {
    use pbx::id::TenantId;
    use uuid::Uuid;

    use super::*;

    fn key(id: u128) -> ObjectKey {
        ObjectKey::new(TenantId(Uuid::from_u128(1)), Kind::Sound, Uuid::from_u128(id))
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("outbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[tokio::test]
    async fn what_is_staged_can_be_read_until_it_is_forgotten() {
        let folder = scratch("staged");
        let outbox = Outbox::open(&folder, 100).unwrap();
        let staged = outbox.stage(key(1), Bytes::from_static(b"sound")).await.unwrap();
        assert_eq!(outbox.room(), (5, 100));
        // Another process finds it.
        let again = Outbox::open(&folder, 100).unwrap();
        assert_eq!(again.room(), (5, 100));
        assert_eq!(again.list().await.unwrap(), [key(1)]);
        let read = again.read(&key(1), staged.content).await.unwrap();
        assert_eq!(read.as_deref(), Some(&b"sound"[..]));
        let other = Content::of(b"other");
        assert!(matches!(again.read(&key(1), other).await, Err(Failure::Changed(_))));
        again.forget(&key(1)).await.unwrap();
        assert_eq!(again.read(&key(1), staged.content).await.unwrap(), None);
        assert_eq!(again.room().0, 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn a_full_outbox_takes_nothing_and_an_unfinished_parcel_was_never_there() {
        let folder = scratch("full");
        let outbox = Outbox::open(&folder, 10).unwrap();
        let mut parcel = outbox.begin(key(1)).unwrap();
        parcel.write(b"12345678").unwrap();
        assert!(matches!(parcel.write(b"901"), Err(Failure::Full { waiting: 8, limit: 10 })));
        drop(parcel);
        assert_eq!((outbox.room().0, outbox.list().await.unwrap()), (0, vec![]));
        outbox.stage(key(2), Bytes::from_static(b"0123456789")).await.unwrap();
        assert!(matches!(outbox.begin(key(3)), Err(Failure::Full { .. })));
        outbox.forget(&key(2)).await.unwrap();
        assert!(outbox.begin(key(3)).is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn what_is_young_or_named_is_not_swept() {
        let folder = scratch("swept");
        let outbox = Outbox::open(&folder, 100).unwrap();
        for id in 1..=3 {
            outbox.stage(key(id), Bytes::from_static(b"sound")).await.unwrap();
        }
        fs::write(folder.join("a stranger.part"), "x").unwrap();
        let long_ago = SystemTime::now() - 2 * NOBODYS_AFTER;
        for old in [outbox.path(&key(1)), outbox.path(&key(2)), folder.join("a stranger.part")] {
            File::options().append(true).open(old).unwrap().set_modified(long_ago).unwrap();
        }
        assert_eq!(outbox.sweep(|named| *named == key(1)).await.unwrap(), 2);
        let mut left = outbox.list().await.unwrap();
        left.sort();
        assert_eq!(left, [key(1), key(3)]);
        assert_eq!(outbox.room().0, 10);
        fs::remove_dir_all(&folder).unwrap();
    }
}
