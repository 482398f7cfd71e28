//! The log: lines on standard error, for people or for programs.
//!
//! Two lines a call, each written by itself, cost as much as a tenth of the call. So lines are
//! gathered for a moment; a warning or an error is written at once, with all that came before it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tracing::{Level as Severity, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Format, Level, Log};

/// How long a line waits for others. A process that is killed loses no more than this.
const GATHER_FOR: Duration = Duration::from_millis(100);

/// So much is written at once, whoever comes.
const FULL: usize = 64 * 1_024;

static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

/// Logging, for as long as it is held: what is gathered is written when it goes.
#[derive(Debug)]
#[must_use]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        flush();
    }
}

/// Writes what is gathered: for whoever ends the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.write_out(&mut lines.gathered());
    }
}

/// Begins to log; once a process.
///
/// Below `trace`, what other packages say is told only if it is a warning: a database's statements
/// would bury what happens to calls.
pub fn start(log: &Log) -> Logging {
    let filter = EnvFilter::new(match log.level {
        Level::Off => "off",
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "warn,tenantd=info,media=info,store=info,web=info",
        Level::Debug => "warn,tenantd=debug,media=debug,store=debug,web=debug",
        Level::Trace => "trace",
    });
    let to = Arc::clone(LINES.get_or_init(Lines::start));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Out(to)).with_target(false);
    let started = match log.format {
        Format::Text => lines.with_ansi(is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    // Only a test that runs two servers in one process comes here twice; the first log is as good.
    drop(started);
    Logging(())
}

/// Lines that wait to be written.
#[derive(Debug, Default)]
struct Lines {
    gathered: Mutex<Vec<u8>>,
    /// Writes them after a moment; without it each is written by itself.
    writer: OnceLock<Thread>,
}

impl Lines {
    fn start() -> Arc<Self> {
        let lines = Arc::new(Self { gathered: Mutex::default(), writer: OnceLock::new() });
        let theirs = Arc::clone(&lines);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || {
            loop {
                thread::park();
                thread::sleep(GATHER_FOR);
                theirs.write_out(&mut theirs.gathered());
            }
        });
        match thread {
            Ok(thread) => drop(lines.writer.set(thread.thread().clone())),
            Err(error) => eprintln!("no thread can be started for the log: {error}"),
        }
        lines
    }

    fn take(&self, line: &[u8], haste: Haste) {
        let mut gathered = self.gathered();
        let first = gathered.is_empty();
        gathered.extend_from_slice(line);
        match self.writer.get() {
            Some(writer) if haste == Haste::CanWait && gathered.len() < FULL => {
                if first {
                    writer.unpark();
                }
            }
            Some(_) | None => self.write_out(&mut gathered),
        }
    }

    fn write_out(&self, gathered: &mut Vec<u8>) {
        if !gathered.is_empty() {
            // With no standard error there is nobody to tell.
            let _ = io::stderr().write_all(gathered);
            gathered.clear();
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<u8>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a line may wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    CanWait,
    Now,
}

/// Where the subscriber writes.
struct Out(Arc<Lines>);

/// Where one line goes.
struct Line<'a> {
    lines: &'a Lines,
    haste: Haste,
}

impl<'a> MakeWriter<'a> for Out {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: &self.0, haste: Haste::Now }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        let haste = match *about.level() <= Severity::WARN {
            true => Haste::Now,
            false => Haste::CanWait,
        };
        Line { lines: &self.0, haste }
    }
}

impl Write for Line<'_> {
    /// The subscriber gives a whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.take(line, self.haste);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_waits_for_others_and_an_urgent_one_takes_them_along() {
        let lines = Lines::default();
        lines.writer.set(thread::current()).unwrap();
        lines.take(b"one\n", Haste::CanWait);
        lines.take(b"two\n", Haste::CanWait);
        assert_eq!(*lines.gathered(), b"one\ntwo\n");
        lines.take(b"trouble\n", Haste::Now);
        assert!(lines.gathered().is_empty());
    }

    #[test]
    fn what_waits_has_a_limit() {
        let lines = Lines::default();
        lines.writer.set(thread::current()).unwrap();
        for _ in 0..FULL {
            lines.take(b" ", Haste::CanWait);
            assert!(lines.gathered().len() < FULL);
        }
    }
}
