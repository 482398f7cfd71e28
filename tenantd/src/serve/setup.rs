//! What the configuration means to the lanes.

use std::net::IpAddr;

use pbx::edge;
use pbx::flow::Advertised;
use pbx::registrar::Policy;

use crate::config::{Config, Network, UnknownDomain};
use crate::lanes::{self, Herald};
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
