//! sipp, the SIP test tool, playing one of the scenarios in `tests/live/sipp`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::company::Company;
use crate::failure::{Failure, Outcome};
use crate::program::Program;
use crate::scene::Scene;

/// A scenario and what it is played with.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// The scenario's file name, without `.xml`.
    pub scenario: &'a str,
    /// Where the server is.
    pub server: SocketAddr,
    /// The port on 127.0.0.1, or ::1 if the server is there, that signalling comes from and goes
    /// to. Sound is always on 127.0.0.1.
    pub port: u16,
    /// Values for `[key]` in the scenario.
    pub keys: Vec<(&'a str, String)>,
    /// One line a call: `[field0]`, `[field1]` …
    pub rows: Vec<String>,
    /// How many calls are played.
    pub calls: usize,
}

/// A scenario that is being played. Dropping it ends it.
#[derive(Debug)]
pub struct Sipp {
    name: String,
    program: Program,
    folder: PathBuf,
}

/// A row for a user who will be asked for the password.
pub fn user(company: &Company, number: &str) -> String {
    let password = company.password(number);
    format!("{number};[authentication username={number} password={password}]")
}

impl Sipp {
    /// Begins to play.
    ///
    /// # Errors
    /// If sipp is not installed.
    pub fn start(scene: &mut Scene, setup: &Setup<'_>) -> Outcome<Self> {
        let name = format!("sipp-{}-{}", setup.scenario, scene.ports.one()?);
        let folder = scene.folder.path().join(&name);
        std::fs::create_dir_all(&folder)?;
        let own = if setup.server.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        let mut command = Command::new("sipp");
        command
            .arg(setup.server.to_string())
            .args(["-sf", &scenario(setup.scenario).display().to_string()])
            .args(["-i", own, "-mi", "127.0.0.1", "-p", &setup.port.to_string()])
            .args(["-m", &setup.calls.to_string(), "-l", &setup.calls.max(1).to_string()])
            .args(["-r", "20", "-t", "u1", "-nostdin", "-timeout", "60s", "-timeout_error"])
            .args(["-trace_msg", "-message_file", "messages.log"])
            .args(["-trace_err", "-error_file", "errors.log"])
            .args(["-trace_logs", "-log_file", "noted.log"]);
        if !setup.rows.is_empty() {
            let rows = format!("SEQUENTIAL\n{}\n", setup.rows.join("\n"));
            std::fs::write(folder.join("rows.csv"), rows)?;
            command.args(["-inf", "rows.csv"]);
        }
        for (key, value) in &setup.keys {
            command.args(["-key", key, value]);
        }
        command.current_dir(&folder).env("TERM", "dumb");
        let program = Program::start(&mut command, &folder.join("screen.txt"))?;
        Ok(Self { name, program, folder })
    }

    /// Plays a scenario to its end.
    ///
    /// # Errors
    /// If sipp is not installed, or a call of it fails.
    pub fn play(scene: &mut Scene, setup: &Setup<'_>, within: Duration) -> Outcome<Self> {
        let mut sipp = Self::start(scene, setup)?;
        sipp.finish(within)?;
        Ok(sipp)
    }

    /// Waits until all calls have been played, each as the scenario says.
    ///
    /// # Errors
    /// If one was not, or they take longer.
    pub fn finish(&mut self, within: Duration) -> Outcome {
        let status = self.program.wait(within)?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("{} ended with {status}", self.name))),
        }
    }

    /// Lines that the scenario noted with `<log>`.
    pub fn noted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("noted.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("live/sipp").join(format!("{name}.xml"))
}
