//! A server's life: opens everything, serves, lets go, ends.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use store::{ClusterKey, Database, Urls};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{interval, sleep, timeout};
use web::probes::Probes;

use crate::config::{Config, Listen, Role};
use crate::health::{Health, Phase, Postgres};
use crate::lock::{self, Attempt, Lock, Purpose};
use crate::metrics::Metrics;
use crate::postgres::{self, Keeper, Server};
use crate::signals::Signals;
use crate::{listen, log};

/// How long a start waits for a command that has the data directory.
const WAIT_FOR_COMMAND: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a start tries Postgres, and says that it is away.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// A Postgres that does not answer within this is as good as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An address cannot be opened.
    #[error(transparent)]
    Listen(#[from] listen::Failure),
    /// The data directory cannot be used.
    #[error(transparent)]
    Lock(#[from] lock::Failure),
    /// Another server has the data directory.
    #[error("data_dir {data_dir} is in use by process {pid}")]
    InUse {
        /// Which directory.
        data_dir: String,
        /// Whose it is.
        pid: i32,
    },
    /// The private cluster does not run.
    #[error(transparent)]
    Postgres(#[from] postgres::Failure),
    /// The private cluster did not stop.
    #[error(transparent)]
    Cluster(#[from] store::cluster::Failure),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] store::Failure),
    /// There is no key for what is secret.
    #[error(transparent)]
    Key(#[from] store::secrets::BadKey),
    /// The system let us down.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until a signal says to stop.
///
/// # Errors
/// If something that is needed cannot be opened or started, or does not end.
pub async fn run(config: Config) -> Result<(), Failure> {
    log::start(&config.log);
    let mut signals = Signals::catch()?;
    let _lock = own(&config).await?;
    let open = Open::all(&config)?;
    say_what_is_not_built(&config);

    let watched = Watched::new();
    let (stop, stopped) = watch::channel(());
    let mut listeners = JoinSet::new();
    for listener in open.admin {
        listeners.spawn(web::probes::serve(listener, watched.probes(), over(stopped.clone())));
    }
    let keeper = match postgres::given(&config.database) {
        Some(_) => None,
        None => Some(keep_postgres(&config).await?),
    };
    let at_once = tokio::spawn(end_at_once(signals.clone(), keeper.as_ref().map(Keeper::server)));

    let served = tokio::select! {
        served = serve(&config, keeper.as_ref(), &watched) => served,
        () = signals.stop() => Ok(()),
    };
    watched.health.enter(Phase::Draining);
    drop(stop);
    while listeners.join_next().await.is_some() {}
    if let Some(keeper) = keeper {
        spawn_blocking(|| keeper.stop()).await.map_err(io::Error::from)??;
    }
    at_once.abort();
    served
}

/// From an empty process to the end of the last call.
async fn serve(config: &Config, keeper: Option<&Keeper>, watched: &Watched) -> Result<(), Failure> {
    let urls = match keeper {
        Some(keeper) => keeper.urls().clone(),
        None => postgres::given(&config.database).expect("there is a keeper if no url is given"),
    };
    wait_for_postgres(&urls).await?;
    watched.health.saw(Postgres::Here);
    let migrated = store::migrate::run(&urls).await?;
    if migrated.from != Some(migrated.to) {
        tracing::info!(from = migrated.from, to = migrated.to, "the schema was brought up to date");
    }
    let _key = ClusterKey::read_or_make(&config.key_file())?;
    let database = Database::connect(&urls)?;
    let probe = tokio::spawn(watch_postgres(database.clone(), watched.health.clone()));
    watched.health.enter(Phase::Serving);
    say(&format!("tenantd ready: node {}", config.node.0));
    std::future::pending::<()>().await;
    probe.abort();
    Ok(())
}

/// Takes the data directory; a command that has it is waited for.
async fn own(config: &Config) -> Result<Lock, Failure> {
    let give_up_at = tokio::time::Instant::now() + WAIT_FOR_COMMAND;
    loop {
        match Lock::take(&config.data_dir, Purpose::Serve)? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Held(owner)
                if owner.purpose == Purpose::Work && tokio::time::Instant::now() < give_up_at =>
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

/// What is listened on with TCP.
struct Open {
    admin: Vec<TcpListener>,
    http: Vec<TcpListener>,
}

impl Open {
    fn all(config: &Config) -> Result<Self, listen::Failure> {
        let open = |addresses: &[Listen]| -> Result<Vec<TcpListener>, listen::Failure> {
            addresses.iter().filter_map(|at| listen::open(at.0).transpose()).collect()
        };
        let http = if config.does(Role::Web) { open(&config.web.http)? } else { Vec::new() };
        Ok(Self { admin: open(&config.admin.listen)?, http })
    }
}

/// What others may look at.
struct Watched {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Watched {
    fn new() -> Self {
        Self { health: Arc::new(Health::new()), metrics: Arc::new(Metrics::new()) }
    }

    fn probes(&self) -> Arc<Probes> {
        let (health, metrics) = (self.health.clone(), self.metrics.clone());
        Arc::new(Probes {
            readiness: Box::new(move || health.words().map(str::to_owned).map_err(str::to_owned)),
            metrics: Box::new(move || metrics.render()),
        })
    }
}

fn say_what_is_not_built(config: &Config) {
    let unbuilt = config.unbuilt();
    if !unbuilt.is_empty() {
        tracing::warn!(
            "not built yet, so read and checked, but not opened: {}",
            unbuilt.join(", ")
        );
    }
}

async fn keep_postgres(config: &Config) -> Result<Keeper, Failure> {
    let data_dir = config.data_dir.clone();
    let started = spawn_blocking(move || Keeper::start(&data_dir)).await;
    Ok(started.map_err(io::Error::from)??)
}

async fn over(mut stopped: watch::Receiver<()>) {
    // Nothing is ever sent: the end is that the sender is gone.
    let _ = stopped.changed().await;
}

/// The way out for somebody who does not want to wait: nothing is lost, as after a crash.
async fn end_at_once(mut signals: Signals, server: Option<Server>) {
    signals.stop_at_once().await;
    tracing::warn!("asked to stop a second time: ending at once");
    if let Some(server) = server {
        server.abandon();
    }
    std::process::exit(1);
}

async fn wait_for_postgres(urls: &Urls) -> Result<(), Failure> {
    loop {
        let why = match timeout(ANSWER_WITHIN, store::migrate::pending(urls)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failure)) if failure.is_away() => failure.to_string(),
            Ok(Err(failure)) => return Err(failure.into()),
            Err(_) => "Postgres is away: it does not answer".to_owned(),
        };
        tracing::warn!("waiting: {why}");
        sleep(TRY_AGAIN_AFTER).await;
    }
}

/// Keeps the health's picture of Postgres true.
async fn watch_postgres(database: Database, health: Arc<Health>) {
    let mut probe = interval(PROBE_EVERY);
    loop {
        probe.tick().await;
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

/// Tells whoever started us; that nobody listens is no reason not to serve.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
