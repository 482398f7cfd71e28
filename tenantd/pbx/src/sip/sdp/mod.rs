//! What two phones say about their sound: read from the one, written for the other as our own word.
//!
//! RFC 8866 (the text), RFC 3264 (what it means between two sides). A call has two legs, and each has
//! an offer and an answer of its own (RFC 7092); what the phones say passes from one to the other
//! as far as it means the same to both, and the rest is between each phone and us:
//!
//! * `read`: a description is kept as it came, and each file here reads its part of it: `format` the
//!   codecs, `crypto` keys, `shield` profile, certificate and ICE, `direction` who is heard.
//! * `offer`: what B is offered is what A said. A's codecs stand first, in A's order and under A's
//!   numbers, with A's parameters; then those that we could convert and A lacks, and events at the
//!   clocks in use. A's protection is left out, and B's own is written by how B may be called.
//! * `answer`: what A is answered is what B said. If B's first codec is one of A's, A's answer is
//!   what both have, in B's order, with B's parameters: nothing is converted, and what we do not
//!   know passes. Else it is the best of A's codecs that we can convert.
//! * `terms`: each pair, once complete, is what media works by: numbers both ways, events, packet
//!   length, protection, reports. Keys are read from the pair itself; ours come from the leg's seed
//!   (`own`), so that a hold, a refresh or a restart changes none.
//!
//! A description that we do not understand (another profile, formats that are no numbers, no port)
//! passes as it is, with our address in it, and then there are no terms. Video is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sdp_types::{Attribute, Connection, Media, Origin, Session};
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod answer;
mod crypto;
mod direction;
mod format;
mod offer;
mod own;
#[cfg(test)]
mod phones;
mod shield;
mod terms;

pub use crypto::name_of;
pub use direction::Direction;
pub use format::Numbers;
pub use offer::{End, Held};
pub use own::Seed;
pub use shield::{Check, Keys, Manner, Profile, Rules, Shield, Srtp, Unfit};
pub use terms::{Offerer, terms};

use format::Format;

/// The longest description that is read: a generous phone needs 3 KiB.
pub const LONGEST: usize = 16 * 1024;

/// Attributes that name the sender's own sockets and keys, or tie streams to each other.
const END_TO_END: [&str; 20] = [
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
    "mid",
    "msid-semantic",
    "crypto",
    "fingerprint",
    "setup",
    "tls-id",
    "dtls-id",
    "connection",
    "key-mgmt",
];

/// A session description with at least one audio stream, the first of which is relayed.
#[derive(Clone, PartialEq)]
pub struct Description {
    session: Session,
    audio: usize,
}

