//! A journal's file: what it is called, how it begins, and how it is read back.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pbx::record::Record;

use super::frame::{Frame, Frames};

/// How each file begins. Its last digit changes with the form of a record.
pub(super) const OPENING: &[u8; 8] = b"tndjrnl1";

/// A file that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The system refused.
    #[error("journal {0}: {1}")]
    Refused(PathBuf, #[source] io::Error),
    /// It was not written by this version; nothing of it is lost, but another must replay it.
    #[error("journal {0} was written by another version of tenantd: start that one once more")]
    Strange(PathBuf),
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its records, oldest first.
    pub records: Vec<Record>,
    /// Sound frames that this version cannot read.
    pub strange: usize,
    /// Bytes at its end that are no frame.
    pub torn: usize,
}

pub(super) fn path(dir: &Path, lane: u16, number: u32) -> PathBuf {
    dir.join(format!("{lane:05}-{number:010}.journal"))
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let mut file = options.append(true).create_new(true).mode(0o600).open(path)?;
    match file.write_all(OPENING) {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// What an earlier process left, in the order in which it must be replayed.
pub fn left_over(dir: &Path) -> Result<Vec<PathBuf>, Unreadable> {
    let refused = |error| Unreadable::Refused(dir.to_path_buf(), error);
    fs::create_dir_all(dir).map_err(refused)?;
    let mut paths = vec![];
    for entry in fs::read_dir(dir).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        if path.extension().is_some_and(|ending| ending == "journal") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Contents, Unreadable> {
    let bytes = fs::read(path).map_err(|error| Unreadable::Refused(path.to_path_buf(), error))?;
    let Some(body) = bytes.strip_prefix(OPENING) else {
        // The process ended between creating the file and writing its first bytes.
        return match OPENING.starts_with(&bytes) {
            true => Ok(Contents { torn: bytes.len(), ..Contents::default() }),
            false => Err(Unreadable::Strange(path.to_path_buf())),
        };
    };
    let mut contents = Contents::default();
    let mut frames = Frames::new(body);
    for frame in frames.by_ref() {
        match frame {
            Frame::Whole(record, _) => contents.records.push(*record),
            Frame::Strange(_) => contents.strange += 1,
        }
    }
    contents.torn = frames.torn();
    Ok(contents)
}
