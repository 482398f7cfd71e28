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
use crate::net::stun;
use crate::reach::Reach;

/// What is open.
pub(super) struct Doors {
    pub(super) sip: Listeners,
    pub(super) stun: stun::Listeners,
    sip_tcp_at: Vec<SocketAddr>,
    pub(super) web: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
}

/// Where they are.
pub(super) struct Addresses {
    sip: Vec<SocketAddr>,
    stun: Vec<SocketAddr>,
    sip_tcp: Vec<SocketAddr>,
    web: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
}

impl Doors {
    /// Opens what this node's roles need.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let (udp, sip_tcp) = match config.does(Role::Sip) {
            true => (of(&config.sip.udp), tcp(&config.sip.tcp)?),
            false => (Vec::new(), Vec::new()),
        };
        let sip_tcp_at = addresses(&sip_tcp);
        let sip = Listeners::open(&udp, NonZeroU16::new(config.sip.lanes))?.with_tcp(sip_tcp);
        let stun = match config.does(Role::Stun) {
            true => stun::Listeners::open(&of(&config.stun.udp))?,
            false => stun::Listeners::default(),
        };
        let web = match config.does(Role::Web) {
            true => tcp(&config.web.http)?,
            false => Vec::new(),
        };
        let admin = tcp(&config.admin.listen)?;
        Ok(Self { sip, stun, sip_tcp_at, web, admin })
    }

    /// Where they are: a port that was left to the system is known now.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            sip: self.sip.addresses(),
            stun: self.stun.addresses(),
            sip_tcp: self.sip_tcp_at.clone(),
            web: addresses(&self.web),
            admin: addresses(&self.admin),
        }
    }
}

fn of(listens: &[Listen]) -> Vec<SocketAddr> {
    listens.iter().map(|listen| listen.0).collect()
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn tcp(listens: &[Listen]) -> Result<Vec<TcpListener>, Failure> {
    let opened = listens.iter().filter_map(|listen| listen::open(listen.0).transpose());
    Ok(opened.collect::<Result<_, _>>()?)
}

impl Addresses {
    /// How others reach us there.
    pub(super) fn reach(&self, external: &[IpAddr]) -> Reach {
        // Cards show one address, and most phones know IPv4 only.
        let first = |addresses: &[SocketAddr]| {
            let v4 = addresses.iter().find(|address| address.is_ipv4());
            v4.or(addresses.first()).copied()
        };
        let sip = first(&self.sip);
        let same = |ip: &IpAddr| sip.is_none_or(|sip| sip.is_ipv4() == ip.is_ipv4());
        Reach::new(sip, first(&self.web), external.iter().copied().find(same))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what: &'static str, addresses: &[SocketAddr]| -> Vec<String> {
            addresses.iter().map(|address| format!("{what} {address}")).collect()
        };
        let all = [
            of("sip udp", &self.sip),
            of("sip tcp", &self.sip_tcp),
            of("stun udp", &self.stun),
            of("http", &self.web),
            of("admin", &self.admin),
        ];
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
