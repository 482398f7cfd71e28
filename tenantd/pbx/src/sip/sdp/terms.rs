//! What a phone and we have agreed on, once an offer and its answer are there.
//!
//! RFC 3264 §6.1 and §7, RFC 4568 §5.1.2, RFC 5763 §5, RFC 5761 §5.1.1. What each may send stands in
//! the description of whoever receives it; which of the offered things hold stands in the answer.

use super::format::{Carries, Format};
use super::shield::{Setup, Unfit};
use super::{Description, Direction};
use crate::media::{Codec, CodecKind, DtlsRole, Ice, Protection, Reception, Reports, Terms};

/// Codecs that media is told of; what stands later in a list is not used.
const MOST: usize = 16;

/// Who of the two made the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offerer {
    /// We did.
    We,
    /// The phone did.
    They,
}

/// What the two descriptions of one leg agree on; `None` if there is no sound, or one of them is
/// beyond what we understand: packets are passed on as they are.
pub fn terms(
    ours: &Description,
    theirs: &Description,
    offerer: Offerer,
) -> Result<Option<Terms>, Unfit> {
    let (offer, answer) = match offerer {
        Offerer::We => (ours, theirs),
        Offerer::They => (theirs, ours),
    };
    if offer.profile().is_none() || answer.profile().is_none() {
        return Ok(None);
    }
    if !ours.is_live() || !theirs.is_live() {
        return Ok(None);
    }
    let (Some(offered), Some(taken)) = (offer.formats(), answer.formats()) else {
        return Ok(None);
    };
    let pairs: Vec<(&Format, &Format)> =
        taken.iter().filter_map(|format| Some((format.like(&offered)?, format))).collect();
    let numbers = |(offered, taken): &(&Format, &Format)| match offerer {
        Offerer::We => (taken.payload, offered.payload),
        Offerer::They => (offered.payload, taken.payload),
    };
    let of = |what: Carries| pairs.iter().filter(move |(format, _)| format.carries() == what);
    let codecs: Vec<Codec> = of(Carries::Sound)
        .chain(of(Carries::Packets))
        .take(MOST)
        .map(|pair| {
            let (to_peer, from_peer) = numbers(pair);
            let said = if offerer == Offerer::We { pair.1 } else { pair.0 };
            Codec { kind: kind(said, pair.1), to_peer, from_peer }
        })
        .collect();
    let Some((first, _)) = of(Carries::Sound).next() else { return Ok(None) };
    let at_clock = |what: Carries| {
        let same = of(what).find(|(format, _)| format.clock() == first.clock());
        same.or_else(|| of(what).next())
    };
    let events = at_clock(Carries::Events);
    let within = ours.takes_reports_within() && theirs.takes_reports_within();
    Ok(Some(Terms {
        codecs,
        events: events.map(|pair| numbers(pair).0),
        events_clock: events.and_then(|(format, _)| format.clock()).unwrap_or(8_000),
        comfort_noise: at_clock(Carries::Noise).map(|pair| numbers(pair).0),
        ptime: theirs.ptime(),
        reception: reception(ours, theirs),
        protection: protection(ours, theirs, offerer)?,
        reports: if within { Reports::Within } else { Reports::Beside },
    }))
}

/// The peer is sent sound if it says that it receives and we that we send.
fn reception(ours: &Description, theirs: &Description) -> Reception {
    let receives = |direction| matches!(direction, Direction::SendRecv | Direction::RecvOnly);
    match receives(theirs.direction()) && receives(ours.direction().mirrored()) {
        true => Reception::Wanted,
        false => Reception::Unwanted,
    }
}

/// A codec, as `said` by the peer; one that is only passed on is known by its name in the `answer`.
fn kind(said: &Format, answer: &Format) -> CodecKind {
    let is_on = |name: &str| said.parameter(name) == Some("1");
    match said.map.as_str() {
        "pcmu/8000" => CodecKind::Pcmu,
        "pcma/8000" => CodecKind::Pcma,
        "g722/8000" => CodecKind::G722,
        "opus/48000/2" => CodecKind::Opus {
            stereo: is_on("stereo"),
            fec: is_on("useinbandfec"),
            most: said.parameter("maxaveragebitrate").and_then(|bits| bits.parse().ok()),
        },
        map => {
            let fmtp = answer.fmtp.as_deref().map(|fmtp| format!(" {fmtp}")).unwrap_or_default();
            let map = format!("{map}{fmtp}").chars().take(256).collect();
            CodecKind::Other { map }
        }
    }
}

fn protection(
    ours: &Description,
    theirs: &Description,
    offerer: Offerer,
) -> Result<Protection, Unfit> {
    let (offer, answer) = match offerer {
        Offerer::We => (ours, theirs),
        Offerer::They => (theirs, ours),
    };
    if let Some(taken) = answer.cryptos().into_iter().next() {
        let matches = |line: &super::crypto::Crypto| {
            line.tag == taken.tag && line.key.suite == taken.key.suite
        };
        let offered = offer.cryptos().into_iter().find(matches).ok_or(Unfit::Encrypted)?;
        let (ours, theirs) = match offerer {
            Offerer::We => (offered.key, taken.key),
            Offerer::They => (taken.key, offered.key),
        };
        return Ok(Protection::Sdes { ours, theirs });
    }
    let offered = offer.handshake().zip(answer.handshake());
    let Some((offered, taken)) = offered else {
        let demanded = offer.profile().is_none_or(|profile| !profile.is_plain());
        return if demanded { Err(Unfit::NotEncrypted) } else { Ok(Protection::Plain) };
    };
    let they_ask = match (offerer, taken.setup) {
        (Offerer::We, Setup::Active) | (Offerer::They, Setup::Passive) => true,
        (Offerer::We, Setup::Passive) | (Offerer::They, Setup::Active) => false,
        (_, Setup::ActPass) => return Err(Unfit::Encrypted),
    };
    let fingerprint = match offerer {
        Offerer::We => taken.fingerprint,
        Offerer::They => offered.fingerprint,
    };
    let ice = ours.own_ice().zip(theirs.ice()).map(|(ours, theirs)| Ice { ours, theirs });
    let role = if they_ask { DtlsRole::Server } else { DtlsRole::Client };
    Ok(Protection::Dtls { role, fingerprint, ice })
}
