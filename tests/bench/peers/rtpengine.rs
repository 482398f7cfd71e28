//! rtpengine, the relay that Kamailio sends sound through: in user space, as a container has it.

use std::net::SocketAddrV4;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use kit::program::Program;

use crate::meter::Tree;
use crate::servers::{self, installed, local};

/// A running rtpengine.
pub(crate) struct Rtpengine {
    program: Program,
}

impl Rtpengine {
    /// Whether it can be run.
    pub(crate) fn is_installed() -> bool {
        installed("rtpengine").is_some()
    }

    /// Starts it where `kamailio.cfg` expects it, with these ports for sound.
    pub(crate) fn start(folder: &Path, ports: &RangeInclusive<u16>) -> Outcome<Self> {
        let path = installed("rtpengine").ok_or_else(|| Failure::new("rtpengine is missing"))?;
        let mut command = Command::new(path);
        command.args(["--foreground", "--table=-1", "--interface=127.0.0.1"]);
        command.arg(format!("--listen-ng={}", Self::address()));
        command.arg(format!("--port-min={}", ports.start()));
        command.arg(format!("--port-max={}", ports.end()));
        command.args(["--num-threads=2", "--log-level=3", "--log-stderr", "--delete-delay=0"]);
        command.args(["--timeout=600", "--silent-timeout=600"]);
        command.arg(format!("--pidfile={}", folder.join("rtpengine.pid").display()));
        let mut program = Program::start(&mut command, &folder.join("rtpengine.log"))?;
        // It says nothing when it listens; if it has not by the first call, that call fails.
        std::thread::sleep(Duration::from_millis(1_500));
        match program.is_running()? {
            true => Ok(Self { program }),
            false => Err(Failure::new(format!("rtpengine ended: {}", program.printed()))),
        }
    }

    /// Where its control protocol is spoken.
    pub(crate) fn address() -> SocketAddrV4 {
        local(22_222)
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> Tree {
        Tree { name: "rtpengine", root: self.program.pid(), without: None }
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = servers::end(&mut self.program);
    }
}
