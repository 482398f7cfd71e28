//! Where a message came from, and so where its answer goes: never the Contact, always the path.
//!
//! RFC 5626 §3 calls this a flow. A UDP path is named by its addresses, so it needs no table and is
//! the same after a restart; a stream has a number that dies with its connection.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// The path of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// Datagrams between one of our addresses and a peer's.
    Udp(UdpPath),
    /// A connection.
    Stream(FlowId),
    /// Another tenant: SIP as data between two switches.
    Inner(InnerPath),
}

/// A UDP path: answers leave from the very address that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UdpPath {
    /// Our address, as the peer wrote it on the datagram (never a wildcard).
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// A connection on a node, as long as that node's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId {
    /// The node whose socket it is.
    pub node: u16,
    /// That node's process: a flow of an earlier one is dead.
    pub boot: u32,
    /// Which of its connections.
    pub number: u32,
}

/// From one tenant's switch to another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InnerPath {
    /// Who holds this end.
    pub here: TenantId,
    /// Who holds the other.
    pub there: TenantId,
}

/// Whether the path itself repeats what was lost (RFC 3261 §17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Repeating is the transaction's work.
    Unreliable,
    /// What is sent arrives, or the path is gone.
    Reliable,
}

impl Flow {
    /// Whether transactions on this path repeat.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Udp(_) => Delivery::Unreliable,
            Self::Stream(_) | Self::Inner(_) => Delivery::Reliable,
        }
    }

    /// The same path, seen from its other end.
    pub fn reversed(self) -> Self {
        match self {
            Self::Udp(UdpPath { local, peer }) => Self::Udp(UdpPath { local: peer, peer: local }),
            Self::Stream(id) => Self::Stream(id),
            Self::Inner(InnerPath { here, there }) => {
                Self::Inner(InnerPath { here: there, there: here })
            }
        }
    }

    /// The peer's address, where the path has one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(path) => Some(path.peer),
            Self::Stream(_) | Self::Inner(_) => None,
        }
    }
}

/// What we call ourselves in Via, Contact and SDP towards a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advertised {
    /// Public addresses, one a family at most; absent: the address that the peer reached.
    pub external: Vec<IpAddr>,
    /// Networks whose phones get the interface's own address, as (address, prefix length).
    pub local_networks: Vec<(IpAddr, u8)>,
}

impl Advertised {
    /// Our address as `peer` shall see it, when it reached us at `local`.
    pub fn towards(&self, peer: IpAddr, local: IpAddr) -> IpAddr {
        if self.local_networks.iter().any(|(network, length)| within(peer, *network, *length)) {
            return local;
        }
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == peer.is_ipv4();
        self.external.iter().find(same_family).copied().unwrap_or(local)
    }
}

/// Whether `address` lies in `network/length`.
pub fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let dropped = width - u32::from(length).min(width);
    address.checked_shr(dropped).unwrap_or(0) == network.checked_shr(dropped).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_phones_get_the_local_address_and_others_the_public_one_of_their_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let ours = Advertised {
            external: vec![ip("203.0.113.7")],
            local_networks: vec![(ip("192.168.0.0"), 16)],
        };
        assert_eq!(ours.towards(ip("192.168.7.9"), ip("192.168.0.1")), ip("192.168.0.1"));
        assert_eq!(ours.towards(ip("198.51.100.1"), ip("192.168.0.1")), ip("203.0.113.7"));
        assert_eq!(ours.towards(ip("2001:db8::1"), ip("2001:db8::2")), ip("2001:db8::2"));
    }
}
