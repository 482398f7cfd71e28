//! The command line: what can be asked of the program, and how each answer ends.
//!
//! Exit codes: 0 done; 1 the world let us down; 2 what we were given is wrong; 3 committed, but not
//! taken over by every node in time.

mod admin;
mod apply;
mod check;
mod migrate;
mod sounds;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::{self, Base, Config, Problem, Span};
use crate::demo::{self, Demo};
use crate::intake::{self, Task};
use crate::net::tls;
use crate::{postgres, serve};
use store::provision::{Absent, NotApplied, Options, Run};

/// A hosted phone system for many companies.
#[derive(Debug, Parser)]
#[command(name = "tenantd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The configuration; without it, tenantd.toml if it is there, then built-in defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves phones and browsers until it is told to stop.
    Serve,
    /// Reads the configuration and says whether it can be used.
    Check,
    /// Brings the database up to date.
    Migrate,
    /// Serves two example companies from one folder.
    Demo {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Ends the demo that runs in that folder.
        #[arg(long)]
        stop: bool,
    },
    /// Brings tenants to what a provisioning file says.
    Apply {
        /// The file.
        file: PathBuf,
        /// Only says what would change.
        #[arg(long)]
        dry_run: bool,
        /// Removes what a named tenant has and the file does not name.
        #[arg(long)]
        prune: bool,
        /// How long live nodes may take to serve it.
        #[arg(long, default_value = "10s", value_parser = span)]
        wait: Span,
    },
    /// Manages who runs the house.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Reads an uploaded recording, for a tenantd that runs this.
    #[command(hide = true)]
    ReadSound {
        #[arg(long)]
        largest: u64,
        #[arg(long)]
        longest_ms: u64,
    },
    /// Says which version this is.
    Version,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Lets somebody sign in as a provider, or gives them a new password.
    Add {
        /// Their mail address.
        email: String,
        /// Reads the password from the first line of the standard input.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] Problem),
    #[error(transparent)]
    Key(#[from] store::secrets::BadKey),
    #[error(transparent)]
    Tls(#[from] tls::Failure),
    #[error(transparent)]
    Postgres(#[from] postgres::Failure),
    #[error(transparent)]
    Store(#[from] store::Failure),
    #[error(transparent)]
    Serve(#[from] serve::Failure),
    #[error(transparent)]
    Demo(#[from] demo::Failure),
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    #[error(transparent)]
    Provision(#[from] store::provision::Problem),
    #[error("{name}: {source}")]
    File { name: String, source: io::Error },
    #[error("{0}")]
    Argument(String),
    #[error("committed, but node {0} has not taken it over yet")]
    NotTakenOver(String),
    #[error("committed, but {0} of the sounds still wait here for the object store")]
    NotCarried(usize),
    #[error(transparent)]
    Objects(#[from] store::objects::Failure),
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Key(store::secrets::BadKey::Text { .. })
            | Self::Tls(_)
            | Self::NotApplied(NotApplied::File(_))
            | Self::Provision(_)
            | Self::File { .. }
            | Self::Argument(_) => 2,
            Self::Objects(store::objects::Failure::Setup(_)) => 2,
            Self::NotTakenOver(_) | Self::NotCarried(_) => 3,
            Self::Key(store::secrets::BadKey::File { .. })
            | Self::Postgres(_)
            | Self::Store(_)
            | Self::Serve(_)
            | Self::Demo(_)
            | Self::Objects(_)
            | Self::NotApplied(NotApplied::Database(_))
            | Self::System(_) => 1,
        }
    }
}

/// Does what the command line asks.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config.as_deref();
    let outcome = match arguments.command {
        Command::Serve => load(config).and_then(|config| serve(config, None)),
        Command::Demo { dir, stop } => demo(config, dir, stop),
        Command::Apply { file, dry_run, prune, wait } => {
            let run = if dry_run { Run::Dry } else { Run::Real };
            let absent = if prune { Absent::Prune } else { Absent::Keep };
            let options = Options { run, absent };
            load(config).and_then(|config| apply::run(&config, &file, options, wait.0))
        }
        Command::Admin { command: AdminCommand::Add { email, password_stdin } } => {
            let password =
                if password_stdin { admin::Password::Given } else { admin::Password::Made };
            load(config).and_then(|config| admin::add(&config, &email, password))
        }
        Command::Check => load(config).and_then(|config| check::run(&config)),
        Command::Migrate => load(config).and_then(|config| migrate::run(&config)),
        Command::ReadSound { largest, longest_ms } => {
            let task = Task { largest, longest: Duration::from_millis(longest_ms) };
            intake::run(task).map_err(Failure::System)
        }
        Command::Version => say(concat!("tenantd ", env!("CARGO_PKG_VERSION"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Whoever cannot read our last words still sees the exit code.
            let _ = writeln!(io::stderr(), "{}", in_one_line(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn load(named: Option<&Path>) -> Result<Config, Failure> {
    Ok(config::load(Base::Serve, named, environment())?)
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

fn demo(named: Option<&Path>, dir: Option<PathBuf>, stop: bool) -> Result<(), Failure> {
    let mut config = config::load(Base::Demo(demo::CONFIG), named, environment())?;
    config.data_dir = dir.unwrap_or(config.data_dir);
    // Whoever tries something out does not wait for its end.
    config.drain_for = config.drain_for.min(demo::LONGEST_DRAIN);
    if stop {
        demo::stop(&config.data_dir)?;
        return say("the demo has ended");
    }
    let companies = Demo::open(&config.data_dir)?;
    serve(config, Some(companies))
}

fn span(text: &str) -> Result<Span, String> {
    Span::try_from(text.to_owned())
}

fn serve(config: Config, demo: Option<Demo>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve::run(config, demo));
    // All work is done; what may be left is a question to a name server, which cannot be taken back.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Says something to whoever called.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
