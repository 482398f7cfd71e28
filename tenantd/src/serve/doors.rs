//! Every address, opened before anything else begins, so that one in use is named at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
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
use crate::reach::Reach;

/// What is open.
pub(super) struct Doors {
    pub(super) sip: Listeners,
    pub(super) web: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
}

/// Where they are.
pub(super) struct Addresses {
    sip: Vec<SocketAddr>,
    web: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
}

impl Doors {
    /// Opens what this node's roles need.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let udp: Vec<_> = match config.does(Role::Sip) {
            true => config.sip.udp.iter().filter_map(v4).collect(),
            false => Vec::new(),
        };
        let link = match config.does(Role::Sip) {
            true => tcp(&config.link.listen)?,
            false => Vec::new(),
        };
        let sip = Listeners::open(&udp, NonZeroU16::new(config.sip.lanes))?.with_link(link);
        let web = match config.does(Role::Web) {
            true => tcp(&config.web.http)?,
            false => Vec::new(),
        };
        let admin = tcp(&config.admin.listen)?;
        Ok(Self { sip, web, admin })
    }

    /// Where they are: a port that was left to the system is known now.
    pub(super) fn addresses(&self) -> Addresses {
        let of = |listeners: &[TcpListener]| {
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
        };
        let sip = self.sip.addresses().into_iter().map(SocketAddr::V4).collect();
        Addresses { sip, web: of(&self.web), admin: of(&self.admin) }
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

impl Addresses {
    /// How others reach us there.
    pub(super) fn reach(&self, external: &[IpAddr]) -> Reach {
        let external = external.iter().copied().find(IpAddr::is_ipv4);
        Reach::new(self.sip.first().copied(), self.web.first().copied(), external)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what: &'static str, addresses: &[SocketAddr]| -> Vec<String> {
            addresses.iter().map(|address| format!("{what} {address}")).collect()
        };
        let all = [of("sip udp", &self.sip), of("http", &self.web), of("admin", &self.admin)];
        f.write_str(&all.concat().join(", "))
    }
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

/// Shows the portal until `end` says so.
pub(super) fn serve_pages(
    serving: &mut JoinSet<()>,
    listeners: Vec<TcpListener>,
    portal: &web::Portal,
    end: &watch::Receiver<bool>,
) {
    for listener in listeners {
        let (portal, until) = (portal.clone(), over(end.clone()));
        serving.spawn(async move {
            tell("pages", web::serve(listener, portal, until).await);
        });
    }
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
