//! What everything else stands on: the data directory, Postgres, the cluster key.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use store::{ClusterKey, Database, Urls};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep, timeout};

use super::life::Failure;
use crate::config::Config;
use crate::health::{Health, Postgres};
use crate::lock::{Attempt, Lock, Purpose};
use crate::metrics::Metrics;
use crate::postgres::{self, Keeper};

/// How long a start waits for a command that has the data directory.
const WAIT_FOR_COMMAND: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a start tries Postgres, and says that it is away.
pub(super) const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// A Postgres that does not answer within this is as good as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const PROBE_EVERY: u32 = 2;
const SECOND: Duration = Duration::from_secs(1);

/// The data directory is ours, and its Postgres runs if there is none elsewhere.
pub(super) struct Place {
    pub(super) keeper: Option<Keeper>,
    /// Let go of last: the next owner finds everything stopped.
    _lock: Lock,
}

impl Place {
    /// In a data directory that is ours: starts the private cluster if it is needed.
    pub(super) async fn take(config: &Config, lock: Lock) -> Result<Self, Failure> {
        let keeper = match postgres::given(&config.database) {
            Some(_) => None,
            None => {
                let data_dir = config.data_dir.clone();
                let started = spawn_blocking(move || Keeper::start(&data_dir)).await;
                Some(started.map_err(io::Error::other)??)
            }
        };
        Ok(Self { keeper, _lock: lock })
    }

    /// Where the database is.
    pub(super) fn urls(&self, config: &Config) -> Urls {
        match &self.keeper {
            Some(keeper) => keeper.urls().clone(),
            None => postgres::given(&config.database).expect("a cluster is kept if none is given"),
        }
    }

    /// Leaves everything stopped.
    pub(super) async fn leave(self) -> Result<(), Failure> {
        if let Some(keeper) = self.keeper {
            spawn_blocking(move || keeper.stop()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

/// Takes the data directory's lock; a command that has it is waited for.
pub(super) async fn own(config: &Config) -> Result<Lock, Failure> {
    let give_up_at = Instant::now() + WAIT_FOR_COMMAND;
    loop {
        match Lock::take(&config.data_dir, Purpose::Serve)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Held(owner)
                if owner.purpose == Purpose::Work && Instant::now() < give_up_at =>
            {
                sleep(LOOK_AGAIN_AFTER).await;
            }
            Attempt::Held(owner) => {
                let data_dir = config.data_dir.display().to_string();
                return Err(Failure::InUse { data_dir, pid: owner.pid.unwrap_or_default() });
            }
        }
    }
}

/// Waits until Postgres answers, saying so, and brings it up to date.
pub(super) async fn open_database(urls: &Urls) -> Result<Database, Failure> {
    loop {
        // A connection has a limit; a migration of large tables takes as long as it takes.
        let why = match timeout(ANSWER_WITHIN, store::migrate::pending(urls)).await {
            Ok(Ok(_)) => match store::migrate::run(urls).await {
                Ok(migrated) => {
                    say_what_was_migrated(migrated);
                    return Ok(Database::connect(urls)?);
                }
                Err(failure) if failure.is_away() => failure.to_string(),
                Err(failure) => return Err(failure.into()),
            },
            Ok(Err(failure)) if failure.is_away() => failure.to_string(),
            Ok(Err(failure)) => return Err(failure.into()),
            Err(_) => "Postgres is away: it does not answer".to_owned(),
        };
        tracing::warn!("waiting: {why}");
        sleep(TRY_AGAIN_AFTER).await;
    }
}

fn say_what_was_migrated(migrated: store::migrate::Migrated) {
    if migrated.from != Some(migrated.to) {
        tracing::info!(from = migrated.from, to = migrated.to, "the schema was brought up to date");
    }
}

/// The key of all secrets; made at the first start.
pub(super) fn key(config: &Config) -> Result<Arc<ClusterKey>, Failure> {
    Ok(Arc::new(ClusterKey::read_or_make(&config.key_file())?))
}

/// Looks after Postgres and the rates for as long as we serve.
pub(super) async fn watch_over(database: Database, health: Arc<Health>, metrics: Arc<Metrics>) {
    let mut second = interval(SECOND);
    for count in 0_u32.. {
        second.tick().await;
        metrics.tick();
        if count % PROBE_EVERY > 0 {
            continue;
        }
        let now = match timeout(ANSWER_WITHIN, database.probe()).await {
            Ok(Ok(())) => Postgres::Here,
            Ok(Err(_)) | Err(_) => Postgres::Away,
        };
        match (health.saw(now), now) {
            (Postgres::Here, Postgres::Away) => tracing::warn!("Postgres is away"),
            (Postgres::Away, Postgres::Here) => tracing::info!("Postgres is back"),
            (Postgres::Here, Postgres::Here) | (Postgres::Away, Postgres::Away) => {}
        }
    }
}
