//! Where a server of a test listens: free ports on loopback, for as many doors as it needs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use crate::failure::Outcome;
use crate::scene::Scene;

/// How many ports the server gets for sound: each side of a call needs two.
const MEDIA_PORTS: u16 = 120;

/// Where a server listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub struct Listeners {
    /// For phones.
    pub sip: SocketAddr,
    /// For browsers.
    pub web: SocketAddr,
    /// For health and metrics.
    pub admin: SocketAddr,
    media: (u16, u16),
    doors: Doors,
}

/// Which doors are open beside those.
#[derive(Debug, Clone, Copy)]
enum Doors {
    /// None.
    Datagrams,
    /// Everything that a phone or browser can come by, on both families of loopback.
    Everything { tls: u16, https: u16, ipv6: Ipv6 },
}

/// Whether this machine has IPv6 at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// It has a loopback address.
    Here,
    /// What needs it is skipped, with a visible line.
    Missing,
}

impl Listeners {
    /// Free ones.
    ///
    /// # Errors
    /// If the scene has no ports left.
    pub fn new(scene: &mut Scene) -> Outcome<Self> {
        let mut next = || -> Outcome<SocketAddr> {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, scene.ports.one()?)))
        };
        let (sip, web, admin) = (next()?, next()?, next()?);
        let media = scene.ports.many(MEDIA_PORTS)?;
        Ok(Self { sip, web, admin, media, doors: Doors::Datagrams })
    }

    /// Free ones for all transports and both families.
    ///
    /// # Errors
    /// If the scene has no ports left.
    pub fn everywhere(scene: &mut Scene) -> Outcome<Self> {
        let here = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        let ipv6 = if here { Ipv6::Here } else { Ipv6::Missing };
        let (tls, https) = (scene.ports.one()?, scene.ports.one()?);
        Ok(Self { doors: Doors::Everything { tls, https, ipv6 }, ..Self::new(scene)? })
    }

    /// Whether IPv6 is open; says so where it is not.
    pub fn ipv6(&self) -> Ipv6 {
        match self.doors {
            Doors::Everything { ipv6: Ipv6::Here, .. } => Ipv6::Here,
            Doors::Everything { ipv6: Ipv6::Missing, .. } | Doors::Datagrams => {
                eprintln!("SKIPPED: this machine has no IPv6");
                Ipv6::Missing
            }
        }
    }

    /// Where SIP is spoken over TLS.
    pub fn tls(&self) -> SocketAddr {
        match self.doors {
            Doors::Everything { tls, .. } => SocketAddr::new(self.sip.ip(), tls),
            Doors::Datagrams => self.sip,
        }
    }

    /// Where pages are encrypted.
    pub fn https(&self) -> SocketAddr {
        match self.doors {
            Doors::Everything { https, .. } => SocketAddr::new(self.web.ip(), https),
            Doors::Datagrams => self.web,
        }
    }

    /// The same port on IPv6.
    pub fn on_ipv6(address: SocketAddr) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()))
    }

    /// Phones reach it at this address, for as long as there is nobody else at it.
    ///
    /// # Errors
    /// If the scene has no ports left.
    pub fn in_the_open(scene: &mut Scene, ip: Ipv4Addr) -> Outcome<Self> {
        Ok(Self { sip: SocketAddr::from((ip, 5060)), ..Self::new(scene)? })
    }

    /// The ports of sound, the even ones for RTP.
    pub fn sound_ports(&self) -> RangeInclusive<u16> {
        self.media.0..=self.media.1
    }

    /// The part of a configuration that says so, and opens nothing else.
    pub fn config(&self) -> String {
        let Self { sip, web, admin, media: (first, last), doors } = self;
        let (datagrams, tcp, tls, https) = match doors {
            Doors::Datagrams => (format!("\"{sip}\""), String::new(), String::new(), String::new()),
            Doors::Everything { ipv6, .. } => {
                let both = |address: SocketAddr| match ipv6 {
                    Ipv6::Here => format!("\"{address}\", \"{}\"", Self::on_ipv6(address)),
                    Ipv6::Missing => format!("\"{address}\""),
                };
                (both(*sip), both(*sip), both(self.tls()), both(self.https()))
            }
        };
        format!(
            "[sip]\nudp = [{datagrams}]\ntcp = [{tcp}]\ntls = [{tls}]\nlanes = 2\n\
             [media]\nports = \"{first}-{last}\"\nthreads = 1\n\
             [stun]\nudp = []\n\
             [web]\nhttp = [\"{web}\"]\nhttps = [{https}]\n\
             [admin]\nlisten = [\"{admin}\"]\n"
        )
    }
}
