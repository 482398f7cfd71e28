//! The real program, as a user runs it: its own data directory, its own Postgres, free ports.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::cluster::Cluster;

use crate::company::Company;
use crate::failure::{Failure, Outcome};
use crate::folder::Folder;
use crate::http::{self, Page};
use crate::listeners::Listeners;
use crate::postgres;
use crate::program::Program;
use crate::scene::{FOUND, Scene};
use crate::twins::{self, Twins};
use crate::wait::{self, START};

/// A server: its files, and its process while it runs. Dropping it kills both it and its Postgres.
///
/// Every server has a company next door to those of the test (see `twins`); whenever the process
/// ends in good order it is seen whether that one noticed anything, and if so the test fails.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// Where what is noticed next door is written, for whoever plays the test.
    found: PathBuf,
    /// Where it listens.
    pub at: Listeners,
    program: Option<Program>,
    twins: OnceLock<Twins>,
    name_server: Option<IpAddr>,
}

impl Server {
    /// Writes a configuration and starts the server.
    ///
    /// # Errors
    /// If it is not ready in time.
    pub fn start(scene: &mut Scene) -> Outcome<Self> {
        let at = Listeners::new(scene)?;
        let mut server = Self::prepare(&scene.folder, at, "")?;
        server.run()?;
        Ok(server)
    }

    /// Starts the server with all its doors open and these companies in it.
    ///
    /// # Errors
    /// If it is not ready in time, or refuses the companies.
    pub fn start_everywhere(scene: &mut Scene, companies: &[&Company]) -> Outcome<Self> {
        let at = Listeners::everywhere(scene)?;
        let mut server = Self::prepare(&scene.folder, at, "")?;
        server.run()?;
        server.provision(companies)?;
        Ok(server)
    }

    /// Starts the server with these companies in it.
    ///
    /// # Errors
    /// If it is not ready in time, or refuses the companies.
    pub fn start_with(scene: &mut Scene, companies: &[&Company]) -> Outcome<Self> {
        let server = Self::start(scene)?;
        server.provision(companies)?;
        Ok(server)
    }

