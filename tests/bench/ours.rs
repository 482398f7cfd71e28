//! tenantd as it is measured: the program that was built, with its defaults, and companies in it.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kit::failure::{Failure, Outcome};
use kit::program::Program;
use kit::wait;

use crate::load::{Population, domain, password, user};
use crate::meter::Tree;
use crate::servers::{self, Side, local};

/// How long applying 100,000 extensions may take.
const APPLIES_WITHIN: Duration = Duration::from_secs(600);
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Which of several that run at the same time: each has its own ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// With nothing beside it.
    Alone,
    First,
    Second,
}

/// A running tenantd with its own data.
pub(crate) struct Ours {
    binary: PathBuf,
    folder: PathBuf,
    place: Place,
    /// What its configuration says besides.
    more: String,
    program: Option<Program>,
}

impl Ours {
    /// Starts one in an empty folder and puts companies into it.
    pub(crate) fn start(
        binary: &Path,
        folder: &Path,
        place: Place,
        population: Population,
    ) -> Outcome<Self> {
        let mut ours = Self::prepare(binary, folder, place, "")?;
        ours.run()?;
        ours.apply(population)?;
        Ok(ours)
    }

    /// Writes a configuration, with `more` in it, into an empty folder, and starts nothing yet.
    pub(crate) fn prepare(binary: &Path, folder: &Path, place: Place, more: &str) -> Outcome<Self> {
        servers::empty(folder)?;
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let ours = Self { binary, folder, place, more: more.to_owned(), program: None };
        fs::write(ours.config_file(), ours.config())?;
        Ok(ours)
    }

    /// Starts the process; says how long it took to be ready.
    pub(crate) fn run(&mut self) -> Outcome<Duration> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(self.config_file()).current_dir(&self.folder);
        let log = self.folder.join("tenantd.log");
        // An earlier start's words are not this one's.
        fs::write(&log, "")?;
        let began_at = Instant::now();
        let mut program = Program::start(&mut command, &log)?;
        program.wait_for_line("tenantd ready", STARTS_WITHIN)?;
        let took = began_at.elapsed();
        self.program = Some(program);
        Ok(took)
    }

    /// Puts companies into it.
    pub(crate) fn apply(&self, population: Population) -> Outcome {
        self.apply_with(population, "")
    }

    /// The same with more lines for each company.
    pub(crate) fn apply_with(&self, population: Population, settings: &str) -> Outcome {
        self.apply_file(&companies(population, settings)).map(drop)
    }

    /// Applies a file; says how long that took, until the server, if it runs, had taken it over.
    pub(crate) fn apply_file(&self, text: &str) -> Outcome<Duration> {
        let file = self.folder.join("companies.toml");
        fs::write(&file, text)?;
        let mut command = Command::new(&self.binary);
        command.arg("apply").arg(&file).args(["--wait", "300s", "--config"]);
        command.arg(self.config_file()).current_dir(&self.folder);
        let log = self.folder.join("apply.log");
        let began_at = Instant::now();
        let mut program = Program::start(&mut command, &log)?;
        let status = program.wait(APPLIES_WITHIN)?;
        match status.success() {
            true => Ok(began_at.elapsed()),
            false => Err(Failure::new(format!("tenantd apply ended with {status}"))),
        }
    }

    /// The server and its Postgres, to be loaded.
    pub(crate) fn side(&self) -> Outcome<Side> {
        let program = self.program.as_ref();
        let program = program.ok_or_else(|| Failure::new("tenantd does not run"))?;
        let path = self.folder.join("data/postgres/data/postmaster.pid");
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let postmaster = text.lines().next().unwrap_or_default().trim().parse()?;
        Ok(Side {
            name: "tenantd".to_owned(),
            address: self.address(),
            // Its private Postgres is its child.
            trees: vec![
                Tree { name: "tenantd", root: program.pid(), without: Some(postmaster) },
                Tree { name: "Postgres", root: postmaster, without: None },
            ],
        })
    }

    /// Where phones reach it.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        local(self.ports().0)
    }

    /// Where it keeps what it must not forget.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where health and metrics are.
    pub(crate) fn admin(&self) -> SocketAddrV4 {
        local(self.ports().2)
    }

    /// Ends its process this very moment.
    pub(crate) fn kill(&mut self) -> Outcome {
        match self.program.take() {
            Some(mut program) => program.kill(),
            None => Err(Failure::new("tenantd does not run")),
        }
    }

    /// Stops it in good order.
    pub(crate) fn stop(&mut self) -> Outcome {
        match self.program.take() {
            Some(mut program) => servers::end(&mut program),
            None => Ok(()),
        }
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("tenantd.toml")
    }

    /// For SIP, the pages, and health; and those of sound.
    fn ports(&self) -> (u16, u16, u16, &'static str) {
        match self.place {
            Place::Alone => (5_060, 8_080, 9_090, "26000-54000"),
            Place::First => (5_060, 8_080, 9_090, "26000-39999"),
            Place::Second => (5_070, 8_090, 9_190, "40000-53999"),
        }
    }

    fn node(&self) -> &'static str {
        match self.place {
            Place::Alone | Place::First => "n1",
            Place::Second => "n2",
        }
    }

    fn config(&self) -> String {
        let (sip, web, admin, sound) = self.ports();
        let data = self.data();
        format!(
            "node = \"{}\"\ndata_dir = {data:?}\ndrain_for = \"1s\"\n{}\
             udp = [\"127.0.0.1:{sip}\"]\ntcp = []\ntls = []\n\
             [media]\nports = \"{sound}\"\nthreads = 2\n\
             [stun]\nudp = []\n\
             [web]\nhttp = [\"127.0.0.1:{web}\"]\nhttps = []\n\
             [admin]\nlisten = [\"127.0.0.1:{admin}\"]\n{}",
            self.node(),
            "[sip]\nunknown_domain = \"refuse\"\nlanes = 2\n",
            self.more,
        )
    }
}

