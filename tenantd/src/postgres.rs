//! Where Postgres is: the operator's, the private cluster that we keep, or the one that a running
//! tenantd keeps.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::Urls;
use store::cluster::{self, Cluster, Condition};

use crate::config::{Config, Database};
use crate::lock::{self, Attempt, Lock, Purpose};

const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long one command waits for another, or for a server that is just starting.
const WAIT_FOR: Duration = Duration::from_secs(60);

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The lock's file could not be used.
    #[error(transparent)]
    Lock(#[from] lock::Failure),
    /// The private cluster does not run.
    #[error(transparent)]
    Cluster(#[from] cluster::Failure),
    /// Another process has the data directory, and its cluster does not answer.
    #[error("{data_dir} is in use by process {pid}, whose Postgres does not answer")]
    Held {
        /// Which directory.
        data_dir: String,
        /// Whose it is.
        pid: i32,
    },
    /// A thread could not be started.
    #[error("no thread for the private Postgres: {0}")]
    Thread(#[source] std::io::Error),
}

/// The operator's database, if one is configured. What is not named of its own is `url`.
pub fn given(database: &Database) -> Option<Urls> {
    let url = &database.url.as_ref()?.0;
    let web = database.web_url.as_ref().map_or(url, |web| &web.0);
    let migrate = database.migrate_url.as_ref().map_or(url, |migrate| &migrate.0);
    Some(Urls {
        node: url.clone(),
        web: web.clone(),
        provider: database.provider_url.as_ref().map_or_else(|| web.clone(), |url| url.0.clone()),
        migrate: migrate.clone(),
    })
}

/// A database for a command that does one thing and is done.
#[derive(Debug)]
pub struct Access {
    /// How each role reaches it.
    pub urls: Urls,
    ours: Option<(Cluster, Lock)>,
}

impl Access {
    /// Finds the database of this configuration; starts the private cluster if nobody else has.
    /// Blocks for as long as that takes.
    ///
    /// # Errors
    /// If there is none, or somebody else's does not answer.
    pub fn for_work(config: &Config) -> Result<Self, Failure> {
        if let Some(urls) = given(&config.database) {
            return Ok(Self { urls, ours: None });
        }
        let give_up_at = Instant::now() + WAIT_FOR;
        loop {
            let owner = match Lock::take(&config.data_dir, Purpose::Work)? {
                Attempt::Taken(lock) => {
                    let cluster = Cluster::start(&config.data_dir)?;
                    return Ok(Self { urls: cluster.urls(), ours: Some((cluster, lock)) });
                }
                Attempt::Held(owner) => owner,
            };
            // What another command started, it will also stop: wait until it is done.
            if owner.purpose == Purpose::Serve
                && let Some(urls) = Cluster::of_another(&config.data_dir)
            {
                return Ok(Self { urls, ours: None });
            }
            if Instant::now() >= give_up_at {
                let data_dir = config.data_dir.display().to_string();
                return Err(Failure::Held { data_dir, pid: owner.pid.unwrap_or_default() });
            }
            thread::sleep(TRY_AGAIN_AFTER);
        }
    }

    /// Whether nobody else can use this database meanwhile: it was started for this command.
    pub fn is_alone(&self) -> bool {
        self.ours.is_some()
    }

    /// Stops what was started for it.
    ///
    /// # Errors
    /// If the cluster does not stop.
    pub fn end(self) -> Result<(), Failure> {
        match self.ours {
            // The lock goes last: the next one finds the cluster stopped.
            Some((cluster, _lock)) => Ok(cluster.stop()?),
            None => Ok(()),
        }
    }
}

/// Keeps the private cluster running for as long as we serve.
#[derive(Debug)]
pub struct Keeper {
    urls: Urls,
    stop: Sender<()>,
    server: Server,
    thread: JoinHandle<Result<(), cluster::Failure>>,
}

/// The server's process as it is now, for the way out that must not take time.
#[derive(Debug, Clone)]
pub struct Server(Arc<AtomicI32>);

impl Server {
    /// Asks it to stop, and does not wait until it has.
    pub fn abandon(&self) {
        match self.0.load(Ordering::Acquire) {
            0 => {}
            // Gone already is what we want.
            pid => drop(kill(Pid::from_raw(pid), Signal::SIGINT)),
        }
    }
}

impl Keeper {
    /// Starts the cluster, and a thread that starts it again should it die. Blocks.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(data_dir: &Path) -> Result<Self, Failure> {
        let cluster = Cluster::start(data_dir)?;
        if !cluster.folder().starts_with(data_dir.canonicalize().unwrap_or_default()) {
            let folder = cluster.folder().display();
            tracing::info!(%folder, "Postgres's user cannot reach the data directory; it is here");
        }
        let urls = cluster.urls();
        let server = Server(Arc::new(AtomicI32::new(cluster.pid())));
        let (stop, stopped) = channel();
        let seen = server.clone();
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || keep(cluster, &seen, &stopped))
            .map_err(Failure::Thread)?;
        Ok(Self { urls, stop, server, thread })
    }

    /// How each role reaches it.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The server's process.
    pub fn server(&self) -> Server {
        self.server.clone()
    }

    /// Stops the cluster. Blocks.
    ///
    /// # Errors
    /// If it does not stop.
    pub fn stop(self) -> Result<(), cluster::Failure> {
        drop(self.stop);
        // A thread that panicked has stopped it as it unwound.
        self.thread.join().unwrap_or(Ok(()))
    }
}

fn keep(
    mut cluster: Cluster,
    server: &Server,
    stopped: &Receiver<()>,
) -> Result<(), cluster::Failure> {
    loop {
        match stopped.recv_timeout(LOOK_AGAIN_AFTER) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                let outcome = cluster.stop();
                server.0.store(0, Ordering::Release);
                return outcome;
            }
            Err(RecvTimeoutError::Timeout) => match cluster.watch() {
                Ok(Condition::Serving) => {}
                Ok(Condition::Restarted) => {
                    server.0.store(cluster.pid(), Ordering::Release);
                    tracing::warn!("Postgres had died and runs again");
                }
                Err(error) => tracing::error!("Postgres died and does not start: {error}"),
            },
        }
    }
}
