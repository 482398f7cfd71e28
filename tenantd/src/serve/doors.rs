//! Every address, opened before anything else begins, so that one in use is named at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use web::probes::Probes;

use super::life::Failure;
use crate::config::{Config, Listen, Role};
use crate::health::Health;
use crate::lanes::Listeners;
use crate::listen;
use crate::metrics::Metrics;

/// What is open.
pub(super) struct Doors {
    pub(super) sip: Listeners,
    pub(super) web: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
    /// All of it in words, for the line that says that the server is up.
    pub(super) words: String,
}

impl Doors {
    /// Opens what this node's roles need.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let udp: Vec<_> = match config.does(Role::Sip) {
            true => config.sip.udp.iter().filter_map(v4).collect(),
            false => Vec::new(),
        };
        let sip = Listeners::open(&udp, NonZeroU16::new(config.sip.lanes))?;
        let web = match config.does(Role::Web) {
            true => tcp(&config.web.http)?,
            false => Vec::new(),
        };
        let admin = tcp(&config.admin.listen)?;
        let words = words(&sip, &web, &admin);
        Ok(Self { sip, web, admin, words })
    }
}

fn v4(listen: &Listen) -> Option<std::net::SocketAddrV4> {
    match listen.0 {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}

fn tcp(listens: &[Listen]) -> Result<Vec<TcpListener>, Failure> {
    let opened = listens.iter().filter_map(|listen| listen::open(listen.0).transpose());
    Ok(opened.collect::<Result<_, _>>()?)
}

fn words(sip: &Listeners, web: &[TcpListener], admin: &[TcpListener]) -> String {
    let sip = sip.addresses().into_iter().map(|address| format!("sip udp {address}"));
    let of = |what: &'static str, listeners: &[TcpListener]| -> Vec<String> {
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
        addresses.map(|address| format!("{what} {address}")).collect()
    };
    sip.chain(of("http", web)).chain(of("admin", admin)).collect::<Vec<_>>().join(", ")
}

/// Answers monitors and load balancers until `end` says so.
pub(super) fn serve_probes(
    listeners: Vec<TcpListener>,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
    end: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let (known, counted) = (Arc::clone(health), Arc::clone(metrics));
    let probes = Arc::new(Probes {
        readiness: Box::new(move || known.words().map(str::to_owned).map_err(str::to_owned)),
        metrics: Box::new(move || counted.render()),
    });
    let mut serving = JoinSet::new();
    for listener in listeners {
        let (probes, until) = (Arc::clone(&probes), over(end.clone()));
        serving.spawn(async move {
            tell("probes", web::probes::serve(listener, probes, until).await);
        });
    }
    serving
}

/// A listener that failed is worth waking someone: nobody can reach it any more.
pub(super) fn tell(what: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::error!("the listener for {what} failed: {error}");
    }
}

/// Waits for the end.
pub(super) async fn over(mut end: watch::Receiver<bool>) {
    // A sender that is gone says the same.
    let _ = end.wait_for(|end| *end).await;
}