/// As a provisioning file, with `settings` for each company.
pub(crate) fn companies(population: Population, settings: &str) -> String {
    let mut text = String::new();
    for tenant in 0..population.tenants {
        let domain = domain(tenant);
        let company = format!(
            "[[tenant]]\ndomain = \"{domain}\"\nname = \"{domain}\"\ncountry = \"AT\"\n\
             time_zone = \"Europe/Vienna\"\n{settings}"
        );
        text.push_str(&company);
        for number in 0..population.users {
            let user = user(number);
            let password = password(&user, &domain);
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "[[tenant.extension]]\nnumber = \"{user}\"\npassword = \"{password}\"\n\
                 name = \"Phone {user}\""
            );
        }
    }
    text
}

impl Drop for Ours {
    fn drop(&mut self) {
        // A Postgres that is left behind would outlive the measurement.
        let _ = self.stop();
    }
}

/// What is told beside the figures about how it runs.
pub(crate) const SETTINGS: &str = "tenantd: unknown_domain = \"refuse\", lanes = 2, [media] threads = 2; \
     fsync, synchronous_commit, flood guard, INFO logs and stories as they come";

/// The program that was built with this one.
pub(crate) fn built() -> Outcome<PathBuf> {
    let us = std::env::current_exe()?;
    let program = us.parent().map(|folder| folder.join("tenantd"));
    let program = program.filter(|program| program.exists());
    program.ok_or_else(|| Failure::new("tenantd is not built: use tests/bench/run"))
}

/// Waits until what was written behind has come to rest, as far as the CPU shows.
pub(crate) fn settle(side: &Side) -> Outcome {
    let mut last = Duration::MAX;
    wait::until("a server at rest", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(500));
        let now: Duration = side.trees.iter().map(Tree::cpu).sum();
        let used = now.saturating_sub(last);
        let is_idle = last != Duration::MAX && used < Duration::from_millis(60);
        last = now;
        Ok(is_idle.then_some(()))
    })
}
