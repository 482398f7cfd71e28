//! Where phones and browsers reach us, for the cards that set them up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// Addresses that mean something to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// For phones in the network.
    pub sip: Option<SocketAddr>,
    /// For browsers.
    pub page: Option<SocketAddr>,
    /// For browsers, encrypted.
    pub encrypted_page: Option<SocketAddr>,
    listens_everywhere: Everywhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Everywhere {
    Yes,
    No,
}

impl Reach {
    /// From the first address that is open for each; `external` is how phones outside see us.
    pub fn new(
        sip: Option<SocketAddr>,
        page: Option<SocketAddr>,
        encrypted_page: Option<SocketAddr>,
        external: Option<IpAddr>,
    ) -> Self {
        let seen_at = |page: SocketAddr| SocketAddr::new(seen(page), page.port());
        let everywhere = sip.is_some_and(|sip| sip.ip().is_unspecified());
        Self {
            sip: sip.map(|sip| SocketAddr::new(external.unwrap_or(seen(sip)), sip.port())),
            page: page.map(seen_at),
            encrypted_page: encrypted_page.map(seen_at),
            listens_everywhere: if everywhere { Everywhere::Yes } else { Everywhere::No },
        }
    }

    /// For phones on this very machine.
    pub fn sip_here(&self) -> Option<SocketAddr> {
        match self.listens_everywhere {
            Everywhere::Yes => self.sip.map(|sip| SocketAddr::new(here(sip), sip.port())),
            Everywhere::No => self.sip,
        }
    }
}

/// The address of a listener as others see it.
fn seen(listener: SocketAddr) -> IpAddr {
    match listener.ip().is_unspecified() {
        true => first_address(listener).unwrap_or(here(listener)),
        false => listener.ip(),
    }
}

fn here(listener: SocketAddr) -> IpAddr {
    match listener {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// The first address of this machine that others in its network can reach, of that family.
fn first_address(listener: SocketAddr) -> Option<IpAddr> {
    let all = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let mut addresses = all.filter_map(|address| match listener {
        SocketAddr::V4(_) => {
            let ip = address.as_sockaddr_in()?.ip();
            (!ip.is_link_local()).then_some(IpAddr::V4(ip))
        }
        SocketAddr::V6(_) => {
            let ip = address.as_sockaddr_in6()?.ip();
            (!ip.is_unicast_link_local()).then_some(IpAddr::V6(ip))
        }
    });
    addresses.find(|ip| !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_listener_on_one_address_is_reached_there() {
        let reach = Reach::new(address("127.0.0.1:5060"), address("127.0.0.1:8080"), None, None);
        assert_eq!(reach.sip, address("127.0.0.1:5060"));
        assert_eq!(reach.sip_here(), reach.sip);
        assert_eq!(reach.page, address("127.0.0.1:8080"));
    }

    #[test]
    fn a_listener_on_all_addresses_is_never_shown_as_such() {
        let reach = Reach::new(address("0.0.0.0:5060"), address("0.0.0.0:8080"), None, None);
        assert!(!reach.sip.unwrap().ip().is_unspecified());
        assert!(!reach.page.unwrap().ip().is_unspecified());
        assert_eq!(reach.sip_here(), address("127.0.0.1:5060"));
    }

    #[test]
    fn a_listener_on_all_addresses_of_ipv6_is_reached_by_ipv6() {
        let reach = Reach::new(address("[::]:5060"), None, None, None);
        assert!(reach.sip.unwrap().is_ipv6() && !reach.sip.unwrap().ip().is_unspecified());
        assert_eq!(reach.sip_here(), address("[::1]:5060"));
    }

    #[test]
    fn what_is_configured_as_external_wins() {
        let external = Some(IpAddr::from([203, 0, 113, 7]));
        let reach = Reach::new(address("0.0.0.0:5060"), None, None, external);
        assert_eq!(reach.sip, address("203.0.113.7:5060"));
        assert_eq!(reach.sip_here(), address("127.0.0.1:5060"));
        assert_eq!(reach.page, None);
    }
}
