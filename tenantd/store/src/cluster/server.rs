//! The private cluster's life: made once, started or found running, watched, stopped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::binaries;
use super::home::{self, Home, at};
use super::postmaster::{Postmaster, Stage};
use crate::database::{Role, Urls};

/// A start after a crash first replays what was committed.
const START_FOR: Duration = Duration::from_secs(120);
/// A fast stop ends sessions and writes a checkpoint.
const STOP_FOR: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How much of the server's last words a failure tells.
const LAST_LINES: usize = 5;

const SETTINGS: &str = "
# Written by tenantd when it made this cluster.
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
timezone = 'UTC'
log_timezone = 'UTC'
# One file a weekday, so that the log has an end.
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_size = 0
";

const WHO_MAY_CONNECT: &str = "\
# The socket's folder lets nobody in but the user who can read these files anyway.
local tenantd tenantd_owner,tenantd_tenant,tenantd_node,tenantd_provider trust
";

/// What a look at the server found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It serves.
    Serving,
    /// It had died, and serves again.
    Restarted,
}

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The programs are missing.
    #[error(
        "Postgres is not installed: no folder with initdb and postgres in TENANTD_POSTGRES_BIN, \
         /usr/lib/postgresql/*/bin or PATH"
    )]
    NoPrograms,
    /// Root must not run it, and nobody else is there to do so.
    #[error("Postgres never runs as root, and this system has no user \"postgres\"")]
    NoUser,
    /// Somebody else's files are in the way.
    #[error("{} belongs to user {owner}, or others can enter it", .folder.display())]
    NotOurs {
        /// Which folder.
        folder: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The server's user can reach no folder that we tried.
    #[error("user {uid}, as whom Postgres runs, cannot reach {}", .folder.display())]
    OutOfReach {
        /// The last folder tried.
        folder: PathBuf,
        /// The user.
        uid: u32,
    },
    /// A file or program could not be used.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program of Postgres gave up.
    #[error("{program} failed ({status}): {words}")]
    Program {
        /// Which.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        words: String,
    },
    /// The server neither serves nor ends.
    #[error("Postgres (process {pid}) did not {what} within {} s", .within.as_secs())]
    TooSlow {
        /// Its process.
        pid: i32,
        /// What it did not do.
        what: &'static str,
        /// How long we waited.
        within: Duration,
    },
}

/// A private cluster that serves. Dropping it stops it.
///
/// Its methods block for as long as Postgres takes.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    programs: PathBuf,
    server: Postmaster,
    child: Option<Child>,
}

impl Cluster {
    /// Starts the cluster of this data directory, or takes over the one that outlived an earlier
    /// process of ours; makes it first where there is none. Whoever calls owns the data directory.
    ///
    /// # Errors
    /// Where the programs, a user or the folders are missing, or Postgres does not come up.
    pub fn start(data_dir: &Path) -> Result<Self, Failure> {
        let home = Home::of(data_dir)?;
        let version = fs::read_to_string(home.data().join("PG_VERSION")).ok();
        let programs = binaries::find(
            std::env::var_os("TENANTD_POSTGRES_BIN").as_deref(),
            std::env::var_os("PATH").as_deref(),
            version.as_deref().map(str::trim),
        )
        .ok_or(Failure::NoPrograms)?;
        if version.is_none() {
            make(&home, &programs)?;
        }
        let (server, child) = serve(&home, &programs)?;
        Ok(Self { home, programs, server, child })
    }

    /// Where its files are; under root this can be outside the data directory.
    pub fn folder(&self) -> &Path {
        &self.home.folder
    }

    /// The server's process.
    pub fn pid(&self) -> i32 {
        self.server.pid
    }

    /// How each role reaches it.
    pub fn urls(&self) -> Urls {
        urls(&self.server)
    }

    /// How each role reaches the cluster that another process of ours keeps running; `None` if none
    /// serves right now.
    pub fn of_another(data_dir: &Path) -> Option<Urls> {
        let candidates = home::candidates(&data_dir.canonicalize().ok()?);
        let found = candidates.iter().find_map(|home| Postmaster::of(&home.join("data")));
        found.filter(|server| server.stage == Stage::Serving).map(|server| urls(&server))
    }

    /// Sees whether the server still serves, and starts it again if it died.
    ///
    /// # Errors
    /// If it died and does not come up again; a later call tries again.
    pub fn watch(&mut self) -> Result<Condition, Failure> {
        // Reaps a dead child, so that it is seen as dead.
        let ended =
            self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
        if !ended && self.server.is_alive() {
            return Ok(Condition::Serving);
        }
        let (server, child) = serve(&self.home, &self.programs)?;
        (self.server, self.child) = (server, child);
        Ok(Condition::Restarted)
    }

    /// Ends all sessions, writes everything down and stops; in an emergency without the last, which
    /// the next start then makes good.
    ///
    /// # Errors
    /// If the server's process is still there after a minute.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.end()?;
        // Made again at each start; in `/tmp` it would stay for ever.
        let _ = fs::remove_dir(&self.server.socket_folder);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        for (signal, within) in [(Signal::SIGINT, STOP_FOR), (Signal::SIGQUIT, STOP_FOR / 6)] {
            if self.is_gone() {
                return Ok(());
            }
            self.server.signal(signal);
            let give_up_at = Instant::now() + within;
            while Instant::now() < give_up_at {
                if self.is_gone() {
                    return Ok(());
                }
                sleep(LOOK_AGAIN_AFTER);
            }
        }
        Err(Failure::TooSlow { pid: self.server.pid, what: "stop", within: STOP_FOR })
    }

    fn is_gone(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !self.server.is_alive(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start takes over what did not stop.
        let _ = self.end();
    }
}

