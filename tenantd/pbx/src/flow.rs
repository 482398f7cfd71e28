//! Where a message came from, and so where its answer goes: never the Contact, always the path.
//!
//! RFC 5626 §3 calls this a flow. A UDP path is named by its addresses, so it needs no table and is
//! the same after a restart; a stream has a number that dies with its connection. Either names the
//! node whose socket it is: the tenant may be at home on another.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{NodeId, TenantId};

/// The path of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// Over the network.
    Net(Path),
    /// Another tenant: SIP as data between two switches.
    Inner(InnerPath),
}

/// A way over the network, from one of our sockets to a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    /// The node whose socket it is.
    pub node: NodeId,
    /// Datagrams, or a connection.
    pub link: Link,
    /// Our address, as the peer wrote it (never a wildcard).
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// What carries messages over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Link {
    /// Datagrams: the addresses say all, so the path is the same after a restart.
    Udp,
    /// A connection, as long as that process and the connection live.
    Stream {
        /// What is spoken on it.
        transport: Transport,
        /// The process: a connection of an earlier one is dead.
        boot: u32,
        /// Which of its connections.
        number: u32,
    },
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 3261 §18.
    Tcp,
    /// RFC 3261 §26.3.1.
    Tls,
}

/// A connection on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId {
    /// The node whose socket it is.
    pub node: NodeId,
    /// That node's process.
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

impl Path {
    /// Datagrams between two addresses.
    pub fn udp(node: NodeId, local: SocketAddr, peer: SocketAddr) -> Self {
        Self { node, link: Link::Udp, local, peer }
    }

    /// The connection, if it is one.
    pub fn stream(&self) -> Option<FlowId> {
        match self.link {
            Link::Udp => None,
            Link::Stream { boot, number, .. } => Some(FlowId { node: self.node, boot, number }),
        }
    }

    /// The transport's name as a Via and a URI's `transport` parameter have it, in capitals.
    pub fn transport(&self) -> &'static str {
        match self.link {
            Link::Udp => "UDP",
            Link::Stream { transport: Transport::Tcp, .. } => "TCP",
            Link::Stream { transport: Transport::Tls, .. } => "TLS",
        }
    }
}

/// A peer's address, packed, for tables of very many: IPv4 as IPv6 writes it, then the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packed([u8; 18]);

impl From<SocketAddr> for Packed {
    fn from(address: SocketAddr) -> Self {
        let octets = match address.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut packed = [0; 18];
        packed[..16].copy_from_slice(&octets);
        packed[16..].copy_from_slice(&address.port().to_be_bytes());
        Self(packed)
    }
}

impl From<Packed> for SocketAddr {
    fn from(Packed(packed): Packed) -> Self {
        let [octets @ .., high, low] = packed;
        let address = Ipv6Addr::from(octets).to_canonical();
        Self::new(address, u16::from_be_bytes([high, low]))
    }
}

/// The far end of a path, packed, as boards keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// `None`: datagrams.
    transport: Option<Transport>,
    address: Packed,
}

impl From<&Path> for Peer {
    fn from(path: &Path) -> Self {
        let transport = match path.link {
            Link::Udp => None,
            Link::Stream { transport, .. } => Some(transport),
        };
        Self { transport, address: path.peer.into() }
    }
}

/// As its path is shown.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            None => "udp",
            Some(Transport::Tcp) => "tcp",
            Some(Transport::Tls) => "tls",
        };
        write!(f, "{transport} {}", SocketAddr::from(self.address))
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From what [`Serialize`] wrote: boards travel between nodes.
impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "a transport, a space and an address with its port";
        let (transport, address) = text.split_once(' ').ok_or(SHAPE)?;
        let transport = match transport {
            "udp" => None,
            "tcp" => Some(Transport::Tcp),
            "tls" => Some(Transport::Tls),
            _ => return Err(SHAPE),
        };
        let address: SocketAddr = address.parse().map_err(|_| SHAPE)?;
        Ok(Self { transport, address: address.into() })
    }
}

/// As logs and pages show it: `udp 192.0.2.1:5060`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport().to_ascii_lowercase(), self.peer)
    }
}

impl Flow {
    /// Datagrams between two addresses.
    pub fn udp(node: NodeId, local: SocketAddr, peer: SocketAddr) -> Self {
        Self::Net(Path::udp(node, local, peer))
    }

    /// Whether transactions on this path repeat.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::Net(Path { link: Link::Udp, .. }) => Delivery::Unreliable,
            Self::Net(Path { link: Link::Stream { .. }, .. }) | Self::Inner(_) => {
                Delivery::Reliable
            }
        }
    }

    /// The connection, if it is one.
    pub fn stream(&self) -> Option<FlowId> {
        match self {
            Self::Net(path) => path.stream(),
            Self::Inner(_) => None,
        }
    }

    /// The peer's address, where the path has one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(path) => Some(path.peer),
            Self::Inner(_) => None,
        }
    }
}

impl InnerPath {
    /// The same path, seen from its other end.
    pub fn reversed(self) -> Self {
        Self { here: self.there, there: self.here }
    }
}

/// What we call ourselves in Via, Contact and SDP towards a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    fn a_packed_far_end_is_shown_as_its_path_is() {
        for (peer, shown) in
            [("192.0.2.1:5060", "tls 192.0.2.1:5060"), ("[2001:db8::1]:9", "tls [2001:db8::1]:9")]
        {
            let peer: SocketAddr = peer.parse().unwrap();
            let link = Link::Stream { transport: Transport::Tls, boot: 1, number: 2 };
            let path = Path { node: NodeId(1), link, local: peer, peer };
            assert_eq!(path.to_string(), shown);
            let shown_peer = Peer::from(&path);
            assert_eq!((shown_peer.to_string().as_str(), shown.parse()), (shown, Ok(shown_peer)));
            assert_eq!(SocketAddr::from(Packed::from(peer)), peer);
        }
    }

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
