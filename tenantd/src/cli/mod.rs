//! The command line: what can be asked of the program, and how each answer ends.
//!
//! Exit codes: 0 done; 1 the world let us down; 2 what we were given is wrong; 3 committed, but not
//! taken over by every node in time.

mod admin;
mod apply;
mod check;
mod migrate;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use store::provision::NotApplied;
use store::secrets::BadKey;

use crate::config::{self, Base, Config, Problem};
use crate::{postgres, serve};

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
    /// Brings tenants to what a provisioning file says.
    Apply(apply::Apply),
    /// The people who run the whole house.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Says which version this is.
    Version,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] Problem),
    #[error("{0}")]
    Input(String),
    #[error(transparent)]
    Provisioning(#[from] store::provision::Problem),
    #[error(transparent)]
    NotApplied(#[from] NotApplied),
    #[error(transparent)]
    Key(#[from] BadKey),
    #[error(transparent)]
    Postgres(#[from] postgres::Failure),
    #[error(transparent)]
    Store(#[from] store::Failure),
    #[error(transparent)]
    Serve(#[from] serve::Failure),
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Input(_)
            | Self::Provisioning(_)
            | Self::NotApplied(NotApplied::File(_))
            | Self::Key(BadKey::Text { .. }) => 2,
            Self::NotApplied(NotApplied::Database(_))
            | Self::Key(BadKey::File { .. })
            | Self::Postgres(_)
            | Self::Store(_)
            | Self::Serve(_)
            | Self::System(_) => 1,
        }
    }
}

/// Does what the command line asks.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config.as_deref();
    let done = |()| ExitCode::SUCCESS;
    let outcome = match arguments.command {
        Command::Serve => load(config).and_then(serve).map(done),
        Command::Check => load(config).and_then(|config| check::run(&config)).map(done),
        Command::Migrate => load(config).and_then(|config| migrate::run(&config)).map(done),
        Command::Apply(apply) => load(config).and_then(|config| apply.run(&config)),
        Command::Admin(admin) => load(config).and_then(|config| admin.run(&config)).map(done),
        Command::Version => say(concat!("tenantd ", env!("CARGO_PKG_VERSION"))).map(done),
    };
    outcome.unwrap_or_else(|failure| {
        complain(&failure.to_string());
        ExitCode::from(failure.exit_code())
    })
}

fn load(named: Option<&Path>) -> Result<Config, Failure> {
    Ok(config::load(Base::Serve, named, environment())?)
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

fn serve(config: Config) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(serve::run(config))?)
}

/// Says something to whoever called.
fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Says in one line what is wrong.
fn complain(text: &str) {
    let words: Vec<&str> = text.lines().map(str::trim).collect();
    // Whoever cannot read our last words still sees the exit code.
    let _ = writeln!(io::stderr(), "{}", words.join("; "));
}
