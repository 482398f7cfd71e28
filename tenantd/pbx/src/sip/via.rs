//! The way an answer takes back: each hop wrote its own address on top.
//!
//! RFC 3261 §20.42, RFC 3581 (rport).

use std::net::IpAddr;

use super::flaw::Flaw;
use super::host::{host_and_port, ip};
use super::letters::is_token;
use super::list::SPACE;
use super::params::Params;

/// One value of a Via header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, `TLS`, or what nobody has heard of.
    pub transport: &'a str,
    /// Who sent it, by its own account; brackets included.
    pub host: &'a str,
    /// The port it says it listens on.
    pub port: Option<u16>,
    /// Everything else.
    pub params: Params<'a>,
}

/// Whether the sender wants the answer to come back to the port it sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rport {
    /// It said nothing.
    Absent,
    /// It asks.
    Asked,
    /// Somebody wrote the port in.
    Port(u16),
}

impl<'a> Via<'a> {
    /// Reads `SIP/2.0/UDP host:port;branch=…`. The version is not looked at: a request of another
    /// one is to be told so (505), and that needs its Via.
    pub fn parse(text: &'a str) -> Result<Self, Flaw> {
        let flaw = |what| Flaw::wrong("Via", what);
        let (head, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let mut parts = head.splitn(3, '/').map(|piece| piece.trim_matches(SPACE));
        let (Some(protocol), Some(version), Some(rest)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(flaw("no protocol/version/transport"));
        };
        let (transport, sent_by) =
            rest.split_once([' ', '\t']).ok_or(flaw("no address of the sender"))?;
        if ![protocol, version, transport].iter().all(|word| is_token(word.as_bytes())) {
            return Err(flaw("no protocol/version/transport"));
        }
        let (host, port) = host_and_port(sent_by.trim_matches(SPACE)).map_err(flaw)?;
        Ok(Self { transport, host, port, params: Params::parse(params, "Via")? })
    }

    /// What names the transaction; `None` from senders of RFC 2543.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.raw("branch").filter(|branch| !branch.is_empty())
    }

    /// Whether, and with what port, there is an `rport`.
    pub fn rport(&self) -> Rport {
        match self.params.raw("rport") {
            None => Rport::Absent,
            Some(port) => port.parse().map_or(Rport::Asked, Rport::Port),
        }
    }

    /// Where it really came from, if somebody wrote it in.
    pub fn received(&self) -> Option<IpAddr> {
        self.params.raw("received").and_then(ip)
    }

    /// A parameter's value as written; a flag's is empty.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.raw(name)
    }

    /// The sender's address, if it named itself by one.
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_may_stand_anywhere() {
        let via = Via::parse(
            "SIP  / 2.0  / TCP     spindle.example.com \t : 5062  ;  branch  =   z9hG4bK9",
        )
        .unwrap();
        assert_eq!((via.transport, via.host, via.port), ("TCP", "spindle.example.com", Some(5062)));
        assert_eq!(via.branch(), Some("z9hG4bK9"));
        assert_eq!(via.rport(), Rport::Absent);
    }

    #[test]
    fn addresses_of_either_family_and_with_or_without_brackets() {
        let via = Via::parse(
            "SIP/2.0/UDP [2001:db8::9:1]:5061;received=[2001:db8::9:255];rport=5090;branch=z9hG4bKa",
        )
        .unwrap();
        assert_eq!((via.host, via.port), ("[2001:db8::9:1]", Some(5061)));
        assert_eq!(via.ip(), Some("2001:db8::9:1".parse().unwrap()));
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(via.rport(), Rport::Port(5090));
        let bare = Via::parse("SIP/2.0/UDP host;received=2001:db8::9:255;rport").unwrap();
        assert_eq!(bare.received(), via.received());
        assert_eq!((bare.rport(), bare.branch()), (Rport::Asked, None));
    }

    #[test]
    fn other_versions_and_transports_are_read() {
        assert_eq!(Via::parse("SIP/7.0/UDP c.example.com").unwrap().transport, "UDP");
        assert_eq!(
            Via::parse("SIP/2.0/UNKNOWN c.example.com;branch=x").unwrap().transport,
            "UNKNOWN"
        );
    }

    #[test]
    fn refuses_what_leads_nowhere() {
        let bad = [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 host",
            "SIP/2.0/ host",
            "/2.0/UDP host",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP 192.0.2.15:x",
            "SIP/2.0/UDP 2001:db8::9:1",
            "SIP/2.0/UDP ;branch=z9hG4bK",
            "SIP/2.0/UDP a b",
        ];
        for text in bad {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }
}
