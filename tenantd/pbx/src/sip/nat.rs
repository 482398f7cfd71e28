//! What lies between a phone and us: nothing, a router that translates addresses, or one that
//! rewrites messages too and does it badly.
//!
//! RFC 3261 §18.2.1 and RFC 3581 §2 (the source differs from what the phone believes), RFC 6314 §4.1
//! (why), RFC 5853 §3.1 and the pains of the field (application layer gateways). Only what a router
//! left behind shows an ALG: two places of one message that contradict each other.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::address::Contacts;
use super::host::ip;
use super::message::Message;
use super::uri::Uri;
use super::via::{Rport, Via};

/// Whether a phone is where it says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// As far as its messages tell.
    Direct,
    /// Its messages come from elsewhere: something keeps a way back open only as long as it is used.
    BehindNat,
}

/// A trace of a SIP ALG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The Contact has the router's address, the Call-ID the phone's own.
    Contact,
    /// The Contact has the router's address, with a port that the router does not use.
    Port,
    /// The Via has the router's address, the Contact the phone's own.
    Via,
    /// The first Via already says where it was received from.
    Received,
    /// The description's connection has the router's address, its origin the phone's own.
    Session,
    /// There is more of the body than its length says.
    Length,
}

/// All traces in one message; few have any.
pub type Signs = SmallVec<[Sign; 2]>;

/// In a word, as it is stored and logged.
impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contact => "contact",
            Self::Port => "port",
            Self::Via => "via",
            Self::Received => "received",
            Self::Session => "session",
            Self::Length => "length",
        })
    }
}

/// Whether an address means something only within its own network (RFC 1918, RFC 6598, RFC 3927,
/// RFC 4193, RFC 4291 §2.5.6).
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// What a request says about the way that it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whether that is the way that its sender believes.
    pub reach: Reach,
    /// What a SIP ALG left behind. A phone that asked a STUN server writes its router's address too,
    /// but not into one place alone.
    pub signs: Signs,
}

impl Seen {
    /// Of a request from `source`.
    pub fn of(request: &Message, source: SocketAddr) -> Self {
        let said = Said::by(request);
        Self { reach: reach(&said, source), signs: signs(&said, request, source) }
    }
}

fn reach(said: &Said, source: SocketAddr) -> Reach {
    let is_elsewhere =
        |said: Option<IpAddr>| said.is_some_and(|said| said != source.ip().to_canonical());
    let contact_port = said.contact.and_then(|(ip, port)| ip.map(|_| port));
    match is_elsewhere(said.via)
        || is_elsewhere(said.contact.and_then(|(ip, _)| ip))
        || contact_port.is_some_and(|port| port != source.port())
        || said.call_id.is_some_and(|ip| is_private(ip) && is_elsewhere(Some(ip)))
    {
        true => Reach::BehindNat,
        false => Reach::Direct,
    }
}

/// Whether a phone is where its Contact says, of what was stored: only that is left to tell.
pub fn reach_of(contact: &str, source: SocketAddr) -> Reach {
    let Ok(uri) = Uri::parse(contact) else { return Reach::Direct };
    let here = (source.ip().to_canonical(), source.port());
    match ip(uri.host).map(|ip| (ip.to_canonical(), uri.port.unwrap_or(5060))) {
        Some(said) if said != here => Reach::BehindNat,
        Some(_) | None => Reach::Direct,
    }
}

fn signs(said: &Said, request: &Message, source: SocketAddr) -> Signs {
    let mut signs = Signs::new();
    let router = source.ip().to_canonical();
    let is_router = |said: Option<IpAddr>| said == Some(router);
    // With a proxy in between nothing here is the phone's, and in one network there is no router.
    if is_private(router) || router.is_loopback() || request.vias().nth(1).is_some() {
        return signs;
    }
    let own = |said: Option<IpAddr>| said.is_some_and(is_private);
    let contact = said.contact.and_then(|(ip, _)| ip);
    if is_router(contact) && is_router(said.via) && own(said.call_id) {
        signs.push(Sign::Contact);
        if said.contact.is_some_and(|(_, port)| port != source.port()) {
            signs.push(Sign::Port);
        }
    }
    if is_router(said.via) && own(contact) {
        signs.push(Sign::Via);
    }
    if said.is_received {
        signs.push(Sign::Received);
    }
    let body = request.body();
    if let Some((origin, connection)) = addresses_of(&body)
        && is_private(origin)
        && is_router(Some(connection))
    {
        signs.push(Sign::Session);
    }
    if !body.is_empty() && request.behind_body().iter().any(u8::is_ascii_graphic) {
        signs.push(Sign::Length);
    }
    signs
}

