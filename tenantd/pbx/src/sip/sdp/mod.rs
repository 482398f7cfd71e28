//! What two phones say about their sound: read from the one, written for the other with our address.
//!
//! RFC 8866 (the text), RFC 3264 (what it means between two sides). Codecs, DTMF and whatever else
//! the phones agree on pass untouched; addresses, ports and the origin become ours, and what only
//! makes sense end to end (ICE, RFC 8445; bundling, RFC 9143) is left out, because we are the end.

use std::net::{IpAddr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Origin, Session};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest description that is read: a generous phone needs 3 KiB.
pub const LONGEST: usize = 16 * 1024;

/// Attributes that name the sender's own sockets, or tie streams to each other.
const END_TO_END: [&str; 11] = [
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "rtcp",
    "group",
    "bundle-only",
];

/// A session description with at least one audio stream, the first of which is relayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    session: Session,
    audio: usize,
}

/// Why a description is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// It is not a description.
    #[error("the session description cannot be read")]
    Unreadable,
    /// It has no audio stream.
    #[error("the session description has no audio")]
    NoAudio,
}

/// Where and how one side's sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// Where it receives RTP; `None` if it named no address, or refused the stream.
    pub rtp: Option<SocketAddr>,
    /// Where it receives RTCP.
    pub rtcp: Option<SocketAddr>,
    /// Which way sound flows, as it sees it.
    pub direction: Direction,
}

/// Which way sound flows (RFC 3264 §5.1), seen from who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// It only sends: the other is on hold.
    SendOnly,
    /// It only receives.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// Whether the one who says it holds the other.
    pub fn holds(self) -> bool {
        matches!(self, Self::SendOnly | Self::Inactive)
    }

    /// The same, seen from the other side.
    pub fn mirrored(self) -> Self {
        match self {
            Self::SendRecv => Self::SendRecv,
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::Inactive => Self::Inactive,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn of(attributes: &[Attribute]) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| attributes.iter().any(|a| a.attribute == direction.name()))
    }
}

/// Our end of a stream, as the other phone shall see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Our address.
    pub address: IpAddr,
    /// Our RTP port.
    pub port: u16,
    /// The session's number, the same for the life of a leg (RFC 8866 §5.2).
    pub session: u64,
    /// Raised whenever the description changes (RFC 3264 §8).
    pub version: u64,
}

impl Description {
    /// Reads a description.
    pub fn read(body: &[u8]) -> Result<Self, Flaw> {
        if body.len() > LONGEST {
            return Err(Flaw::Unreadable);
        }
        let session = Session::parse(body).map_err(|_| Flaw::Unreadable)?;
        let audio = |m: &Media| m.media.eq_ignore_ascii_case("audio");
        let live = session.medias.iter().position(|m| audio(m) && m.port != 0);
        let first = live.or_else(|| session.medias.iter().position(audio));
        first.map(|audio| Self { session, audio }).ok_or(Flaw::NoAudio)
    }

    /// Where and how this side's sound goes.
    pub fn sound(&self) -> Sound {
        let media = &self.session.medias[self.audio];
        let address = self.address();
        let silent = media.port == 0 || address.is_none_or(|ip| ip.is_unspecified());
        let rtp = address.filter(|_| !silent).map(|ip| SocketAddr::new(ip, media.port));
        Sound { rtp, rtcp: rtp.and_then(|rtp| self.rtcp(rtp)), direction: self.direction() }
    }

