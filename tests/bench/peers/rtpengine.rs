//! rtpengine, the relay that Kamailio sends sound through: in user space, as a container has it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use kit::program::Program;

use crate::meter::Tree;
use crate::servers::{self, installed};

/// A running rtpengine.
pub(crate) struct Rtpengine {
    program: Program,
}

impl Rtpengine {
    /// Whether it can be run.
    pub(crate) fn is_installed() -> bool {
        installed("rtpengine").is_some()
    }

    /// Starts it where `kamailio.cfg` expects it.
    pub(crate) fn start(folder: &Path) -> Outcome<Self> {
        let path = installed("rtpengine").ok_or_else(|| Failure::new("rtpengine is missing"))?;
        let mut command = Command::new(path);
        command.args(["--foreground", "--table=-1", "--interface=127.0.0.1"]);
        command.args(["--listen-ng=127.0.0.1:22222", "--port-min=40000", "--port-max=54000"]);
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
