//! Every address, opened before anything else begins, so that one in use is named at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use web::probes::Probes;

use super::life::Failure;
use crate::config::{Config, Listen, Role};
use crate::health::Health;
use crate::lanes::Listeners;
use crate::listen;
use crate::metrics::Metrics;
use crate::net::stun;
use crate::net::tls::{self, Certificates, Terminator};
use crate::reach::Reach;

/// Encrypted connections that wait for whoever shows the pages; when full, the next waits to be
/// handed on.
const READY_PAGES: usize = 64;

/// What is open.
pub(super) struct Doors {
    pub(super) udp: Listeners,
    pub(super) tcp: Vec<TcpListener>,
    pub(super) tls: Vec<TcpListener>,
    pub(super) stun: stun::Listeners,
    pub(super) http: Vec<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    pub(super) admin: Vec<TcpListener>,
}

/// Where they are.
pub(super) struct Addresses {
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    stun: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
}

impl Doors {
    /// Opens what this node's roles need.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let of = |role: Role, listens: &[Listen]| match config.does(role) {
            true => tcp(listens),
            false => Ok(Vec::new()),
        };
        let datagrams = |role: Role, listens: &[Listen]| -> Vec<SocketAddr> {
            match config.does(role) {
                true => listens.iter().map(|listen| listen.0).collect(),
                false => Vec::new(),
            }
        };
        let udp = datagrams(Role::Sip, &config.sip.udp);
        let link = of(Role::Sip, &config.link.listen)?;
        Ok(Self {
            udp: Listeners::open(&udp, NonZeroU16::new(config.sip.lanes))?.with_link(link),
            tcp: of(Role::Sip, &config.sip.tcp)?,
            tls: of(Role::Sip, &config.sip.tls)?,
            stun: stun::Listeners::open(&datagrams(Role::Stun, &config.stun.udp))?,
            http: of(Role::Web, &config.web.http)?,
            https: of(Role::Web, &config.web.https)?,
            admin: tcp(&config.admin.listen)?,
        })
    }

    /// Where they are: a port that was left to the system is known now.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            udp: self.udp.addresses(),
            tcp: addresses(&self.tcp),
            tls: addresses(&self.tls),
            stun: self.stun.addresses(),
            http: addresses(&self.http),
            https: addresses(&self.https),
            admin: addresses(&self.admin),
        }
    }

    /// Whether any of them needs a certificate.
    pub(super) fn are_encrypted(&self) -> bool {
        !self.tls.is_empty() || !self.https.is_empty()
    }
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
        let sip = first(&self.udp);
        let same = |ip: &IpAddr| sip.is_none_or(|sip| sip.is_ipv4() == ip.is_ipv4());
        let external = external.iter().copied().find(same);
        Reach::new(sip, first(&self.http), first(&self.https), external)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |what: &'static str, addresses: &[SocketAddr]| -> Vec<String> {
            addresses.iter().map(|address| format!("{what} {address}")).collect()
        };
        let all = [
            of("sip udp", &self.udp),
            of("sip tcp", &self.tcp),
            of("sip tls", &self.tls),
            of("stun udp", &self.stun),
            of("http", &self.http),
            of("https", &self.https),
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

/// Shows the portal on encrypted connections, until `end` says so.
pub(super) fn serve_encrypted_pages(
    serving: &mut JoinSet<()>,
    listeners: Vec<TcpListener>,
    (terminator, certificates): (Terminator, Arc<Certificates>),
    portal: &web::Portal,
    end: &watch::Receiver<bool>,
) {
    for listener in listeners {
        let (portal, until) = (portal.clone(), over(end.clone()));
        let (terminator, certificates) = (terminator.clone(), certificates.clone());
        let vouched = Arc::new(move |host: &str| certificates.is_vouched_for(host));
        let (ready, encrypted) = mpsc::channel(READY_PAGES);
        serving.spawn(async move {
            let streams = web::Streams::new(encrypted, listener.local_addr().ok());
            tokio::select! {
                () = tls::listen(listener, terminator, ready) => {}
                shown = web::serve_encrypted(streams, portal, vouched, until) => {
                    tell("encrypted pages", shown);
                }
            }
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