/// Nothing of what it says: there may be keys in it.
impl fmt::Debug for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Description({} {})", self.media().proto, self.media().fmt)
    }
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
    /// Where it receives RTP; `None` if it named no address, or refused the stream. Whoever speaks ICE
    /// may name 0.0.0.0: it wants sound, and checks say where.
    pub rtp: Option<SocketAddr>,
    /// Where it receives RTCP.
    pub rtcp: Option<SocketAddr>,
    /// Which way sound flows, as it sees it.
    pub direction: Direction,
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
        let named = self.address().filter(|ip| !ip.is_unspecified());
        // A browser that may not tell its addresses has none to write, ever (RFC 8828 §5.2).
        let checked = self.own_ice().map(|_| Ipv4Addr::UNSPECIFIED.into());
        let address = named.or(checked).filter(|_| media.port != 0);
        let rtp = address.map(|ip| SocketAddr::new(ip, media.port));
        Sound { rtp, rtcp: rtp.and_then(|rtp| self.rtcp(rtp)), direction: self.direction() }
    }

    /// The same description with our end of the stream in it, and nothing that is only between its
    /// sender and us.
    pub fn anchored(&self, anchor: &Anchor) -> String {
        Self { session: self.relayed(anchor), audio: self.audio }.text()
    }

    /// As it is sent.
    pub fn text(&self) -> String {
        let mut text = Vec::with_capacity(1_024);
        self.session.write(&mut text).expect("writing to memory cannot fail");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A description of ours under a later number.
    #[must_use]
    pub fn numbered(mut self, version: u64) -> Self {
        self.session.origin.sess_version = version;
        self
    }

    /// Notes what its numbers stand for.
    pub fn note_numbers(&self, numbers: &mut Numbers) {
        if let Some(formats) = self.formats() {
            format::note(numbers, &formats);
        }
    }

    fn relayed(&self, anchor: &Anchor) -> Session {
        let mut session = self.session.clone();
        let direction = self.direction();
        let here = Connection::from_ip_addr(anchor.address);
        session.origin = Origin::with_ip_addr(anchor.session, anchor.version, anchor.address);
        session.session_name = "-".to_owned();
        session.connection = Some(here);
        (session.session_description, session.uri) = (None, None);
        (session.emails, session.phones) = (Vec::new(), Vec::new());
        session.key = None;
        strip(&mut session.attributes);
        for (index, media) in session.medias.iter_mut().enumerate() {
            media.connections.clear();
            media.key = None;
            strip(&mut media.attributes);
            media.port = if index == self.audio && media.port != 0 { anchor.port } else { 0 };
            if index == self.audio && Direction::of(&media.attributes) != Some(direction) {
                media.attributes.retain(|a| Direction::of(std::slice::from_ref(a)).is_none());
                media.attributes.push(Attribute::new(direction.name()));
            }
        }
        session
    }

    /// The stream that is relayed.
    fn media(&self) -> &Media {
        &self.session.medias[self.audio]
    }

    /// Whether there is a stream at all.
    fn is_live(&self) -> bool {
        self.media().port != 0
    }

    /// The stream's codecs, if we can judge them.
    fn formats(&self) -> Option<Vec<Format>> {
        Format::all_of(self.media())
    }

    /// What is said of the stream, or of all.
    fn value(&self, name: &'static str) -> Option<&str> {
        let own = self.media().get_first_attribute_value(name);
        own.or_else(|| self.session.get_first_attribute_value(name)).flatten()
    }

    /// How much sound a packet for it shall hold, in milliseconds, as far as we make such packets.
    fn ptime(&self) -> u8 {
        let number = |name| self.value(name).and_then(|text| text.trim().parse::<u16>().ok());
        let most = number("maxptime").unwrap_or(60);
        let wished = number("ptime").unwrap_or(20).min(most);
        [60, 40, 30, 20].into_iter().find(|length| u16::from(*length) <= wished).unwrap_or(10)
    }

    /// The description that answers this one with all that it offers: who only sends is heard.
    pub fn mirrored(&self) -> Self {
        self.directed(self.direction().mirrored())
    }

    /// The same from somebody who sends something, if it was to neither send nor take.
    pub fn sending(&self) -> Self {
        match self.direction() {
            Direction::Inactive => self.directed(Direction::SendOnly),
            Direction::SendRecv | Direction::SendOnly | Direction::RecvOnly => self.clone(),
        }
    }

    fn directed(&self, direction: Direction) -> Self {
        let mut directed = self.clone();
        for attributes in
            [&mut directed.session.attributes, &mut directed.session.medias[self.audio].attributes]
        {
            attributes.retain(|a| Direction::of(std::slice::from_ref(a)).is_none());
        }
        let media = &mut directed.session.medias[self.audio];
        media.attributes.push(Attribute::new(direction.name()));
        directed
    }

    /// What the media says, else the session; an address of 0.0.0.0 is the old way to hold
    /// (RFC 2543 Appendix B.5, RFC 3264 §8.4).
    fn direction(&self) -> Direction {
        let media = &self.session.medias[self.audio];
        let said = Direction::of(&media.attributes)
            .or_else(|| Direction::of(&self.session.attributes))
            .unwrap_or(Direction::SendRecv);
        let address = self.address();
        // Whoever speaks ICE finds its address later, and writes none meanwhile (RFC 8840 §4.1.1).
        let holds = address.is_some_and(|ip| ip.is_unspecified()) && self.own_ice().is_none();
        match (said, holds) {
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
