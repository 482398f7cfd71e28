//! How threads of sound start, and what they find: which way packets take, and whether they go first.

use std::io;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::io::{Io, Kind};
use crate::precedence::Scheduling;

/// Which way a worker found to the network.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// Why it is not io_uring, where that was wanted.
    pub(crate) no_ring: Option<io::Error>,
    /// Why it does not go before others, where that was wanted.
    pub(crate) not_first: Option<io::Error>,
}

/// How a worker is to work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways {
    /// How many pairs are kept open for the next call.
    pub(crate) spare: usize,
    pub(crate) io: Io,
    pub(crate) scheduling: Scheduling,
}

/// What all threads begin with.
pub(crate) struct Start {
    pub(crate) ways: Ways,
    /// One for each, or none.
    pub(crate) cores: Vec<usize>,
}

/// Says once which way packets take, and why it is not the cheaper one; and whether they go first.
pub(crate) fn tell(found: &[Found], pinned: usize) {
    let rings = found.iter().filter(|found| found.kind == Kind::IoUring).count();
    let io = match rings {
        0 => "epoll",
        some if some < found.len() => "io_uring on some threads",
        _ => "io_uring",
    };
    let no_ring = found.iter().find_map(|found| found.no_ring.as_ref());
    let no_ring = no_ring.map(tracing::field::display);
    let not_first = found.iter().find_map(|found| found.not_first.as_ref());
    let not_first = not_first.map(tracing::field::display);
    let threads = found.len();
    tracing::info!(io, threads, pinned, no_ring, not_first, "threads for sound have started");
}

/// How many there are to be.
pub(crate) fn threads(wanted: usize) -> usize {
    match wanted {
        0 => thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
        wanted => wanted,
    }
}

/// A pair is two open files, and many systems allow only 1,024 unless asked for more.
pub(crate) fn allow_files(pairs: usize) {
    // A call has two pairs, and may have a recording.
    let wanted = pairs as u64 * 5 / 2 + 4_096;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let allowed = wanted.min(hard);
    if allowed > soft && setrlimit(Resource::RLIMIT_NOFILE, allowed, hard).is_err() {
        tracing::warn!(soft, "the limit of open files cannot be raised");
    }
    if hard < wanted {
        tracing::warn!(hard, wanted, "fewer files may be open than there are ports for sound");
    }
}
