//! What the running server says of itself in `postmaster.pid`.
//!
//! PostgreSQL documentation, "Database File Layout": one fact a line, the process first, the socket
//! folder fifth, the state eighth.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server process, ours or one that outlived us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    pub(super) socket_folder: PathBuf,
    pub(super) stage: Stage,
}

/// How far the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Serving,
    Stopping,
}

impl Postmaster {
    /// The live server of this data folder. A file left by a dead one is nobody: its process number
    /// may belong to any program by now.
    pub(super) fn of(data: &Path) -> Option<Self> {
        let found = Self::read(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)?;
        (found.is_alive() && found.is_postgres_of(data)).then_some(found)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        // A negative number marks a single-user server, which serves nobody.
        let pid: i32 = lines.next()?.parse().ok().filter(|pid| *pid > 1)?;
        let socket_folder = PathBuf::from(lines.nth(3).unwrap_or_default());
        let stage = match lines.nth(2).unwrap_or_default() {
            "ready" => Stage::Serving,
            "stopping" => Stage::Stopping,
            _ => Stage::Starting,
        };
        Some(Self { pid, socket_folder, stage })
    }

    /// A zombie is dead, though it still takes signals.
    pub(super) fn is_alive(&self) -> bool {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) else {
            return false;
        };
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    /// The working directory of a postmaster is its data folder.
    fn is_postgres_of(&self, data: &Path) -> bool {
        match std::fs::read_link(format!("/proc/{}/cwd", self.pid)) {
            Ok(folder) => data.canonicalize().is_ok_and(|data| data == folder),
            Err(_) => false,
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // Gone already is what we want.
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_serving_server_wrote() {
        let text = "4711\n/d/data\n1700000000\n5432\n/d/socket\n\n  5432001         7\nready   \n";
        assert_eq!(
            Postmaster::read(text),
            Some(Postmaster {
                pid: 4711,
                socket_folder: PathBuf::from("/d/socket"),
                stage: Stage::Serving
            })
        );
    }

    #[test]
    fn a_file_that_is_still_being_written_means_starting() {
        let found = Postmaster::read("4711\n/d/data\n").unwrap();
        assert_eq!(found.stage, Stage::Starting);
    }

    #[test]
    fn nonsense_is_nobody() {
        for text in ["", "\n", "x\n", "-7\n", "0\n", "1\n"] {
            assert_eq!(Postmaster::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn another_program_with_that_number_is_not_the_server() {
        let folder = std::env::temp_dir().join(format!("tenantd-pid-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!("{}\n/d\n1\n5432\n/d\n\n1 1\nready\n", std::process::id());
        std::fs::write(folder.join("postmaster.pid"), text).unwrap();

        let found = Postmaster::of(&folder);

        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, None);
    }
}