    /// Writes a configuration, with `more` at its end, and starts nothing yet.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn prepare(folder: &Folder, at: Listeners, more: &str) -> Outcome<Self> {
        let server = Self {
            folder: folder.path().to_owned(),
            found: folder.path().join(FOUND),
            at,
            program: None,
            twins: OnceLock::new(),
            name_server: None,
        };
        folder.write("tenantd.toml", &server.config(more))?;
        Ok(server)
    }

    /// Several servers play in one test: what is noticed is told there, and not in each one's folder.
    pub fn report_to(&mut self, folder: &Folder) {
        self.found = folder.path().join(FOUND);
    }

    /// The file of this name in its data directory.
    pub fn data_file(&self, name: &str) -> PathBuf {
        self.folder.join("data").join(name)
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("tenantd.toml")
    }

    /// Starts the process and waits until it says that it is ready.
    ///
    /// # Errors
    /// If it is not ready in time.
    pub fn run(&mut self) -> Outcome {
        let log = self.launch()?;
        let program = self.running()?;
        program
            .wait_for_line("tenantd ready", START)
            .map_err(|failure| Failure::new(format!("{failure} (log: {})", log.display())))?;
        Ok(())
    }

    /// Starts the process and waits for nothing. Returns its log.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Outcome<PathBuf> {
        let earlier = fs::read_dir(&self.folder)?.flatten();
        let runs = earlier
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("server-"))
            .count();
        let log = self.folder.join(format!("server-{}.log", runs + 1));
        let mut command = match self.name_server {
            None => Command::new(tenantd()?),
            Some(address) => self.with_name_server(address)?,
        };
        command.arg("serve").arg("--config").arg(self.config_file()).current_dir(&self.folder);
        self.program = Some(Program::start(&mut command, &log)?);
        Ok(log)
    }

    /// From its next start on the process asks this name server, and no other. That takes a machine
    /// which lets us mount (see [`can_mount`]).
    pub fn ask_names_at(&mut self, name_server: IpAddr) {
        self.name_server = Some(name_server);
    }

    /// The program with a `/etc/resolv.conf` of its own (mount_namespaces(7)).
    fn with_name_server(&self, address: IpAddr) -> Outcome<Command> {
        let file = self.folder.join("resolv.conf");
        fs::write(&file, format!("nameserver {address}\n"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"");
        command.arg(file).arg(tenantd()?);
        Ok(command)
    }

    /// The process.
    ///
    /// # Errors
    /// If it was not started, or was killed.
    pub fn running(&mut self) -> Outcome<&mut Program> {
        self.program.as_mut().ok_or_else(|| Failure::new("the server does not run"))
    }

    /// Applies the companies' provisioning file to the running server. With the first ones comes
    /// the company next door, whose phones register.
    ///
    /// # Errors
    /// If it is refused, or not taken over in time.
    pub fn provision(&self, companies: &[&Company]) -> Outcome {
        let mut text: String = companies.iter().map(|company| company.provisioning()).collect();
        let next_door = self.twins.get().is_none().then(|| twins::company(companies));
        text.extend(next_door.as_ref().map(Company::provisioning));
        let output = self.apply(&text, &[])?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(format!("apply ended with {}: {words}", output.status)));
        }
        if let Some(company) = next_door {
            let twins = Twins::register(company, self.at.sip)?;
            // Nobody else can have come in between: a test provisions on one thread.
            let _ = self.twins.set(twins);
        }
        Ok(())
    }

    /// Whether the company next door noticed anything so far.
    ///
    /// # Errors
    /// With what it noticed.
    pub fn check_next_door(&self) -> Outcome {
        let Some(twins) = self.twins.get() else { return Ok(()) };
        twins.check_phones()?;
        // A server that is about to stop, or has lost its Postgres, shows no page.
        match self.admin("/readyz").is_ok_and(|page| page.status == 200) {
            true => twins.check_page(self.at.web),
            false => Ok(()),
        }
    }

    /// The same, for the end of the process: whoever plays the test fails it by this file.
    fn note_next_door(&self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(found) = self.check_next_door() {
            let file = fs::File::options().create(true).append(true).open(&self.found);
            let written = file.and_then(|mut file| writeln!(file, "{found}"));
            written.expect("the folder of a test can be written to");
        }
    }

    /// Runs `tenantd apply` on this text.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn apply(&self, text: &str, more: &[&str]) -> Outcome<Output> {
        let file = self.folder.join("companies.toml");
        fs::write(&file, text)?;
        let file = file.display().to_string();
        let arguments: Vec<&str> = ["apply", &file].iter().chain(more).copied().collect();
        self.command(&arguments)
    }

    /// Runs another command of the program with this server's configuration, to its end.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Output> {
        let mut command = Command::new(tenantd()?);
        command.args(arguments).arg("--config").arg(self.config_file());
        Ok(command.current_dir(&self.folder).output()?)
    }

    /// What the node role of its private Postgres gets for a query, a row a line.
    ///
    /// # Errors
    /// If there is none, or it cannot be asked.
    pub fn ask(&self, query: &str) -> Outcome<String> {
        let urls = Cluster::of_another(&self.folder.join("data"));
        let urls = urls.ok_or_else(|| Failure::new("there is no private Postgres"))?;
        postgres::ask(&urls.node, query)
    }

    /// What a company's own pages get for a query, a row a line.
    ///
    /// # Errors
    /// If there is no private Postgres, or it cannot be asked.
    pub fn ask_within(&self, tenant: &str, query: &str) -> Outcome<String> {
        let urls = Cluster::of_another(&self.folder.join("data"));
        let urls = urls.ok_or_else(|| Failure::new("there is no private Postgres"))?;
        postgres::ask(&urls.web, &format!("SET tenantd.tenant = '{tenant}'; {query}"))
    }

    /// A page of the admin listener.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn admin(&self, path: &str) -> Outcome<Page> {
        http::get(self.at.admin, path)
    }

    /// The sum over all series of a counter or gauge, or one of them, as `name{label="value"}`.
    /// The company next door and its phones are not counted.
    ///
    /// # Errors
    /// If the metrics cannot be read, or have no such name.
    pub fn metric(&self, name: &str) -> Outcome<f64> {
        let page = self.admin("/metrics")?;
        let values: Vec<f64> = page
            .body
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse().ok())
            .collect();
        match values.is_empty() {
            true => Err(Failure::new(format!("there is no metric {name} in:\n{}", page.body))),
            false => Ok(values.iter().sum::<f64>() - self.next_door(name)),
        }
    }

    /// How much of a metric is the company next door, if it lives here.
    pub(crate) fn next_door(&self, name: &str) -> f64 {
        match (name, self.twins.get()) {
            ("tenantd_registrations", Some(twins)) => twins.phones() as f64,
            ("tenantd_tenants", Some(_)) => 1.0,
            (_, Some(_) | None) => 0.0,
        }
    }

    /// Waits until a counter or gauge has this value.
    ///
    /// # Errors
    /// If it has not in time.
    pub fn wait_for_metric(&self, name: &str, value: f64, within: Duration) -> Outcome {
        let mut last = f64::NAN;
        wait::until(&format!("{name} at {value}"), within, || {
            last = self.metric(name)?;
            Ok((last == value).then_some(()))
        })
        .map_err(|failure| Failure::new(format!("{failure}; it was {last}")))
    }

    /// Looks next door, then kills the process as a power cut would: it gets to say and write nothing
    /// more.
    ///
    /// # Errors
    /// If it did not run.
    pub fn cut_off(&mut self) -> Outcome {
        self.note_next_door();
        self.strike()
    }

    /// The same, with its Postgres in one blow.
    ///
    /// # Errors
    /// If either did not run.
    pub fn cut_off_with_postgres(&mut self) -> Outcome {
        self.note_next_door();
        self.strike_with_postgres()
    }

    /// Kills the process this very moment.
    ///
    /// # Errors
    /// If it did not run.
    pub fn strike(&mut self) -> Outcome {
        self.running()?.kill()?;
        self.program = None;
        Ok(())
    }

    /// Kills the process and its Postgres this very moment.
    ///
    /// # Errors
    /// If either did not run.
    pub fn strike_with_postgres(&mut self) -> Outcome {
        let path = self.folder.join("data/postgres/data/postmaster.pid");
        let text = fs::read_to_string(path)?;
        let postmaster: i32 = text.lines().next().unwrap_or_default().trim().parse()?;
        kill(Pid::from_raw(postmaster), Signal::SIGKILL)?;
        self.strike()
    }

    /// Asks the process to end, and waits until it has.
    ///
    /// # Errors
    /// If it takes longer, or ends with anything but success.
    pub fn stop(&mut self, within: Duration) -> Outcome {
        self.note_next_door();
        let program = self.running()?;
        program.signal(Signal::SIGTERM)?;
        let status = program.wait(within)?;
        self.program = None;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("the server ended with {status}"))),
        }
    }

    fn config(&self, more: &str) -> String {
        let data = self.folder.join("data");
        format!("data_dir = {data:?}\ndrain_for = \"5s\"\n{}{more}\n", self.at.config())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.note_next_door();
        let was_running = self.program.take().is_some();
        let data = self.folder.join("data");
        // A killed server leaves its Postgres behind, on purpose: it is taken over and stopped.
        if was_running || data.join("postgres").exists() {
            drop(Cluster::start(&data));
        }
    }
}

/// Whether this machine lets a process of ours have mounts of its own.
pub fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "mount", "--bind", "/etc", "/etc"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// The program that was built with the tests.
///
/// # Errors
/// If it was not built.
pub fn tenantd() -> Outcome<PathBuf> {
    // Tests lie in `deps`, beside which programs are.
    let test = std::env::current_exe()?;
    let program = test.parent().and_then(Path::parent).map(|folder| folder.join("tenantd"));
    program.filter(|program| program.exists()).ok_or_else(|| {
        Failure::new("tenantd is not built: run ./infra/test, or cargo build --workspace")
    })
}
