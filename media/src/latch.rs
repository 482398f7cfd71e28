//! Whose packets are believed: phones behind NAT send from elsewhere than they say, and so would a thief.
//!
//! RFC 7362 §4 describes latching, and what goes wrong with it. Our rules:
//!
//! - Until somebody is believed, sound goes to where the SDP says. Whoever sends a steady stream
//!   from there, or from an address we have reason to expect, is believed after a few packets; a
//!   foreigner only after more, and after a second of them if the signalling's address is known.
//! - Packets that come from an expected address are heard from the first one on, so that nobody's
//!   "hello" is cut; a foreigner is heard once its stream is steady and it leads.
//! - Who is believed keeps the stream. It moves when the SDP says so, to a better reason than
//!   it had (the thief who was first loses to the phone), or when the very same stream goes on
//!   from elsewhere after its old source fell silent (a NAT gave it a new port).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pbx::moment::Moment;

use crate::contest::{Contest, Track};
use crate::rtp::Header;

/// How long the source of a stream must be silent before the stream may go on from elsewhere.
const SILENT_AFTER: Duration = Duration::from_millis(200);
/// How long the old source is still heard after the SDP named a new one.
const FORMER_FOR: Duration = Duration::from_secs(1);

/// Where one peer's sound comes from and where ours goes.
#[derive(Debug)]
pub(crate) struct Latch {
    expected: Expected,
    sending: Sending,
    peer: Peer,
    contest: Contest,
}

/// What signalling says about the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Expected {
    /// The last address its SDP named.
    rtp: Option<SocketAddr>,
    /// Where its signalling comes from.
    near: Option<IpAddr>,
    /// Where it was before the SDP changed.
    former: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Wanted,
    Refused,
}

#[derive(Debug)]
enum Peer {
    /// Nobody is believed yet.
    Unknown,
    /// The SDP named a new address; the old one may still be right, if a NAT lies between.
    Former { source: SocketAddr, way: Way, until: Moment },
    /// This one is believed.
    Believed { track: Track, rank: Rank },
}

/// How a peer was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// At the address its SDP named.
    AsSignalled,
    /// Elsewhere: what its SDP names is of no use.
    ThroughNat,
}

/// How good the reason is to believe a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// None but that it sends.
    Foreign,
    /// Its address is the SDP's or the signalling's, the port is another.
    Near,
    /// It is the very address that the SDP names.
    Signalled,
}

/// What to make of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it be heard.
    Believed,
    /// Let it be heard; from now on this is where the peer is.
    Latched,
    /// Not our peer.
    Stranger,
}

impl Default for Latch {
    fn default() -> Self {
        Self {
            expected: Expected::default(),
            sending: Sending::Refused,
            peer: Peer::Unknown,
            contest: Contest::default(),
        }
    }
}

impl Latch {
    /// Signalling says where the peer is. The same address again changes nothing: a phone that
    /// resumes a call is still where it was.
    pub(crate) fn aim(&mut self, now: Moment, rtp: Option<SocketAddr>, near: Option<IpAddr>) {
        self.expected.near = near;
        let Some(named) = rtp.filter(can_be_sent_to) else {
            self.sending = Sending::Refused;
            return;
        };
        self.sending = Sending::Wanted;
        let before = self.expected.rtp.replace(named);
        if before != Some(named) {
            self.reopen(now, before, named);
        }
    }

    fn reopen(&mut self, now: Moment, before: Option<SocketAddr>, named: SocketAddr) {
        let Peer::Believed { track, rank } = &mut self.peer else { return };
        if track.source == named {
            *rank = Rank::Signalled;
            return;
        }
        let way = match before {
            Some(before) if before.ip() == track.source.ip() => Way::AsSignalled,
            Some(_) | None => Way::ThroughNat,
        };
        self.expected.former = Some(track.source.ip());
        self.peer = Peer::Former { source: track.source, way, until: now + FORMER_FOR };
        self.contest.clear();
    }

