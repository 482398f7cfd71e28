//! A Postgres of one test's own, made by the same code that makes tenantd's.

use store::Urls;
use store::cluster::Cluster;

use crate::failure::Outcome;
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

    /// How each role reaches it.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Its `[database]` table.
    pub fn config(&self) -> String {
        let Urls { node, web, migrate, provider } = &self.urls;
        format!(
            "[database]\nurl = {node:?}\nweb_url = {web:?}\n\
             migrate_url = {migrate:?}\nprovider_url = {provider:?}\n"
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