/// What a request says about where its sender is.
struct Said {
    via: Option<IpAddr>,
    /// Address, if it is no name, and port.
    contact: Option<(Option<IpAddr>, u16)>,
    call_id: Option<IpAddr>,
    is_received: bool,
}

impl Said {
    fn by(request: &Message) -> Self {
        let via = request.via().ok();
        let contact = match request.contacts() {
            Ok(Contacts::List(contacts)) => contacts.first().and_then(|c| c.uri().ok()),
            Ok(Contacts::None | Contacts::Star) | Err(_) => None,
        };
        let canonical = |ip: IpAddr| ip.to_canonical();
        let call_id = request.call_id().ok().and_then(|id| id.rsplit_once('@'));
        Self {
            via: via.as_ref().and_then(Via::ip).map(canonical),
            contact: contact.map(|uri| (ip(uri.host).map(canonical), uri.port.unwrap_or(5060))),
            call_id: call_id.and_then(|(_, host)| ip(host)).map(canonical),
            is_received: via.is_some_and(|via| {
                via.received().is_some() || matches!(via.rport(), Rport::Port(_))
            }),
        }
    }
}

/// The addresses of a description's origin and of its connection, which whoever wrote it has from
/// the same place (RFC 8866 §5.2, §5.7).
fn addresses_of(body: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.starts_with("v="))?;
    let session = text.lines().take_while(|line| !line.starts_with("m="));
    let (mut origin, mut connection) = (None, None);
    for line in session {
        let last = || line.split_ascii_whitespace().next_back().and_then(ip);
        match line.as_bytes() {
            [b'o', b'=', ..] => origin = last(),
            [b'c', b'=', ..] => connection = last(),
            _ => {}
        }
    }
    Some((origin?.to_canonical(), connection?.to_canonical()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ROUTER: &str = "203.0.113.101:40001";

    struct Request<'a> {
        via: &'a str,
        contact: &'a str,
        call_id: &'a str,
        body: &'a str,
    }

    /// A phone at 192.168.1.10 that knows nothing of its router.
    const PLAIN: Request<'_> = Request {
        via: "192.168.1.10:5060;rport;branch=z9hG4bKa",
        contact: "sip:101@192.168.1.10:5060",
        call_id: "c@192.168.1.10",
        body: "",
    };

    fn message(request: &Request<'_>) -> Message {
        let Request { via, contact, call_id, body } = request;
        let length = body.split("|").next().unwrap().replace('\n', "\r\n").len();
        let body = body.replace('|', "");
        let text = format!(
            "REGISTER sip:acme.test SIP/2.0\nVia: SIP/2.0/UDP {via}\nFrom: <sip:101@acme.test>;tag=1\n\
             To: <sip:101@acme.test>\nCall-ID: {call_id}\nCSeq: 1 REGISTER\nContact: <{contact}>\n\
             Content-Type: application/sdp\nContent-Length: {length}\n\n{body}"
        );
        Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
    }

    fn reached(request: &Request<'_>, source: &str) -> Reach {
        Seen::of(&message(request), source.parse().unwrap()).reach
    }

    fn found(request: &Request<'_>) -> String {
        let signs = Seen::of(&message(request), ROUTER.parse().unwrap()).signs;
        signs.iter().map(Sign::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_phone_is_behind_a_nat_if_any_place_says_that_it_is_elsewhere() {
        assert_eq!(reached(&PLAIN, "192.168.1.10:5060"), Reach::Direct);
        assert_eq!(reached(&PLAIN, "[::ffff:192.168.1.10]:5060"), Reach::Direct);
        assert_eq!(reached(&PLAIN, "192.168.1.10:5061"), Reach::BehindNat);
        assert_eq!(reached(&PLAIN, ROUTER), Reach::BehindNat);
        let stun = Request { contact: "sip:101@203.0.113.101:40001", ..PLAIN };
        assert_eq!(reached(&stun, ROUTER), Reach::BehindNat);
        let learned = Request { via: "203.0.113.101:40001;branch=z9hG4bKa", ..stun };
        assert_eq!(reached(&learned, ROUTER), Reach::BehindNat, "its Call-ID tells");
        let public = Request { call_id: "c", ..learned };
        assert_eq!(reached(&public, ROUTER), Reach::Direct);
        let named = Request { contact: "sip:101@phone.invalid", ..public };
        assert_eq!(reached(&named, ROUTER), Reach::Direct);
    }

    #[test]
    fn of_what_was_stored_the_contact_tells() {
        let of = |contact: &str| reach_of(contact, "203.0.113.101:5060".parse().unwrap());
        assert_eq!(of("sip:101@203.0.113.101"), Reach::Direct);
        assert_eq!(of("sip:101@203.0.113.101:5062"), Reach::BehindNat);
        assert_eq!(of("sip:101@192.168.1.10;transport=udp"), Reach::BehindNat);
        assert_eq!(of("sip:101@phone.invalid"), Reach::Direct);
    }

    #[test]
    fn a_plain_nat_and_a_phone_with_stun_are_no_alg() {
        assert_eq!(found(&PLAIN), "");
        let stun = Request { contact: "sip:101@203.0.113.101:40001", ..PLAIN };
        assert_eq!(found(&stun), "");
        let all = Request { via: "203.0.113.101:40001", call_id: "c", ..stun };
        assert_eq!(found(&all), "");
        let proxied =
            Request { via: "203.0.113.101, SIP/2.0/UDP 192.168.1.10;received=1.2.3.4", ..PLAIN };
        assert_eq!(found(&proxied), "");
    }

    #[test]
    fn an_alg_is_seen_by_what_it_forgot() {
        let rewritten = Request {
            via: "203.0.113.101:40001;branch=z9hG4bKa",
            contact: "sip:101@203.0.113.101:40001",
            ..PLAIN
        };
        assert_eq!(found(&rewritten), "contact");
        let other_port = Request { contact: "sip:101@203.0.113.101:5060", ..rewritten };
        assert_eq!(found(&other_port), "contact port");
        assert_eq!(found(&Request { contact: PLAIN.contact, ..rewritten }), "via");
        for received in ["received=203.0.113.101", "rport=40001"] {
            let via = format!("192.168.1.10;{received}");
            assert_eq!(found(&Request { via: &via, ..PLAIN }), "received");
        }
    }

    #[test]
    fn a_description_that_contradicts_itself_was_rewritten() {
        let body = "v=0\no=- 1 1 IN IP4 192.168.1.10\ns=-\nc=IN IP4 203.0.113.101\nt=0 0\n\
                    m=audio 4000 RTP/AVP 0\n";
        assert_eq!(found(&Request { body, ..PLAIN }), "session");
        let own = body.replace("203.0.113.101", "192.168.1.10");
        assert_eq!(found(&Request { body: &own, ..PLAIN }), "");
        // ICE and STUN write the way to one stream where that stream is described.
        let of_stream = format!("{own}c=IN IP4 203.0.113.101\n");
        assert_eq!(found(&Request { body: &of_stream, ..PLAIN }), "");
        let longer = "v=0\no=- 1 1 IN IP4 192.168.1.10\ns=-\nt=0 0\nm=audio 40|00 RTP/AVP 0\n";
        assert_eq!(found(&Request { body: longer, ..PLAIN }), "length");
        let padded = "v=0\no=- 1 1 IN IP4 192.168.1.10\ns=-\nt=0 0\n|\n\n";
        assert_eq!(found(&Request { body: padded, ..PLAIN }), "");
    }

    #[test]
    fn private_means_private() {
        for text in ["10.1.2.3", "172.31.0.1", "192.168.0.1", "100.64.0.1", "169.254.1.1"] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["fd00::1", "fe80::1", "::ffff:10.0.0.1"] {
            assert!(is_private(text.parse().unwrap()), "{text}");
        }
        for text in ["172.32.0.1", "100.128.0.1", "203.0.113.1", "127.0.0.1", "2001:db8::1"] {
            assert!(!is_private(text.parse().unwrap()), "{text}");
        }
    }
}