/// Makes the cluster beside its final place, so that a broken attempt never passes for one.
fn make(home: &Home, programs: &Path) -> Result<(), Failure> {
    let folder = home.fresh("data.new")?;
    let mut initdb = home.command(&programs.join("initdb"));
    initdb.args(["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.args(["--auth=trust", "--data-checksums", "--no-instructions"]).arg("--pgdata");
    run("initdb", initdb.arg(&folder), "")?;

    let path = folder.join("postgresql.conf");
    let mut settings = fs::OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
    settings.write_all(SETTINGS.as_bytes()).map_err(at(&path))?;
    let path = folder.join("pg_hba.conf");
    fs::write(&path, WHO_MAY_CONNECT).map_err(at(&path))?;

    let mut single = home.command(&programs.join("postgres"));
    single.arg("--single").arg("-D").arg(&folder);
    single.args(["-c", "exit_on_error=on", "-c", "logging_collector=off", "postgres"]);
    run("postgres --single", &mut single, &first_statements())?;
    fs::rename(&folder, home.data()).map_err(at(&folder))
}

/// Each role logs in as itself. This is the superuser's only work: `pg_hba.conf` lets it in nowhere.
/// A single-user server takes one statement a line.
fn first_statements() -> String {
    let mut statements = String::new();
    let roles = Role::ALL.map(Role::name);
    for role in roles {
        statements += &format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB;\n");
    }
    statements += "CREATE DATABASE tenantd OWNER tenantd_owner;\n";
    statements += "REVOKE ALL ON DATABASE tenantd FROM PUBLIC;\n";
    statements += &format!("GRANT CONNECT ON DATABASE tenantd TO {};\n", roles.join(", "));
    statements
}

fn run(program: &'static str, command: &mut Command, input: &str) -> Result<(), Failure> {
    let output = output_of(command, input)
        .map_err(|source| Failure::File { path: PathBuf::from(command.get_program()), source })?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = end_of(&output.stderr);
            Err(Failure::Program { program, status: output.status, words })
        }
    }
}

fn output_of(command: &mut Command, input: &str) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended early says why in its last words.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

/// Comes back once a server serves: the one that is there, else a new one.
fn serve(home: &Home, programs: &Path) -> Result<(Postmaster, Option<Child>), Failure> {
    let give_up_at = Instant::now() + START_FOR;
    let mut child: Option<Child> = None;
    loop {
        match Postmaster::of(&home.data()) {
            Some(server) if server.stage == Stage::Serving => {
                let is_ours = child.as_ref().is_some_and(|child| is(child, server.pid));
                return Ok((server, child.filter(|_| is_ours)));
            }
            Some(server) if Instant::now() >= give_up_at => {
                let what = "come up";
                return Err(Failure::TooSlow { pid: server.pid, what, within: START_FOR });
            }
            Some(_) => {}
            None if child.is_none() => child = Some(spawn(home, programs)?),
            None => {}
        }
        if let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            // What was killed may hold its memory or its lock until the system has cleared it away.
            if Instant::now() >= give_up_at || !is_still_held(home) {
                let words = last_words(home);
                return Err(Failure::Program { program: "postgres", status, words });
            }
            child = None;
        }
        sleep(LOOK_AGAIN_AFTER);
    }
}

fn is(child: &Child, pid: i32) -> bool {
    u32::try_from(pid).is_ok_and(|pid| pid == child.id())
}

fn spawn(home: &Home, programs: &Path) -> Result<Child, Failure> {
    let words = home.folder.join("start.log");
    let log = File::create(&words).map_err(at(&words))?;
    let socket_folder = home.socket_folder()?;
    let program = programs.join("postgres");
    let mut socket_setting = OsString::from("unix_socket_directories=\"");
    socket_setting.push(socket_folder);
    socket_setting.push("\"");
    let mut command = home.command(&program);
    command.arg("-D").arg(home.data()).arg("-c").arg(socket_setting);
    // Not in our process group: a Ctrl-C in the terminal is for us, and we stop it last.
    command.process_group(0).stdout(Stdio::null()).stderr(log);
    command.spawn().map_err(|source| Failure::File { path: program, source })
}

fn is_still_held(home: &Home) -> bool {
    let words = last_words(home);
    ["shared memory block", "lock file \"postmaster.pid\" already exists"]
        .iter()
        .any(|held| words.contains(held))
}

/// What the server said last: before its log was open, then in the log.
fn last_words(home: &Home) -> String {
    let newest = fs::read_dir(home.data().join("log"))
        .into_iter()
        .flatten()
        .flatten()
        .max_by_key(|entry| entry.metadata().and_then(|found| found.modified()).ok())
        .map(|entry| entry.path());
    // What cannot be read cannot be told; the failure itself still is.
    let read = |path: PathBuf| fs::read(path).map(|words| end_of(&words)).unwrap_or_default();
    let early = read(home.folder.join("start.log"));
    match newest.filter(|_| early.contains("redirecting log output")) {
        Some(log) => read(log),
        None => early,
    }
}

/// The last lines of a program's words as one.
fn end_of(words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join(" / ")
}

fn urls(server: &Postmaster) -> Urls {
    let url = |role: Role| {
        let role = role.name();
        let socket = percent_encoded(server.socket_folder.as_os_str());
        format!("postgres://{role}@localhost:5432/tenantd?host={socket}")
    };
    Urls {
        node: url(Role::Node),
        web: url(Role::Tenant),
        provider: url(Role::Provider),
        migrate: url(Role::Owner),
    }
}

fn percent_encoded(path: &OsStr) -> String {
    let mut text = String::new();
    for byte in path.as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte));
            }
            other => text += &format!("%{other:02X}"),
        }
    }
    text
}
