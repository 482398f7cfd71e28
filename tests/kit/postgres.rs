//! A Postgres of one test's own, made by the same code that makes tenantd's, and used the way an
//! operator's is: its address is given, and its superuser grants what is needed.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::Urls;
use store::cluster::Cluster;

use crate::failure::{Failure, Outcome};
use crate::folder::Folder;

/// What a login gets for a query, a row a line; or Postgres's complaint.
///
/// # Errors
/// If `psql` cannot be run.
pub fn ask(url: &str, query: &str) -> Outcome<String> {
    let output = Command::new("psql").args([url, "-qtAX", "-c", query]).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// A Postgres that does nothing at all. Dropping it lets it go on.
#[derive(Debug)]
pub struct Frozen(Vec<Pid>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            // Who is gone needs no waking.
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

fn children(of: i32) -> Outcome<Vec<i32>> {
    let mut children = vec![];
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        // It may have ended since.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if parent.and_then(|parent| parent.trim().parse().ok()) == Some(of) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// A private cluster with an empty database. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    urls: Urls,
}

impl Postgres {
    /// Starts one in a folder, or starts the one that is there again.
    ///
    /// # Errors
    /// If Postgres is not installed or does not come up.
    pub fn start(folder: &Folder) -> Outcome<Self> {
        let cluster = Cluster::start(&folder.path().join("elsewhere"))?;
        let urls = cluster.urls();
        Ok(Self { cluster, urls })
    }

    /// Lets the superuser, and a login of the operator's own, in from the next start on.
    ///
    /// # Errors
    /// If the file that says so cannot be written.
    pub fn admit_operator(&self) -> Outcome {
        let path = self.cluster.folder().join("data/pg_hba.conf");
        let mut file = File::options().append(true).open(path)?;
        Ok(file.write_all(b"local tenantd postgres,operator trust\n")?)
    }

    /// Has the superuser do this.
    ///
    /// # Errors
    /// If Postgres refuses, or the superuser was not admitted.
    pub fn as_superuser(&self, statement: &str) -> Outcome {
        let url = self.urls.node.replace("tenantd_node@", "postgres@");
        let output = Command::new("psql").args(["-X", "-q", "-c", statement, &url]).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Stops all its processes in the middle of whatever they do, without ending them.
    ///
    /// # Errors
    /// If one cannot be stopped.
    pub fn freeze(&self) -> Outcome<Frozen> {
        let postmaster = self.cluster.pid();
        let mut all = vec![postmaster];
        all.extend(children(postmaster)?);
        let frozen = Frozen(all.into_iter().map(Pid::from_raw).collect());
        for (place, pid) in frozen.0.iter().enumerate() {
            match kill(*pid, Signal::SIGSTOP) {
                // A connection's process may have ended meanwhile; the first one may not.
                Err(error) if place == 0 => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(frozen)
    }

    /// How each role reaches it.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Where the operator's own login reaches it.
    pub fn operator_url(&self) -> String {
        self.urls.node.replace("tenantd_node@", "operator@")
    }

    /// Its `[database]` table, with a login for each role.
    pub fn config(&self) -> String {
        let Urls { node, web, provider, migrate } = &self.urls;
        format!(
            "[database]\nurl = {node:?}\nweb_url = {web:?}\nprovider_url = {provider:?}\n\
             migrate_url = {migrate:?}\n"
        )
    }

    /// What its node role gets for a query, a row a line.
    ///
    /// # Errors
    /// If Postgres cannot be asked.
    pub fn ask(&self, query: &str) -> Outcome<String> {
        ask(&self.urls.node, query)
    }

    /// Stops it; its data stays.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(self) -> Outcome {
        Ok(self.cluster.stop()?)
    }
}
