//! Who claims to be the peer: a few sources, each with how steady its stream is.
//!
//! A bounded table, because anybody can send to an open port. An expected source displaces a
//! foreign one; among equals, whoever is steady stays and a newcomer waits until a place is stale.

use std::net::SocketAddr;
use std::time::Duration;

use pbx::moment::Moment;

use crate::latch::{Proof, Rank};
use crate::rtp::Header;

/// How many sources are watched.
const PLACES: usize = 4;
/// After this long without a packet a source's streak is over, and its place free.
const STALE_AFTER: Duration = Duration::from_millis(500);
/// How many lost packets a streak survives.
const MAY_BE_LOST: u16 = 10;
/// How far a stream may have come since it was last heard (MAX_DROPOUT of RFC 3550 A.1: a minute).
const MAY_BE_AWAY: u16 = 3_000;

/// How far a stream has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Track {
    pub(crate) source: SocketAddr,
    pub(crate) heard_at: Moment,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

/// How a packet follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ahead,
    Late,
    Elsewhere,
}

impl Track {
    /// A stream that begins with this packet.
    pub(crate) fn new(now: Moment, source: SocketAddr, header: &Header) -> Self {
        let Header { ssrc, sequence, timestamp, .. } = *header;
        Self { source, heard_at: now, ssrc, sequence, timestamp }
    }

    /// The next packet from the same source; whatever it is, it is where the stream is now.
    pub(crate) fn advance(&mut self, now: Moment, header: &Header) {
        match self.step(header, MAY_BE_AWAY) {
            Step::Late => self.heard_at = now,
            Step::Ahead | Step::Elsewhere => *self = Self::new(now, self.source, header),
        }
    }

    fn step(&self, header: &Header, window: u16) -> Step {
        let ahead = header.sequence.wrapping_sub(self.sequence);
        let later = header.timestamp.wrapping_sub(self.timestamp);
        match ahead {
            _ if header.ssrc != self.ssrc => Step::Elsewhere,
            // Packets of one event carry the same timestamp (RFC 4733 §2.5.1).
            1.. if ahead <= window && later < 1 << 31 => Step::Ahead,
            0 => Step::Late,
            _ if ahead.wrapping_neg() <= window => Step::Late,
            _ => Step::Elsewhere,
        }
    }
}

/// The sources that claim to be the peer.
#[derive(Debug, Default)]
pub(crate) struct Contest {
    claims: [Option<Claim>; PLACES],
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    track: Track,
    since: Moment,
    streak: u16,
    rank: Rank,
    origin: Origin,
}

/// Whether a claim began as the continuation of the stream that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    SameStream,
    Other,
}

/// How a claim stands after its latest packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    claim: Claim,
    leads: bool,
}

impl Contest {
    /// Forgets everybody.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A packet of a claimant; `None` if it finds no place.
    pub(crate) fn enter(
        &mut self,
        now: Moment,
        source: SocketAddr,
        header: &Header,
        rank: Rank,
        believed: Option<&Track>,
    ) -> Option<Standing> {
        let place = self.place(now, source, rank)?;
        let claim = match self.claims.get(place).copied().flatten() {
            Some(claim) if claim.track.source == source && !claim.is_stale(now) => {
                claim.after(now, header, rank, believed)
            }
            Some(_) | None => Claim::new(now, source, header, rank, believed),
        };
        *self.claims.get_mut(place)? = Some(claim);
        Some(Standing { claim, leads: self.leads(now, &claim) })
    }

    /// Its own place, else a free one, else the least deserving one's.
    fn place(&self, now: Moment, source: SocketAddr, rank: Rank) -> Option<usize> {
        let own = |claim: &Option<Claim>| claim.is_some_and(|c| c.track.source == source);
        let free = |claim: &Option<Claim>| claim.is_none_or(|c| c.is_stale(now));
        let worse = || {
            let claims = self.claims.iter().enumerate();
            let claims = claims.filter_map(|(place, claim)| Some((place, claim.as_ref()?)));
            let (place, least) = claims.min_by_key(|(_, claim)| (claim.rank, claim.streak))?;
            (least.rank < rank).then_some(place)
        };
        let own = self.claims.iter().position(own);
        own.or_else(|| self.claims.iter().position(free)).or_else(worse)
    }

    /// Whether nobody with a fresh claim has a better one.
    fn leads(&self, now: Moment, claim: &Claim) -> bool {
        let rivals = self.claims.iter().flatten();
        let mut rivals =
            rivals.filter(|c| c.track.source != claim.track.source && !c.is_stale(now));
        rivals.all(|rival| rival.strength() <= claim.strength())
    }
}

impl Claim {
    fn new(
        now: Moment,
        source: SocketAddr,
        header: &Header,
        rank: Rank,
        believed: Option<&Track>,
    ) -> Self {
        let origin = match believed.map(|track| track.step(header, MAY_BE_AWAY)) {
            Some(Step::Ahead) => Origin::SameStream,
            Some(Step::Late | Step::Elsewhere) | None => Origin::Other,
        };
        Self { track: Track::new(now, source, header), since: now, streak: 1, rank, origin }
    }

    fn after(mut self, now: Moment, header: &Header, rank: Rank, believed: Option<&Track>) -> Self {
        match self.track.step(header, MAY_BE_LOST) {
            Step::Ahead => {
                self.track.advance(now, header);
                Self { streak: self.streak.saturating_add(1), rank, ..self }
            }
            Step::Late => Self { rank, ..self },
            Step::Elsewhere => Self::new(now, self.track.source, header, rank, believed),
        }
    }

    fn is_stale(&self, now: Moment) -> bool {
        now.since(self.track.heard_at) >= STALE_AFTER
    }

    /// A steady stream stays ahead of a newcomer of its rank.
    fn strength(&self) -> (Rank, u16) {
        (self.rank, self.streak.min(3))
    }
}

impl Standing {
    /// Whether nobody has a better claim.
    pub(crate) fn leads(&self) -> bool {
        self.leads
    }

    /// Whether it began as the continuation of the stream that is believed.
    pub(crate) fn continues_believed(&self) -> bool {
        self.claim.origin == Origin::SameStream
    }

    /// Packets of one stream, one after the other.
    pub(crate) fn streak(&self) -> u16 {
        self.claim.streak
    }

    /// Whether it has shown that much.
    pub(crate) fn is_steady(&self, proof: Proof) -> bool {
        let Claim { track, since, streak, .. } = &self.claim;
        *streak >= proof.streak && track.heard_at.since(*since) >= proof.over
    }
}
