//! A server's life: opens everything, serves, lets go, ends.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use pbx::edge::UnknownDomain;
use pbx::flow::Advertised;
use pbx::registrar::Policy;
use store::{ClusterKey, Database, Urls};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, interval, sleep, timeout};
use web::probes::Probes;

use crate::config::{Config, External, Role};
use crate::demo::{self, Demo};
use crate::health::{Health, Phase, Postgres};
use crate::lanes::{self, Listeners, Running};
use crate::lock::{self, Attempt, Lock, Purpose};
use crate::metrics::Metrics;
use crate::postgres::{self, Keeper};
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
    /// The switches do not start.
    #[error(transparent)]
    Lanes(#[from] lanes::Failure),
    /// A SIP address cannot be opened.
    #[error(transparent)]
    Udp(#[from] crate::net::udp::Failure),
    /// The demo's companies cannot be made.
    #[error(transparent)]
    Demo(#[from] demo::Failure),
    /// The system let us down.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Addresses that are open before anything else begins.
struct Doors {
    sip: Listeners,
    web: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

/// What everything else stands on.
struct Ground {
    database: Database,
    key: Arc<ClusterKey>,
    keeper: Option<Keeper>,
    _lock: Lock,
}

/// Serves until it is told to stop.
///
/// # Errors
/// If it cannot start, or cannot end well.
pub async fn run(config: Config, demo: Option<Demo>) -> Result<(), Failure> {
    log::start(&config.log);
    let mut signals = Signals::catch()?;
    let unbuilt = config.unbuilt();
    if !unbuilt.is_empty() {
        tracing::info!("read and checked, but not opened yet: {}", unbuilt.join(", "));
    }
    let doors = Doors::open(&config)?;
    let health = Arc::new(Health::new());
    let metrics = Arc::new(Metrics::new());
    let (ended, end) = watch::channel(false);
    let admin = serve_probes(doors.admin, &health, &metrics, &end)?;
    let Some(ground) = Ground::prepare(&config, &health, &mut signals).await? else {
        return Ok(());
    };
    if let Some(demo) = &demo {
        demo.prepare(&ground.database, &ground.key).await?;
    }
    let setup = setup(&config);
    let Some(prepared) = or_stop(prepare(&setup, &ground.database), &mut signals).await else {
        return ground.end().await;
    };
    let running = prepared?.start(doors.sip, Arc::clone(&ground.key), &metrics).await?;
    let watching = watch_over(&ground, &health, &metrics);
    health.enter(Phase::Serving);
    announce(&config, demo.as_ref())?;

    signals.stop().await;
    let outcome = end_well(&config, &health, &running, &mut signals).await;
    watching.abort();
    let _gone = ended.send(true);
    for task in admin {
        task.abort();
    }
    match outcome {
        Ended::Well => running.stop().await,
        Ended::AtOnce => {
            if let Some(keeper) = &ground.keeper {
                keeper.server().abandon();
            }
            std::process::exit(0);
        }
    }
    ground.end().await
}

/// How the end went.
enum Ended {
    Well,
    AtOnce,
}

/// Lets what is under way finish, for a while; asked a second time, not at all.
async fn end_well(
    config: &Config,
    health: &Health,
    running: &Running,
    signals: &mut Signals,
) -> Ended {
    health.enter(Phase::Draining);
    tracing::info!("draining for up to {:?}", config.drain_for.0);
    tokio::select! {
        () = running.drained(config.drain_for.0) => Ended::Well,
        () = signals.stop_at_once() => Ended::AtOnce,
    }
}

/// Replays the journal and finds the tenants; while Postgres is away, waits and says so.
async fn prepare(
    setup: &lanes::Setup,
    database: &Database,
) -> Result<lanes::Prepared, lanes::Failure> {
    loop {
        match lanes::prepare(setup, database).await {
            Err(failure) if failure.is_away() => tracing::warn!("waiting for Postgres: {failure}"),
            outcome => return outcome,
        }
        sleep(TRY_AGAIN_AFTER).await;
    }
}

fn setup(config: &Config) -> lanes::Setup {
    let addresses = |external: &[External]| -> Vec<std::net::IpAddr> {
        let address = |external: &External| match external {
            External::Address(address) => Some(*address),
            External::Name(_) => None,
        };
        external.iter().filter_map(address).collect()
    };
    let local = config.sip.local_networks.iter().map(|n| (n.address, n.prefix)).collect();
    let sip = Advertised { external: addresses(&config.sip.external), local_networks: local };
    let mut sound = sip.clone();
    if !config.media.external.is_empty() {
        sound.external = addresses(&config.media.external);
    }
    lanes::Setup {
        node: config.node.0.clone(),
        journal: config.data_dir.join("journal"),
        journal_quota: lanes::JOURNAL_QUOTA,
        sip,
        sound,
        media: media::Config {
            ports: config.media.ports.first..=config.media.ports.last,
            threads: usize::from(config.media.threads),
        },
        policy: Policy::default(),
        unknown_domain: match config.sip.unknown_domain {
            crate::config::UnknownDomain::Drop => UnknownDomain::Drop,
            crate::config::UnknownDomain::Refuse => UnknownDomain::Refuse,
        },
    }
}

impl Doors {
    fn open(config: &Config) -> Result<Self, Failure> {
        let tcp = |listens: &[crate::config::Listen]| -> Result<Vec<TcpListener>, Failure> {
            let opened = listens.iter().map(|listen| listen::open(listen.0));
            Ok(opened.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let v4 = |listen: &crate::config::Listen| match listen.0 {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        };
        let udp: Vec<_> = match config.does(Role::Sip) {
            true => config.sip.udp.iter().filter_map(v4).collect(),
            false => Vec::new(),
        };
        let sip = Listeners::open(&udp, NonZeroU16::new(config.sip.lanes))?;
        let web = match config.does(Role::Web) {
            true => tcp(&config.web.http)?,
            false => Vec::new(),
        };
        Ok(Self { sip, web, admin: tcp(&config.admin.listen)? })
    }
}

impl Ground {
    /// Becomes the owner of the data directory, and finds Postgres; `None` if we were told to stop
    /// meanwhile.
    async fn prepare(
        config: &Config,
        health: &Health,
        signals: &mut Signals,
    ) -> Result<Option<Self>, Failure> {
        let Some(lock) = or_stop(own(config), signals).await.transpose()? else { return Ok(None) };
        let (urls, keeper) = match postgres::given(&config.database) {
            Some(urls) => (urls, None),
            None => {
                let data_dir = config.data_dir.clone();
                let started = spawn_blocking(move || Keeper::start(&data_dir)).await;
                let keeper = started.map_err(io::Error::other)??;
                (keeper.urls().clone(), Some(keeper))
            }
        };
        let key = Arc::new(ClusterKey::read_or_make(&config.key_file())?);
        let Some(migrated) = or_stop(migrate(&urls), signals).await else { return Ok(None) };
        migrated?;
        health.saw(Postgres::Here);
        let database = Database::connect(&urls)?;
        Ok(Some(Self { database, key, keeper, _lock: lock }))
    }

    async fn end(self) -> Result<(), Failure> {
        self.database.close().await;
        if let Some(keeper) = self.keeper {
            spawn_blocking(move || keeper.stop()).await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

async fn or_stop<T>(work: impl Future<Output = T>, signals: &mut Signals) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = signals.stop() => None,
    }
}

/// Takes the data directory's lock; a command that has it is waited for.
async fn own(config: &Config) -> Result<Lock, Failure> {
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

/// Brings the database up to date; while it is away, waits and says so.
async fn migrate(urls: &Urls) -> Result<(), Failure> {
    loop {
        let away = match timeout(ANSWER_WITHIN * 12, store::migrate::run(urls)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(failure)) if failure.is_away() => failure.to_string(),
            Ok(Err(failure)) => return Err(failure.into()),
            Err(_) => "it does not answer".to_owned(),
        };
        tracing::warn!("waiting for Postgres: {away}");
        sleep(TRY_AGAIN_AFTER).await;
    }
}

fn serve_probes(
    listeners: Vec<TcpListener>,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
    end: &watch::Receiver<bool>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let (known, counted) = (Arc::clone(health), Arc::clone(metrics));
    let probes = Arc::new(Probes {
        readiness: Box::new(move || match known.words() {
            Ok(words) => Ok(words.to_owned()),
            Err(words) => Err(words.to_owned()),
        }),
        metrics: Box::new(move || counted.render()),
    });
    let serve = |listener: TcpListener| {
        let (probes, mut end) = (Arc::clone(&probes), end.clone());
        tokio::spawn(async move {
            let until = async move { drop(end.wait_for(|end| *end).await) };
            if let Err(error) = web::probes::serve(listener, probes, until).await {
                tracing::error!("the probes' listener failed: {error}");
            }
        })
    };
    Ok(listeners.into_iter().map(serve).collect())
}

/// Looks after Postgres and the rates while we serve.
fn watch_over(ground: &Ground, health: &Arc<Health>, metrics: &Arc<Metrics>) -> JoinHandle<()> {
    let (database, health) = (ground.database.clone(), Arc::clone(health));
    let metrics = Arc::clone(metrics);
    tokio::spawn(async move {
        let mut tick = interval(SECOND);
        let mut probe_at = Instant::now();
        loop {
            tick.tick().await;
            metrics.tick();
            if Instant::now() < probe_at {
                continue;
            }
            probe_at = Instant::now() + PROBE_EVERY;
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
    })
}

/// The one line that says that everything is open, and for a demo where it all is.
fn announce(config: &Config, demo: Option<&Demo>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let sip: Vec<String> =
        config.sip.udp.iter().filter(|l| l.0.is_ipv4()).map(|l| format!("udp {}", l.0)).collect();
    writeln!(out, "tenantd ready node={} sip=[{}]", config.node.0, sip.join(", "))?;
    if let Some(demo) = demo {
        demo.print(config, &mut out)?;
    }
    out.flush()
}
