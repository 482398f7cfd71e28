//! The object store of who has none: a folder, whose files are named by their keys.
//!
//! A file is written beside its place and renamed into it, so that what is there is whole.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pbx::moment::Moment;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::link::{Proof, Signer};
use super::{Content, Failure, Hasher, LARGEST_READ, LONGEST_LIST, Listed, ObjectKey};

/// What is not whole yet lies here.
const UNFINISHED: &str = "unfinished";
const NOBODYS_AFTER: Duration = Duration::from_secs(3_600);
const PIECE: usize = 64 * 1024;

/// A folder of objects.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    signer: Signer,
}

impl Folder {
    pub(super) fn open(root: &Path, link_key: [u8; 32]) -> Result<Self, Failure> {
        let unfinished = root.join(UNFINISHED);
        fs::create_dir_all(&unfinished).map_err(Failure::file(&unfinished))?;
        forget_old(&unfinished);
        Ok(Self { root: root.to_owned(), signer: Signer::new(link_key) })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    pub(super) async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), Failure> {
        self.write(key, move |to| to.write_all(&bytes).map(|()| Source::AsPromised)).await
    }

    pub(super) async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        content: Content,
    ) -> Result<(), Failure> {
        let file = file.to_owned();
        self.write(key, move |to| {
            let (mut from, mut hasher) = (File::open(&file)?, Hasher::default());
            let mut piece = vec![0; PIECE];
            loop {
                let long = from.read(&mut piece)?;
                let Some(read) = piece.get(..long).filter(|read| !read.is_empty()) else { break };
                hasher.take(read);
                to.write_all(read)?;
            }
            Ok(match hasher.content() == content {
                true => Source::AsPromised,
                false => Source::Changed,
            })
        })
        .await
    }

    async fn write(
        &self,
        key: &ObjectKey,
        fill: impl FnOnce(&mut File) -> io::Result<Source> + Send + 'static,
    ) -> Result<(), Failure> {
        let (path, key) = (self.path(key), key.to_string());
        let unfinished =
            self.root.join(UNFINISHED).join(Uuid::from_bytes(rand::random()).to_string());
        blocking(move || {
            let folder = path.parent().expect("a key has folders").to_owned();
            let written = (|| {
                fs::create_dir_all(&folder)?;
                let mut file = File::create(&unfinished)?;
                let source = fill(&mut file)?;
                file.sync_all()?;
                if source == Source::AsPromised {
                    fs::rename(&unfinished, &path)?;
                    File::open(&folder)?.sync_all()?;
                }
                Ok(source)
            })();
            match written {
                Ok(Source::AsPromised) => Ok(()),
                Ok(Source::Changed) => {
                    let _ = fs::remove_file(&unfinished);
                    Err(Failure::Changed(key))
                }
                Err(error) => {
                    let _ = fs::remove_file(&unfinished);
                    Err(Failure::file(&path)(error))
                }
            }
        })
        .await
    }

    pub(super) async fn get(&self, key: &ObjectKey, content: Content) -> Result<Bytes, Failure> {
        self.get_range(key, content, 0..content.bytes).await
    }

    pub(super) async fn get_range(
        &self,
        key: &ObjectKey,
        content: Content,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let (path, key) = (self.path(key), *key);
        blocking(move || read_part(&path, &key, Some(content.bytes), range)).await
    }

    /// All of a file, whatever it should be: for a link, whose reader sees what it is.
    pub(super) async fn get_whole(&self, key: &ObjectKey) -> Result<Bytes, Failure> {
        let (path, key) = (self.path(key), *key);
        blocking(move || read_part(&path, &key, None, 0..LARGEST_READ)).await
    }

    pub(super) async fn head(&self, key: &ObjectKey) -> Result<Option<Content>, Failure> {
        let path = self.path(key);
        blocking(move || {
            let mut hasher = Hasher::default();
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Failure::file(&path)(error)),
            };
            let mut piece = vec![0; PIECE];
            loop {
                let long = file.read(&mut piece).map_err(Failure::file(&path))?;
                match piece.get(..long) {
                    Some(read) if !read.is_empty() => hasher.take(read),
                    Some(_) | None => return Ok(Some(hasher.content())),
                }
            }
        })
        .await
    }

    pub(super) async fn delete(&self, key: &ObjectKey) -> Result<(), Failure> {
        let path = self.path(key);
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::file(&path)(error)),
        })
        .await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            // Only below the folders that the prefix names whole.
            let whole = prefix.rsplit_once('/').map_or("", |(folders, _)| folders);
            let plain = whole.split('/').all(|part| part != ".." && part != ".");
            let mut found = Vec::new();
            if plain && !whole.starts_with('/') {
                walk(&root, &root.join(whole), &mut found).map_err(Failure::file(&root))?;
            }
            found.retain(|listed: &Listed| {
                listed.key.starts_with(&prefix) && ObjectKey::parse(&listed.key).is_some()
            });
            found.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        })
        .await
    }

    pub(super) fn presign(&self, key: &ObjectKey, now: Moment, valid_for: Duration) -> String {
        self.signer.sign(key, now, valid_for)
    }

    /// The key that a link of ours leads to, while it may be followed.
    pub(super) fn prove(
        &self,
        key: &str,
        proof: &Proof,
        now: Moment,
    ) -> Result<ObjectKey, Failure> {
        let parsed = ObjectKey::parse(key).filter(|key| self.signer.is_ours(key, proof, now));
        parsed.ok_or_else(|| Failure::Missing(key.to_owned()))
    }

    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let root = self.root.join(UNFINISHED);
        blocking(move || fs::metadata(&root).map(drop).map_err(Failure::file(&root))).await
    }
}

