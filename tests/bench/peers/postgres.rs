//! Kamailio's Postgres: its own cluster, with fsync and synchronous_commit on, and all users in it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kit::failure::{Failure, Outcome};
use kit::program::Program;
use kit::wait::{START, until};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown};

use crate::load::Population;
use crate::meter::Tree;
use crate::servers::installed;

/// `kamailio.cfg` says it too.
const PORT: u16 = 55_432;
/// Where Debian keeps the tables that Kamailio wants.
const TABLES: &str = "/usr/share/kamailio/postgres";

/// The running cluster.
pub(crate) struct Postgres {
    program: Program,
    binaries: PathBuf,
}

impl Postgres {
    /// Whether it can be run.
    pub(crate) fn is_installed() -> bool {
        binaries().is_some() && Path::new(TABLES).is_dir()
    }

    /// Makes a cluster in this folder, starts it, and puts in who there is.
    pub(crate) fn start(folder: &Path, population: Population) -> Outcome<Self> {
        let binaries = binaries().ok_or_else(|| Failure::new("Postgres is not installed"))?;
        fs::create_dir_all(folder)?;
        let who = who()?;
        chown(folder, who.map(|who| who.0), who.map(|who| who.1))?;
        let data = folder.join("data");
        let mut made = command(&binaries.join("initdb"))?;
        made.args(["-A", "trust", "-U", "kamailio", "-E", "UTF8", "--no-sync", "-D"]).arg(&data);
        succeed(&mut made)?;
        let mut run = command(&binaries.join("postgres"))?;
        run.arg("-D").arg(&data).args(["-p", &PORT.to_string(), "-h", "127.0.0.1", "-k"]);
        run.arg(folder).args(["-c", "max_connections=200", "-c", "shared_buffers=256MB"]);
        run.args(["-c", "fsync=on", "-c", "synchronous_commit=on"]);
        let program = Program::start(&mut run, &folder.with_extension("log"))?;
        let postgres = Self { program, binaries };
        until("Kamailio's Postgres", START, || {
            Ok(postgres.run("postgres", "select 1").is_ok().then_some(()))
        })?;
        postgres.run("postgres", "create database kamailio")?;
        for tables in ["standard", "auth_db", "usrloc", "domain"] {
            let text = fs::read_to_string(format!("{TABLES}/{tables}-create.sql"))?;
            postgres.run("kamailio", &text)?;
        }
        postgres.run("kamailio", &users(population))?;
        Ok(postgres)
    }

    /// Forgets all phones.
    pub(crate) fn forget_phones(&self) -> Outcome {
        self.run("kamailio", "truncate location")
    }

    fn run(&self, database: &str, sql: &str) -> Outcome {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "kamailio"]);
        psql.args(["-p", &PORT.to_string(), "-d", database, "-c", sql]);
        succeed(&mut psql)
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> Tree {
        Tree { name: "Postgres", root: self.program.pid(), without: None }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Fast shutdown: its children must not outlive it.
        let _ = self.program.signal(Signal::SIGINT);
        let _ = self.program.wait(START);
    }
}

/// The users and domains that the load knows.
fn users(population: Population) -> String {
    let Population { tenants, users } = population;
    let domains = format!(
        "select 't' || lpad(n::text, greatest(3, length(n::text)), '0') || '.bench.test' as d \
         from generate_series(0, {tenants} - 1) n"
    );
    format!(
        "insert into domain (domain, did) select d, d from ({domains}) x; \
         insert into subscriber (username, domain, password, ha1, ha1b) \
         select u, d, '', md5(u || ':' || d || ':pw-' || u || '-' || d), '' from ({domains}) x, \
         (select (1000 + n)::text as u from generate_series(0, {users} - 1) n) y; \
         analyze"
    )
}

fn succeed(command: &mut Command) -> Outcome {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Failure::new(format!("{}: {words}", command.get_program().display())))
        }
    }
}

fn command(program: &Path) -> Outcome<Command> {
    let mut command = Command::new(program);
    if let Some((user, group)) = who()? {
        command.uid(user.as_raw()).gid(group.as_raw()).current_dir("/");
    }
    Ok(command)
}

/// Postgres refuses to be root.
fn who() -> Outcome<Option<(Uid, Gid)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?;
    let user = user.ok_or_else(|| Failure::new("there is no user postgres"))?;
    Ok(Some((user.uid, user.gid)))
}

/// Debian keeps several versions side by side; the newest serves.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").is_file()).max();
    newest.or_else(|| installed("initdb")?.canonicalize().ok()?.parent().map(Path::to_owned))
}