    /// An RTP packet came.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        source: SocketAddr,
        header: &Header,
    ) -> Verdict {
        match &mut self.peer {
            Peer::Believed { track, .. } if track.source == source => {
                track.advance(now, header);
                Verdict::Believed
            }
            Peer::Former { source: former, until, .. } if *former == source && now < *until => {
                Verdict::Believed
            }
            Peer::Believed { .. } | Peer::Former { .. } | Peer::Unknown => {
                self.challenge(now, source, header)
            }
        }
    }

    fn challenge(&mut self, now: Moment, source: SocketAddr, header: &Header) -> Verdict {
        let Some(rank) = self.expected.rank(source) else { return Verdict::Stranger };
        let believed = match &self.peer {
            Peer::Believed { track, .. } => Some(track),
            Peer::Unknown | Peer::Former { .. } => None,
        };
        let Some(claim) = self.contest.enter(now, source, header, rank, believed) else {
            return Verdict::Stranger;
        };
        let proven = match &self.peer {
            Peer::Unknown | Peer::Former { .. } => claim.is_steady(self.expected.proof(rank)),
            Peer::Believed { track, .. } if claim.continues_believed() => {
                now.since(track.heard_at) >= SILENT_AFTER && claim.is_steady(SAME_STREAM)
            }
            Peer::Believed { rank: held, .. } => {
                rank > *held && claim.is_steady(self.expected.proof(rank))
            }
        };
        let leads = claim.leads();
        if proven && leads {
            self.believe(now, source, header, rank);
            return Verdict::Latched;
        }
        match self.peer {
            Peer::Believed { .. } => Verdict::Stranger,
            Peer::Unknown | Peer::Former { .. } if leads && self.is_heard(rank, claim.streak()) => {
                Verdict::Believed
            }
            Peer::Unknown | Peer::Former { .. } => Verdict::Stranger,
        }
    }

    /// Whether a leader that has proven nothing yet is heard.
    fn is_heard(&self, rank: Rank, streak: u16) -> bool {
        match rank {
            Rank::Signalled | Rank::Near => true,
            Rank::Foreign => self.expected.near.is_none() && streak >= 3,
        }
    }

    fn believe(&mut self, now: Moment, source: SocketAddr, header: &Header, rank: Rank) {
        self.peer = Peer::Believed { track: Track::new(now, source, header), rank };
        self.contest.clear();
    }

    /// Where our sound goes; `None` while the peer wants none.
    pub(crate) fn destination(&self, now: Moment) -> Option<SocketAddr> {
        match (self.sending, &self.peer) {
            (Sending::Refused, _) => None,
            (Sending::Wanted, Peer::Believed { track, .. }) => Some(track.source),
            (Sending::Wanted, Peer::Former { source, way: Way::ThroughNat, until })
                if now < *until =>
            {
                Some(*source)
            }
            (Sending::Wanted, Peer::Former { .. } | Peer::Unknown) => self.expected.rtp,
        }
    }

    /// Who is believed.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match &self.peer {
            Peer::Believed { track, .. } => Some(track.source),
            Peer::Unknown | Peer::Former { .. } => None,
        }
    }

    /// Where the peer's SDP says it is.
    pub(crate) fn signalled(&self) -> Option<SocketAddr> {
        self.expected.rtp
    }

    /// Whether reports from `ip` are the peer's: they come from where its sound comes from.
    pub(crate) fn expects(&self, ip: IpAddr) -> bool {
        match &self.peer {
            Peer::Believed { track, .. } => track.source.ip() == ip,
            Peer::Former { source, .. } if source.ip() == ip => true,
            Peer::Former { .. } | Peer::Unknown => self.expected.is_near(ip),
        }
    }
}

/// What a source must show before it is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof {
    /// Consecutive packets of one stream.
    pub(crate) streak: u16,
    /// Over at least this long, so that a burst fired at every port proves nothing.
    pub(crate) over: Duration,
}

const SAME_STREAM: Proof = Proof { streak: 3, over: Duration::ZERO };

impl Expected {
    /// `None` while nothing is known about the peer: nobody can be told from a stranger.
    fn rank(&self, source: SocketAddr) -> Option<Rank> {
        match self.rtp {
            Some(named) if named == source => Some(Rank::Signalled),
            _ if self.is_near(source.ip()) => Some(Rank::Near),
            Some(_) => Some(Rank::Foreign),
            None => None,
        }
    }

    fn is_near(&self, ip: IpAddr) -> bool {
        let named = self.rtp.map(|named| named.ip());
        [named, self.near, self.former].contains(&Some(ip))
    }

    fn proof(&self, rank: Rank) -> Proof {
        match (rank, self.near) {
            (Rank::Signalled, _) => Proof { streak: 3, over: Duration::ZERO },
            (Rank::Near, _) => Proof { streak: 4, over: Duration::ZERO },
            (Rank::Foreign, None) => Proof { streak: 5, over: Duration::from_millis(30) },
            // A NAT whose signalling and sound leave from different addresses is rare, somebody
            // who tries every port is not.
            (Rank::Foreign, Some(_)) => Proof { streak: 10, over: Duration::from_secs(1) },
        }
    }
}

/// RFC 3264 §8.4 holds with 0.0.0.0, §5.1 refuses with port 0; and no packet of ours goes to many.
pub(crate) fn can_be_sent_to(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let to_all = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !to_all
}