/// What a killed process left half-written is nobody's; what is young may be another's that writes.
fn forget_old(unfinished: &Path) {
    let files = fs::read_dir(unfinished).into_iter().flatten().flatten();
    for file in files {
        let changed_at = file.metadata().and_then(|about| about.modified());
        let age = changed_at.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age >= NOBODYS_AFTER) {
            // It takes room, and nothing else.
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Whether a file held what was promised of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    AsPromised,
    Changed,
}

/// What was found of what should be read.
enum Found {
    Here(Vec<u8>),
    Changed,
    TooLarge,
}

/// `long`: what the whole file must be; where nobody knows, all of it must lie in the range.
fn read_part(
    path: &Path,
    key: &ObjectKey,
    long: Option<u64>,
    range: Range<u64>,
) -> Result<Bytes, Failure> {
    let read = || -> io::Result<Found> {
        let mut file = File::open(path)?;
        let there = file.metadata()?.len();
        match long {
            Some(long) if there != long => return Ok(Found::Changed),
            // A part would look like all of it.
            None if there > range.end => return Ok(Found::TooLarge),
            Some(_) | None => {}
        }
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
        Ok(Found::Here(bytes))
    };
    match read() {
        Ok(Found::Here(bytes)) => Ok(bytes.into()),
        Ok(Found::Changed) => Err(Failure::Changed(key.to_string())),
        Ok(Found::TooLarge) => Err(Failure::TooLarge(key.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Missing(key.to_string()))
        }
        Err(error) => Err(Failure::file(path)(error)),
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Listed>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if found.len() >= LONGEST_LIST {
            return Ok(());
        }
        let (path, about) = (entry.path(), entry.metadata()?);
        if about.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            found.push(Listed { key: key.to_owned(), bytes: about.len() });
        }
    }
    Ok(())
}

/// Files are read and written where nobody waits for anything else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let ended = |_| Failure::Away("the process is ending".to_owned());
    spawn_blocking(work).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use pbx::id::TenantId;

    use super::*;
    use crate::objects::Kind;

    #[tokio::test]
    async fn what_is_too_large_for_a_link_is_not_cut_off_in_silence() {
        let root = std::env::temp_dir().join(format!("folder-{}", std::process::id()));
        let folder = Folder::open(&root, [1; 32]).unwrap();
        let key = ObjectKey::new(TenantId(Uuid::from_u128(1)), Kind::Recording, Uuid::from_u128(2));
        folder.put(&key, Bytes::from_static(b"sound")).await.unwrap();
        assert_eq!(folder.get_whole(&key).await.unwrap(), "sound");
        // Takes no room: it is a hole.
        File::options()
            .write(true)
            .open(folder.path(&key))
            .and_then(|file| file.set_len(LARGEST_READ + 1))
            .unwrap();
        let read = folder.get_whole(&key).await;
        assert!(matches!(read, Err(Failure::TooLarge(_))), "{:?}", read.map(|bytes| bytes.len()));
        fs::remove_dir_all(&root).unwrap();
    }
}
