//! Who owns the data directory: one process at a time, by a lock that dies with it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// What the owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It serves, until it is told to stop.
    Serve,
    /// It does one thing, and is done.
    Work,
}

/// The data directory is ours until this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

/// What came of trying to take the lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Taken(Lock),
    /// It is somebody's.
    Held(Owner),
}

/// Who has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its process; `None` in the moment before it has written that down.
    pub pid: Option<i32>,
    /// What it does.
    pub purpose: Purpose,
}

/// The lock's file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
pub struct Failure {
    path: PathBuf,
    source: io::Error,
}

impl Lock {
    /// Tries to become the owner; makes the data directory where it is missing.
    ///
    /// # Errors
    /// If the directory or the file cannot be made or used.
    pub fn take(data_dir: &Path, purpose: Purpose) -> Result<Attempt, Failure> {
        make_data_dir(data_dir)?;
        let path = data_dir.join("lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&path).map_err(failed(&path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                write(&mut file, purpose).map_err(failed(&path))?;
                Ok(Attempt::Taken(Self { _file: file }))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => Ok(Attempt::Held(read(&mut file))),
            Err((_, errno)) => Err(failed(&path)(errno.into())),
        }
    }

    /// Who owns the data directory, if anybody does.
    ///
    /// # Errors
    /// If the file is there, but cannot be used.
    pub fn owner(data_dir: &Path) -> Result<Option<Owner>, Failure> {
        let path = data_dir.join("lock");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path)(error)),
        };
        let owner = read(&mut file);
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Some(owner)),
            Err((_, errno)) => Err(failed(&path)(errno.into())),
        }
    }
}

/// Makes the data directory where it is missing.
///
/// # Errors
/// If it cannot be made.
pub fn make_data_dir(data_dir: &Path) -> Result<(), Failure> {
    if data_dir.exists() {
        return Ok(());
    }
    // The user that Postgres runs as must pass through, but need not see what is there.
    let made = DirBuilder::new().recursive(true).mode(0o711).create(data_dir);
    made.map_err(failed(data_dir))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.to_owned();
    move |source| Failure { path, source }
}

fn write(file: &mut File, purpose: Purpose) -> io::Result<()> {
    let what = match purpose {
        Purpose::Serve => "serve",
        Purpose::Work => "work",
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{what} {}\n", std::process::id()).as_bytes())
}

fn read(file: &mut File) -> Owner {
    let mut text = String::new();
    // What cannot be read yet is read at the next attempt.
    let _ = file.take(64).read_to_string(&mut text);
    let mut words = text.split_whitespace();
    let purpose = match words.next() {
        Some("serve") => Purpose::Serve,
        Some(_) | None => Purpose::Work,
    };
    Owner { pid: words.next().and_then(|pid| pid.parse().ok()), purpose }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_learns_who_was_first_and_what_it_does() {
        let folder = std::env::temp_dir().join(format!("tenantd-lock-{}", std::process::id()));
        let pid = i32::try_from(std::process::id()).ok();

        let Attempt::Taken(lock) = Lock::take(&folder, Purpose::Serve).unwrap() else {
            panic!("nobody else has it");
        };
        let Attempt::Held(owner) = Lock::take(&folder, Purpose::Work).unwrap() else {
            panic!("it is taken");
        };
        assert_eq!(owner, Owner { pid, purpose: Purpose::Serve });
        assert_eq!(Lock::owner(&folder).unwrap(), Some(owner));

        drop(lock);
        assert_eq!(Lock::owner(&folder).unwrap(), None);
        let again = Lock::take(&folder, Purpose::Work).unwrap();
        assert!(matches!(again, Attempt::Taken(_)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
