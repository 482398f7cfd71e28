//! A program that a live test runs: found, started with its output in a file, and ended by its id.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, Outcome};
use crate::wait;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it prints goes to `log`.
    ///
    /// # Errors
    /// If it is not installed or cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        Self::spawn(command.stdin(Stdio::null()), log)
    }

    /// The same for a program that is told what to do by lines (see [`Program::tell`]).
    ///
    /// # Errors
    /// If it is not installed or cannot be started.
    pub fn start_obeying(command: &mut Command, log: &Path) -> Outcome<Self> {
        Self::spawn(command.stdin(Stdio::piped()), log)
    }

    fn spawn(command: &mut Command, log: &Path) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options().create(true).append(true).open(log)?;
        let child = command.stdout(out.try_clone()?).stderr(out).spawn().map_err(|error| {
            Failure::new(format!("{name} cannot be started ({error}): ./infra/test installs it"))
        })?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// If it does not read any more, or never did.
    pub fn tell(&mut self, line: &str) -> Outcome {
        let input = self.child.stdin.as_mut();
        let input = input.ok_or_else(|| Failure::new(format!("{} takes no lines", self.name)))?;
        input.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has printed so far.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits for a line that holds `text`, and returns it.
    ///
    /// # Errors
    /// If the program ends first, or takes longer.
    pub fn wait_for_line(&mut self, text: &str, within: Duration) -> Outcome<String> {
        let what = format!("{} printing {text:?}", self.name);
        wait::until(&what, within, || {
            let printed = self.printed();
            // The last line may be half written.
            let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return Ok(Some(line.to_owned()));
            }
            match self.child.try_wait()? {
                Some(status) => Err(Failure::new(format!("{} ended ({status})", self.name))),
                None => Ok(None),
            }
        })
        .map_err(|failure| Failure::new(format!("{failure}; it printed:\n{}", self.printed())))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the program is gone.
    pub fn signal(&self, signal: Signal) -> Outcome {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_running(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it takes longer.
    pub fn wait(&mut self, within: Duration) -> Outcome<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait::until(&what, within, || Ok(self.child.try_wait()?))
            .map_err(|failure| Failure::new(format!("{failure}; it printed:\n{}", self.printed())))
    }

    /// Ends it at once, without a chance to say good-bye.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.kill();
    }
}
