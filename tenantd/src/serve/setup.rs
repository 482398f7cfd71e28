//! What the configuration means to the lanes.

use std::net::IpAddr;

use pbx::edge;
use pbx::flow::Advertised;
use pbx::registrar::Policy;

use crate::config::{Config, External, Network, UnknownDomain};
use crate::lanes::{self, Herald};
use crate::net::tls;
use crate::resolver::{Addresses, Resolver};

/// Everything that lanes are set up by.
pub(super) fn setup(config: &Config, addresses: Addresses) -> lanes::Setup {
    let local_networks = local_networks(config);
    let advertised = |external| Advertised { external, local_networks: local_networks.clone() };
    lanes::Setup {
        node: config.node.0.clone(),
        journal: config.data_dir.join("journal"),
        journal_quota: lanes::JOURNAL_QUOTA,
        sip: advertised(addresses.sip),
        sound: advertised(addresses.sound),
        media: media::Config {
            ports: config.media.ports.first..=config.media.ports.last,
            threads: usize::from(config.media.threads),
        },
        policy: Policy::default(),
        unknown_domain: match config.sip.unknown_domain {
            UnknownDomain::Drop => edge::UnknownDomain::Drop,
            UnknownDomain::Refuse => edge::UnknownDomain::Refuse,
        },
    }
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
