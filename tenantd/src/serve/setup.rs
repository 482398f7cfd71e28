//! What the configuration means to the lanes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use media::Shelf;
use pbx::edge;
use pbx::flow::Advertised;
use pbx::registrar::Policy;

use crate::config::{Config, External, Link, Network, Role, SoundIo, UnknownDomain};
use crate::lanes::{self, Herald};
use crate::net::tls;
use crate::net::tls::link::Files;
use crate::resolver::{Addresses, Resolver};

/// Everything that lanes are set up by.
pub(super) fn setup(config: &Config, addresses: Addresses) -> lanes::Setup {
    let local_networks = local_networks(config);
    let cache = usize::try_from(config.media.cache.0).unwrap_or(usize::MAX);
    let advertised = |external| Advertised { external, local_networks: local_networks.clone() };
    lanes::Setup {
        node: config.node.0.clone(),
        link: link(config),
        own: own(config),
        journal: config.data_dir.join("journal"),
        journal_quota: lanes::JOURNAL_QUOTA,
        sip: advertised(addresses.sip),
        sound: advertised(addresses.sound),
        media: media::Config {
            ports: config.media.ports.first..=config.media.ports.last,
            threads: usize::from(config.media.threads),
            io: match config.media.io {
                SoundIo::Auto => media::Io::Auto,
                SoundIo::IoUring => media::Io::IoUring,
                SoundIo::Epoll => media::Io::Epoll,
            },
            pinning: match config.media.pin {
                true => media::Pinning::Pinned,
                false => media::Pinning::Free,
            },
            scheduling: match config.media.realtime {
                true => media::Scheduling::Realtime,
                false => media::Scheduling::Normal,
            },
            recordings: Some(media::recording::Folder {
                path: recordings(config),
                limit: config.recordings.limit.0,
            }),
            shelf: Arc::new(Shelf::new(cache)),
        },
        policy: Policy::default(),
        unknown_domain: match config.sip.unknown_domain {
            UnknownDomain::Drop => edge::UnknownDomain::Drop,
            UnknownDomain::Refuse => edge::UnknownDomain::Refuse,
        },
    }
}

/// Where recordings are written while calls go on.
pub(super) fn recordings(config: &Config) -> PathBuf {
    config.data_dir.join("recordings")
}

/// Where peers reach us, if we may have any.
fn link(config: &Config) -> Option<lanes::Link> {
    let Link { certificate, key, ca, .. } = &config.link;
    let files = match (certificate, key, ca) {
        (Some(certificate), Some(key), Some(ca)) => {
            Some(Files { certificate: certificate.clone(), key: key.clone(), ca: ca.clone() })
        }
        _ => None,
    };
    let advertise = config.link.told().filter(|_| config.does(Role::Sip))?;
    Some(lanes::Link { advertise, files })
}

/// Our own addresses: those that listeners name, else those that the system would send from.
fn own(config: &Config) -> lanes::Own {
    let named = |v4| {
        let listeners = config.sip.udp.iter().chain(&config.sip.tcp).chain(&config.sip.tls);
        let mut addresses = listeners.map(|listen| listen.0.ip());
        addresses.find(|ip| ip.is_ipv4() == v4 && !ip.is_unspecified())
    };
    let sound = [true, false].into_iter().filter_map(|v4| named(v4).or_else(|| routed(v4)));
    let inner = config.link.told().map_or(Ipv4Addr::LOCALHOST.into(), |told| told.ip());
    lanes::Own { sound: sound.collect(), inner }
}

/// The address that leads out of this machine. Nothing is sent: these are addresses that nobody has
/// (RFC 5737, RFC 3849).
fn routed(v4: bool) -> Option<IpAddr> {
    let (from, to): (SocketAddr, SocketAddr) = match v4 {
        true => ((Ipv4Addr::UNSPECIFIED, 0).into(), ([192, 0, 2, 1], 9).into()),
        false => {
            let nobody = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            ((Ipv6Addr::UNSPECIFIED, 0).into(), (nobody, 9).into())
        }
    };
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Where certificates are; the self-signed one is for these domains, too.
pub(super) fn tls<'a>(config: &Config, domains: impl Iterator<Item = &'a str>) -> tls::Setup {
    let external = config.sip.external.iter().map(|external| match external {
        External::Address(address) => address.to_string(),
        External::Name(name) => name.clone(),
    });
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    tls::Setup {
        default: config.tls.certificate.clone().zip(config.tls.key.clone()),
        directory: config.tls.directory.clone(),
        own: config.data_dir.join("tls"),
        names: here.into_iter().chain(external).chain(domains.map(str::to_owned)).collect(),
    }
}

/// Keeps the lanes' knowledge of our public addresses as new as the name servers'.
pub(super) async fn follow(resolver: Resolver, herald: Herald, config: &Config) {
    let local_networks = local_networks(config);
    let tell = |addresses: Addresses| {
        let (herald, local_networks) = (herald.clone(), local_networks.clone());
        let advertised =
            move |external| Advertised { external, local_networks: local_networks.clone() };
        async move { herald.tell(advertised(addresses.sip), advertised(addresses.sound)).await }
    };
    resolver.run(tell).await;
}

fn local_networks(config: &Config) -> Vec<(IpAddr, u8)> {
    let networks = config.sip.local_networks.iter();
    networks.map(|Network { address, prefix }| (*address, *prefix)).collect()
}