    /// The same description with our end of the stream in it.
    pub fn anchored(&self, anchor: &Anchor) -> String {
        let mut session = self.session.clone();
        let direction = self.direction();
        let here = Connection::from_ip_addr(anchor.address);
        session.origin = Origin::with_ip_addr(anchor.session, anchor.version, anchor.address);
        session.session_name = "-".to_owned();
        session.connection = Some(here);
        (session.session_description, session.uri) = (None, None);
        (session.emails, session.phones) = (Vec::new(), Vec::new());
        strip(&mut session.attributes);
        for (index, media) in session.medias.iter_mut().enumerate() {
            media.connections.clear();
            strip(&mut media.attributes);
            media.port = if index == self.audio && media.port != 0 { anchor.port } else { 0 };
            if index == self.audio && Direction::of(&media.attributes) != Some(direction) {
                media.attributes.retain(|a| Direction::of(std::slice::from_ref(a)).is_none());
                media.attributes.push(Attribute::new(direction.name()));
            }
        }
        let mut text = Vec::with_capacity(512);
        session.write(&mut text).expect("writing to memory cannot fail");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The description that answers this one with all that it offers: who only sends is heard.
    pub fn mirrored(&self) -> Self {
        let mut mirrored = self.clone();
        let direction = self.direction().mirrored();
        for attributes in
            [&mut mirrored.session.attributes, &mut mirrored.session.medias[self.audio].attributes]
        {
            attributes.retain(|a| Direction::of(std::slice::from_ref(a)).is_none());
        }
        let media = &mut mirrored.session.medias[self.audio];
        media.attributes.push(Attribute::new(direction.name()));
        mirrored
    }

    /// What the media says, else the session; an address of 0.0.0.0 is the old way to hold
    /// (RFC 2543 Appendix B.5, RFC 3264 §8.4).
    fn direction(&self) -> Direction {
        let media = &self.session.medias[self.audio];
        let said = Direction::of(&media.attributes)
            .or_else(|| Direction::of(&self.session.attributes))
            .unwrap_or(Direction::SendRecv);
        let address = self.address();
        match (said, address.is_some_and(|ip| ip.is_unspecified())) {
            (Direction::SendRecv, true) => Direction::SendOnly,
            (Direction::RecvOnly, true) => Direction::Inactive,
            (said, _) => said,
        }
    }

    /// The address of `c=`, the media's before the session's; a host name is none.
    fn address(&self) -> Option<IpAddr> {
        let media = &self.session.medias[self.audio];
        let connection = media.connections.first().or(self.session.connection.as_ref())?;
        ip(connection.connection_address.split('/').next()?)
    }

    /// RFC 3605: `a=rtcp:53020` or `a=rtcp:53020 IN IP4 126.16.64.4`; else the port above.
    fn rtcp(&self, rtp: SocketAddr) -> Option<SocketAddr> {
        let media = &self.session.medias[self.audio];
        let Some(Some(value)) = media.get_first_attribute_value("rtcp") else {
            return rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
        };
        let mut words = value.split_ascii_whitespace();
        let port = words.next()?.parse().ok().filter(|port| *port != 0)?;
        let ip = words.nth(2).and_then(ip).unwrap_or(rtp.ip());
        Some(SocketAddr::new(ip, port))
    }
}

/// An address as phones write it: the RFC's way, as in a URI, or with the name of a wire that only
/// they know. What is IPv4 in disguise is taken for what it is.
fn ip(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.split('%').next()?;
    address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn strip(attributes: &mut Vec<Attribute>) {
    attributes.retain(|a| !END_TO_END.iter().any(|name| a.attribute.eq_ignore_ascii_case(name)));
}

/// Whether two descriptions that we wrote differ in more than their version.
pub fn differs(before: &str, after: &str) -> bool {
    let rest = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("o=")).map(str::to_owned).collect()
    };
    rest(before) != rest(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 192.168.1.10\r\ns=call\r\nc=IN IP4 192.168.1.10\r\nt=0 0\r\n\
        a=group:BUNDLE 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtcp:4001\r\n\
        a=candidate:1 1 UDP 1 192.168.1.10 4000 typ host\r\na=rtpmap:101 telephone-event/8000\r\n\
        m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";

    #[test]
    fn puts_our_address_in_and_leaves_what_the_phones_agree_on() {
        let read = Description::read(OFFER.as_bytes()).unwrap();
        let text = read.anchored(&anchor(1));
        assert_eq!(
            text,
            "v=0\r\no=- 77 1 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
             m=audio 26000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n\
             m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        );
        let sound = read.sound();
        assert_eq!(sound.rtp, Some("192.168.1.10:4000".parse().unwrap()));
        assert_eq!(sound.rtcp, Some("192.168.1.10:4001".parse().unwrap()));
        assert!(!differs(&text, &read.anchored(&anchor(2))));
    }

    #[test]
    fn understands_both_ways_to_hold() {
        let held = OFFER.replace("IN IP4 192.168.1.10\r\nt", "IN IP4 0.0.0.0\r\nt");
        let read = Description::read(held.as_bytes()).unwrap();
        assert_eq!(read.sound().rtp, None);
        assert!(read.sound().direction.holds());
        assert!(read.anchored(&anchor(1)).contains("a=sendonly\r\n"));
        let modern = OFFER.replace("a=rtcp:4001", "a=inactive");
        let read = Description::read(modern.as_bytes()).unwrap();
        assert_eq!(read.sound().direction, Direction::Inactive);
        assert!(differs(&read.anchored(&anchor(1)), OFFER));
    }

    #[test]
    fn speaks_of_ipv6_as_of_ipv4() {
        let v6 = OFFER
            .replace("IN IP4 192.168.1.10", "IN IP6 2001:db8::10")
            .replace("a=rtcp:4001", "a=rtcp:4001 IN IP6 2001:db8::11");
        let read = Description::read(v6.as_bytes()).unwrap();
        assert_eq!(read.sound().rtp, Some("[2001:db8::10]:4000".parse().unwrap()));
        assert_eq!(read.sound().rtcp, Some("[2001:db8::11]:4001".parse().unwrap()));
        assert!(read.anchored(&anchor(1)).contains("\r\nc=IN IP4 203.0.113.7\r\n"));
        let address = "2001:db8::7".parse().unwrap();
        let ours = read.anchored(&Anchor { address, ..anchor(1) });
        assert!(ours.contains("\r\no=- 77 1 IN IP6 2001:db8::7\r\n"), "{ours}");
        assert!(ours.contains("\r\nc=IN IP6 2001:db8::7\r\n") && !ours.contains("::1"), "{ours}");

        let held = v6.replace("2001:db8::10", "::");
        let read = Description::read(held.as_bytes()).unwrap();
        assert_eq!((read.sound().rtp, read.sound().direction), (None, Direction::SendOnly));
    }

    #[test]
    fn knows_an_address_however_it_is_written() {
        for (written, meant) in [
            ("IP6 [2001:db8::10]", "[2001:db8::10]:4000"),
            ("IP6 fe80::10%eth0", "[fe80::10]:4000"),
            ("IP6 ::ffff:192.0.2.1", "192.0.2.1:4000"),
            ("IP6 ff15::101/3", "[ff15::101]:4000"),
            ("IP4 2001:db8::10", "[2001:db8::10]:4000"),
        ] {
            let offer = OFFER.replace("IP4 192.168.1.10", written);
            let read = Description::read(offer.as_bytes()).unwrap();
            assert_eq!(read.sound().rtp, Some(meant.parse().unwrap()), "{written}");
        }
        let named = OFFER.replace("IP4 192.168.1.10", "IP6 phone.example");
        assert_eq!(Description::read(named.as_bytes()).unwrap().sound().rtp, None);
    }

    #[test]
    fn refuses_what_has_no_sound() {
        assert_eq!(Description::read(b"hello"), Err(Flaw::Unreadable));
        let silent = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\n";
        assert_eq!(Description::read(silent.as_bytes()), Err(Flaw::NoAudio));
        let refused = OFFER.replace("m=audio 4000", "m=audio 0");
        let read = Description::read(refused.as_bytes()).unwrap();
        assert_eq!(read.sound().rtp, None);
        assert!(read.anchored(&anchor(1)).contains("m=audio 0 "));
    }

    #[test]
    fn an_answer_that_takes_all_looks_the_other_way() {
        for (said, answered) in [
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
            ("sendrecv", "sendrecv"),
        ] {
            let offer = OFFER.replace("a=rtcp:4001", &format!("a={said}"));
            let mirrored = Description::read(offer.as_bytes()).unwrap().mirrored();
            let text = mirrored.anchored(&anchor(1));
            assert_eq!(text.matches(&format!("a={answered}\r\n")).count(), 1, "{text}");
            assert!(text.contains("m=audio 26000 RTP/AVP 8 101\r\n"));
        }
    }

    fn anchor(version: u64) -> Anchor {
        let address = "203.0.113.7".parse().unwrap();
        Anchor { address, port: 26_000, session: 77, version }
    }
}
