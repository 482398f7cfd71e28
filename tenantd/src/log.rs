//! The log: lines on standard error, for people or for programs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Format, Level, Log};

/// Begins to log; once a process.
///
/// Below `trace`, what other packages say is told only if it is a warning: a database's statements
/// would bury what happens to calls.
pub fn start(log: &Log) {
    let filter = EnvFilter::new(match log.level {
        Level::Off => "off",
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "warn,tenantd=info,media=info,store=info,web=info",
        Level::Debug => "warn,tenantd=debug,media=debug,store=debug,web=debug",
        Level::Trace => "trace",
    });
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match log.format {
        Format::Text => lines.with_ansi(is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    // Only a test that runs two servers in one process comes here twice; the first log is as good.
    drop(started);
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}
