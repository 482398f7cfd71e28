//! The ground that both sides are measured on: cores for servers, cores for load, a network of their own.

use std::fs;
use std::process::Command;
use std::thread;

use kit::failure::Outcome;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Which cores belong to whom.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    pub(crate) servers: Vec<usize>,
    pub(crate) load: Vec<usize>,
}

/// Whose network is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Own,
    Shared,
}

impl Cores {
    /// Half of them for the servers, two at most, so that figures of large machines are comparable.
    pub(crate) fn split() -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let half = (count / 2).clamp(1, 2);
        match count {
            1 => Self { servers: vec![0], load: vec![0] },
            _ => Self { servers: (0..half).collect(), load: (half..2 * half).collect() },
        }
    }
}

/// Moves this process, before it has any thread, into a network where only loopback is.
///
/// The ports that the system hands out stay below those that the relays use.
pub(crate) fn enter_own_network() -> Network {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return Network::Shared;
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    let ports = fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10000 24999");
    match up.is_ok_and(|status| status.success()) && ports.is_ok() {
        true => Network::Own,
        false => Network::Shared,
    }
}

/// Lets this process and its children open as many sockets as the system allows.
pub(crate) fn open_many_files() -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
