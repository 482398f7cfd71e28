//! A server's life on one page.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use pbx::moment::Moment;
use store::objects::Objects;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::doors::{Addresses, Doors, serve_encrypted_pages, serve_pages, serve_probes};
use super::ground::{Place, TRY_AGAIN_AFTER, key, open_database, own, watch_over};
use super::{setup, sound, taking};
use crate::config::Config;
use crate::demo::{self, Demo};
use crate::health::{Health, Phase, Postgres};
use crate::lanes::{self, Prepared, Running};
use crate::metrics::Metrics;
use crate::net::tcp::Speech;
use crate::net::tls::{self, Certificates, Terminator};
use crate::postgres::{self, Server};
use crate::reach::Reach;
use crate::recordings::Studio;
use crate::resolver::Resolver;
use crate::signals::Signals;
use crate::uploads::{self, Carrier};
use crate::{listen, lock, log};

/// How long pages that are being read may take at the end.
const LAST_PAGES_FOR: Duration = Duration::from_secs(1);

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
    /// A SIP or STUN address cannot be opened.
    #[error(transparent)]
    Udp(#[from] crate::net::udp::Failure),
    /// There is no certificate for encrypted connections.
    #[error(transparent)]
    Tls(#[from] tls::Failure),
    /// The object store cannot be used as it is configured.
    #[error(transparent)]
    Objects(#[from] store::objects::Failure),
    /// The demo's companies cannot be made.
    #[error(transparent)]
    Demo(#[from] demo::Failure),
    /// The system let us down.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until it is told to stop.
///
/// # Errors
/// If it cannot start, or cannot end well.
pub async fn run(config: Config, demo: Option<Demo>) -> Result<(), Failure> {
    let _log = log::start(&config.log);
    let mut signals = Signals::catch()?;
    say_what_is_odd(&config);
    let doors = Doors::open(&config)?;
    let Some(lock) = or_stop(own(&config), &mut signals).await.transpose()? else {
        return Ok(());
    };
    // Not given up half-way: what was started must also be stopped.
    let place = Place::take(&config, lock).await?;
    let server = place.keeper.as_ref().map(postgres::Keeper::server);
    let impatience = tokio::spawn(end_at_once(signals.clone(), server));
    let served = serve(&config, demo.as_ref(), doors, &place, &mut signals).await;
    let left = place.leave().await;
    impatience.abort();
    served.and(left)
}

fn say_what_is_odd(config: &Config) {
    let unbuilt = config.unbuilt();
    if !unbuilt.is_empty() {
        tracing::info!("read and checked, but not opened yet: {}", unbuilt.join(", "));
    }
    for address in config.plain_pages() {
        tracing::warn!("[web].http {address} carries passwords in plain text, with no proxy named");
    }
}

/// From open doors to closed ones.
async fn serve(
    config: &Config,
    demo: Option<&Demo>,
    mut doors: Doors,
    place: &Place,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let (health, metrics) = (Arc::new(Health::new()), Arc::new(Metrics::new()));
    let (end, ended) = watch::channel(false);
    let addresses = doors.addresses();
    let encryption = encryption(config, demo, &doors)?;
    // It needs neither Postgres nor a company, so that it answers before they are there.
    let stun = doors.stun.serve(metrics.tally())?;
    let mut pages = serve_probes(doors.admin, &health, &metrics, &ended);

    let database = match or_stop(open_database(&place.urls(config)), signals).await {
        Some(database) => database?,
        None => return Ok(()),
    };
    health.saw(Postgres::Here);
    let key = key(config)?;
    let objects = uploads::open(config, &key)?;
    if let Some(demo) = demo {
        demo.prepare(&database, &key).await?;
    }
    let mut resolver = Resolver::new(&config.sip.external, &config.media.external);
    let setup = setup::setup(config, resolver.refresh().await);
    let reach = addresses.reach(&setup.sip.external);
    if let Some(demo) = demo {
        welcome(demo, config, &reach).await;
    }
    let Some(prepared) = or_stop(prepare(&setup, &database), signals).await else {
        return Ok(());
    };
    doors.udp.add_streams(doors.tcp, &Speech::Plain);
    if let Some(certificates) = &encryption {
        let speech = Speech::Encrypted(Terminator::for_phones(certificates.clone())?);
        doors.udp.add_streams(doors.tls, &speech);
    }
    let studio = studio(config, &database, &objects);
    let running = prepared?.start(doors.udp, key.clone(), &metrics).await?;
    let portal = web::Portal {
        database: database.clone(),
        objects: objects.clone(),
        cookie_key: key.derive("web cookies"),
        key,
        boards: running.boards(),
        mail_dir: config.data_dir.join("mail"),
        reach: reach.sip.map_or_else(String::new, |sip| sip.to_string()),
        uploads: taking::uploads(config, &database, &objects)?,
        throttle: web::Throttle::default(),
    };
    serve_pages(&mut pages, doors.http, &portal, &ended);
    if let Some(certificates) = encryption {
        let terminator = Terminator::for_browsers(certificates.clone())?;
        let encrypted = (terminator, certificates.clone());
        serve_encrypted_pages(&mut pages, doors.https, encrypted, &portal, &ended);
        show_expiry(&certificates, &metrics);
        tokio::spawn(certificates.watch());
    }
    sound::begin(&running, &objects, &metrics);
    let carrier = Carrier::new(database.clone(), objects, &config.node.0);
    let mut keeping = keep(carrier, studio, &health, &metrics);
    keeping.spawn(watch_over(database.clone(), health.clone(), metrics));
    let (herald, known) = (running.herald(), config.clone());
    let following = tokio::spawn(async move { setup::follow(resolver, herald, &known).await });
    health.enter(Phase::Serving);
    // That nobody listens is no reason not to serve.
    let _ = announce(config, &addresses, &reach, demo);

    signals.stop().await;
    let_go(config, &health, running).await;
    // Whatever was under way is done again after the next start.
    drop(keeping);
    following.abort();
    drop(stun);
    let _ = end.send(true);
    // Whoever reads a page too slowly is cut off.
    let _ = timeout(LAST_PAGES_FOR, async { while pages.join_next().await.is_some() {} }).await;
    database.close().await;
    Ok(())
}

/// To be made before anything is recorded.
fn studio(config: &Config, database: &store::Database, objects: &Objects) -> Studio {
    let folder = setup::recordings(config);
    Studio::new(database.clone(), objects.clone(), &config.node.0, &folder)
}

/// Keeps what is to be kept, until it is dropped.
fn keep(carrier: Carrier, studio: Studio, health: &Arc<Health>, metrics: &Metrics) -> JoinSet<()> {
    let mut keeping = JoinSet::new();
    carrier.show(metrics);
    keeping.spawn(carrier.run(health.clone()));
    keeping.spawn(studio.run());
    keeping
}

/// Writes the demo's first mail.
async fn welcome(demo: &Demo, config: &Config, reach: &Reach) {
    let page = reach.page.map_or_else(String::new, |page| format!("http://{page}/"));
    if let Err(failure) = demo.welcome(&config.data_dir.join("mail"), &page).await {
        tracing::warn!("nobody is welcomed: {failure}");
    }
}

/// The certificates, if any door needs one.
fn encryption(
    config: &Config,
    demo: Option<&Demo>,
    doors: &Doors,
) -> Result<Option<Arc<Certificates>>, tls::Failure> {
    if !doors.are_encrypted() {
        return Ok(None);
    }
    let setup = setup::tls(config, demo.into_iter().flat_map(Demo::domains));
    Certificates::open(setup).map(Some)
}

fn show_expiry(certificates: &Arc<Certificates>, metrics: &Metrics) {
    let shown = certificates.clone();
    metrics.show_gauge(
        "tenantd_certificates_valid_until_seconds",
        "When the first certificate expires that is shown to anybody, since 1970.",
        move || shown.first_expiry().map_or(0, Moment::as_secs),
    );
}

/// Refuses what is new, lets what is under way finish for a while, then ends it.
async fn let_go(config: &Config, health: &Health, running: Running) {
    health.enter(Phase::Draining);
    tracing::info!("draining for up to {:?}", config.drain_for.0);
    running.drained(config.drain_for.0).await;
    running.stop().await;
}

/// The way out for whoever asks a second time: nothing is lost, as after a crash.
async fn end_at_once(mut signals: Signals, server: Option<Server>) {
    signals.stop_at_once().await;
    tracing::warn!("asked to stop a second time: ending at once");
    if let Some(server) = server {
        server.abandon();
    }
    log::flush();
    std::process::exit(1);
}

/// Replays the journal and finds the tenants; while Postgres is away, waits and says so.
async fn prepare(
    setup: &lanes::Setup,
    database: &store::Database,
) -> Result<Prepared, lanes::Failure> {
    loop {
        match lanes::prepare(setup, database).await {
            Err(failure) if failure.is_away() => tracing::warn!("waiting: {failure}"),
            outcome => return outcome,
        }
        sleep(TRY_AGAIN_AFTER).await;
    }
}

async fn or_stop<T>(work: impl Future<Output = T>, signals: &mut Signals) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = signals.stop() => None,
    }
}

/// The one line that says that everything is open, and for a demo where it all is.
fn announce(
    config: &Config,
    addresses: &Addresses,
    reach: &Reach,
    demo: Option<&Demo>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "tenantd ready as node {}, {addresses}", config.node.0)?;
    if let Some(demo) = demo {
        demo.print(reach, &mut out)?;
    }
    out.flush()
}
