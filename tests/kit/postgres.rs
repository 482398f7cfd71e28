//! A Postgres of one test's own, made by the same code that makes tenantd's, and used the way an
//! operator's is: its address is given, and its superuser grants what is needed.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use store::Urls;
use store::cluster::Cluster;

use crate::failure::{Failure, Outcome};
use crate::folder::Folder;

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

    /// Stops it; its data stays.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(self) -> Outcome {
        Ok(self.cluster.stop()?)
    }
}
