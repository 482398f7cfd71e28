//! The demo as a newcomer meets it: one command, and then what it prints is all that is known.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use store::cluster::Cluster;

use crate::failure::{Failure, Outcome};
use crate::listeners::Listeners;
use crate::program::Program;
use crate::scene::Scene;
use crate::server::tenantd;
use crate::wait::{self, SOON, START};

/// A demo, running or not. Dropping it kills both it and its Postgres.
#[derive(Debug)]
pub struct Demo {
    folder: PathBuf,
    name: &'static str,
    /// Where it listens.
    pub at: Listeners,
    program: Option<Program>,
    runs: u32,
}

/// What the demo prints of a company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its page's address.
    pub page: String,
    /// Who may sign in there.
    pub email: String,
    /// With which password.
    pub password: String,
    /// The SIP domain.
    pub domain: String,
    /// The outbound proxy.
    pub proxy: SocketAddr,
    /// Each user's name and password.
    pub users: Vec<(String, String)>,
}

impl Demo {
    /// A demo in an empty folder, with its listeners on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// If there are no ports, or the file that says so cannot be written.
    pub fn prepare(scene: &mut Scene) -> Outcome<Self> {
        let at = Listeners::new(scene)?;
        scene.folder.write("demo.toml", &at.config())?;
        let folder = scene.folder.path().to_owned();
        Ok(Self { folder, name: "demo", at, program: None, runs: 0 })
    }

    /// Keeps its data in another folder.
    pub fn elsewhere(&mut self, name: &'static str) {
        self.name = name;
    }

    /// Starts it, and waits until all that it prints is there.
    ///
    /// # Errors
    /// If it is not ready in time.
    pub fn run(&mut self) -> Outcome {
        self.runs += 1;
        let log = self.folder.join(format!("{}-{}.log", self.name, self.runs));
        // Somebody else's idea of words, letters and time.
        let mut command = self.command()?;
        command.env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Asia/Kathmandu");
        let mut program = Program::start(&mut command, &log)?;
        program.wait_for_line("tenantd ready", START)?;
        wait::until("the cards", SOON, || {
            let printed = program.printed();
            Ok((printed.matches("outbound proxy").count() >= 2 && printed.ends_with('\n'))
                .then_some(()))
        })?;
        self.program = Some(program);
        Ok(())
    }

    /// Ends it as `tenantd demo --stop` does.
    ///
    /// # Errors
    /// If the command or the demo does not end well.
    pub fn stop(&mut self) -> Outcome {
        let Output { status, stderr, .. } = self.command()?.arg("--stop").output()?;
        if !status.success() {
            return Err(Failure::new(format!("{status}: {}", String::from_utf8_lossy(&stderr))));
        }
        let status = self.running()?.wait(SOON)?;
        self.program = None;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("the demo ended with {status}"))),
        }
    }

    /// The process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn running(&mut self) -> Outcome<&mut Program> {
        self.program.as_mut().ok_or_else(|| Failure::new("the demo does not run"))
    }

    /// How the provider signs in: mail address and password.
    ///
    /// # Errors
    /// If that was not printed.
    pub fn provider(&mut self) -> Outcome<(String, String)> {
        let text = self.running()?.printed();
        let part = text.split("Provider:").nth(1).unwrap_or_default();
        let (email, password) =
            sign_in(part).ok_or_else(|| Failure::new(format!("no provider in:\n{text}")))?;
        Ok((email.to_owned(), password.to_owned()))
    }

    /// What is printed of the company with this name.
    ///
    /// # Errors
    /// If something of it was not printed.
    pub fn card(&mut self, company: &str) -> Outcome<Card> {
        let text = self.running()?.printed();
        parse(&text, company)
            .ok_or_else(|| Failure::new(format!("no card of {company} in:\n{text}")))
    }

    fn command(&self) -> Outcome<Command> {
        let mut command = Command::new(tenantd()?);
        command.arg("demo").arg("--dir").arg(self.folder.join(self.name));
        command.arg("--config").arg(self.folder.join("demo.toml")).current_dir(&self.folder);
        Ok(command)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.program.take());
        let data = self.folder.join(self.name);
        if fs::exists(&data).unwrap_or(false) {
            drop(Cluster::start(&data));
        }
    }
}

/// `sign in as EMAIL with PASSWORD`
fn sign_in(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split("sign in as ").nth(1)?.split_whitespace();
    let (email, with, password) = (words.next()?, words.next()?, words.next()?);
    (with == "with").then_some((email, password))
}

fn parse(text: &str, company: &str) -> Option<Card> {
    let part = text.split(&format!("\n{company}: ")).nth(1)?;
    let after = |before: &str| {
        let rest = part.split(before).nth(1)?;
        rest.split([',', '\n', ' ']).next()
    };
    let (email, password) = sign_in(part)?;
    // The next company begins after an empty line.
    let own = part.split("\n\n").next()?;
    let users = own.lines().filter_map(|line| line.trim().strip_prefix("user "));
    Some(Card {
        page: part.split_whitespace().next()?.to_owned(),
        email: email.to_owned(),
        password: password.to_owned(),
        domain: after("domain ")?.to_owned(),
        proxy: after("outbound proxy ")?.parse().ok()?,
        users: users
            .filter_map(|user| user.split_once(", password "))
            .map(|(user, password)| (user.to_owned(), password.to_owned()))
            .collect(),
    })
}
