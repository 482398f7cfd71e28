//! Calls between phones of any kind through a relay alone: encrypted, converted, or very many.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use pbx::chance::Chance;
use pbx::media::{CodecKind, Key, Suite};

use super::{Row, Settings, Verdict, median, talking};
use crate::measure::Measure;
use crate::peers::rtpengine::Rtpengine;
use crate::relays::{Leg, Relay, Who};
use crate::sound::{Ear, Phone, Sealed, Speaking, Speech, Voice};

/// Until streams are known, and phones that stay have sockets of their own.
pub(super) const SETTLES_FOR: Duration = Duration::from_secs(8);
const PROTECTED_CALLS: usize = 200;
const CONVERTED_CALLS: usize = 50;
const CONFERENCES: u64 = 1 << 32;
/// As browsers and newer phones number it.
const OPUS: u8 = 96;

/// What a phone of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// G.711, each packet of which says when it left.
    Plain,
    /// The same, encrypted.
    Sealed(Suite),
    /// G.711 A-law, with somebody who speaks.
    Alaw,
    /// Opus, with somebody who speaks.
    Opus,
}

/// Calls between two kinds of phones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    pub(super) count: usize,
    pub(super) between: [Kind; 2],
}

/// A relay and the phones whose calls it has.
pub(super) struct Stage {
    pub(super) relay: Relay,
    pub(super) phones: Vec<Phone>,
    chance: Chance,
    speech: [Speech; 2],
}

impl Kind {
    pub(super) fn codec(self) -> CodecKind {
        match self {
            Self::Plain | Self::Sealed(_) => CodecKind::Pcmu,
            Self::Alaw => CodecKind::Pcma,
            Self::Opus => CodecKind::Opus { stereo: false, fec: false, most: None },
        }
    }

    fn payload_type(self) -> u8 {
        match self {
            Self::Plain | Self::Sealed(_) => 0,
            Self::Alaw => 8,
            Self::Opus => OPUS,
        }
    }
}

impl Stage {
    /// Starts a relay that has no call yet.
    pub(super) fn start(settings: &Settings, who: Who) -> Outcome<Self> {
        let speech = |kind: Kind| Speech::of(&kind.codec(), kind.payload_type());
        Ok(Self {
            relay: Relay::start(who, &settings.folder.join("relay"))?,
            phones: vec![],
            chance: Chance::from_seed([7; 32]),
            speech: [speech(Kind::Alaw)?, speech(Kind::Opus)?],
        })
    }

    /// Begins calls; of those where somebody speaks, somebody listens to the first.
    pub(super) fn connect(&mut self, calls: Calls) -> Outcome {
        for number in 0..calls.count {
            let (_, phones) = self.begin(calls.between, number == 0)?;
            self.phones.extend(phones);
        }
        Ok(())
    }

    /// Fills conferences of one size: every second member has Opus, the others A-law. The first
    /// `speakers` of each speak, the others' microphones hear nothing but the room.
    pub(super) fn meet(&mut self, conferences: u64, members: u16, speakers: u16) -> Outcome {
        let hush =
            [Kind::Alaw, Kind::Opus].map(|kind| Speech::hush(&kind.codec(), kind.payload_type()));
        let [alaw, opus] = hush;
        let hush = [alaw?, opus?];
        for (conference, seat) in (0..conferences).flat_map(|c| (0..members).map(move |s| (c, s))) {
            let kind = if seat % 2 == 0 { Kind::Alaw } else { Kind::Opus };
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let leg = self.leg(kind, socket.local_addr()?);
            // No call has these numbers.
            let answer = self.relay.enter(CONFERENCES + conference, seat, &leg)?;
            let speech = if seat < speakers { &self.speech } else { &hush };
            let says = speech[usize::from(seat % 2)].clone();
            let hears = kind.payload_type();
            let voice = Voice::Speaking(Box::new(Speaking { says, hears, ear: None }));
            self.phones.push(Phone { socket, target: answer.target, voice });
        }
        Ok(())
    }

    /// Begins a call: its number, and its phones.
    pub(super) fn begin(
        &mut self,
        between: [Kind; 2],
        is_listened_to: bool,
    ) -> Outcome<(u64, Vec<Phone>)> {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let sockets = [bind()?, bind()?];
        let [one, other] = between;
        let legs =
            [self.leg(one, sockets[0].local_addr()?), self.leg(other, sockets[1].local_addr()?)];
        let (call, answers) = self.relay.connect(&legs)?;
        let ends = sockets.into_iter().zip(legs).zip(answers).zip(between);
        let phones = ends.map(|(((socket, leg), answer), kind)| {
            let voice = match (leg.key, answer.key) {
                (Some(ours), Some(theirs)) => Voice::Sealed(Box::new(Sealed::new(&ours, &theirs)?)),
                (_, _) => self.voice(kind, is_listened_to)?,
            };
            Ok(Phone { socket, target: answer.target, voice })
        });
        Ok((call, phones.collect::<Outcome<_>>()?))
    }

    fn leg(&mut self, kind: Kind, at: SocketAddr) -> Leg {
        let key = match kind {
            Kind::Plain | Kind::Alaw | Kind::Opus => None,
            Kind::Sealed(suite) => {
                let mut material = match suite {
                    Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => vec![0; 30],
                    Suite::AeadAes128Gcm => vec![0; 28],
                };
                self.chance.fill(&mut material);
                Some(Key { suite, material })
            }
        };
        Leg { at, codec: kind.codec(), payload_type: kind.payload_type(), key }
    }

    /// What a phone says.
    fn voice(&self, kind: Kind, is_listened_to: bool) -> Outcome<Voice> {
        let [alaw, opus] = &self.speech;
        let says = match kind {
            Kind::Plain | Kind::Sealed(_) => return Ok(Voice::Timed),
            Kind::Alaw => alaw.clone(),
            Kind::Opus => opus.clone(),
        };
        // It hears its own codec: that is what is converted for.
        let ear = is_listened_to.then(|| Ear::of(&kind.codec())).transpose()?;
        Ok(Voice::Speaking(Box::new(Speaking { says, hears: kind.payload_type(), ear })))
    }
}

/// Why there is nobody to compare with, if so.
pub(super) fn missing(settings: &Settings) -> Option<&'static str> {
    match (&settings.before, Rtpengine::is_installed()) {
        (Some(_), _) => Some("an earlier build is not measured here"),
        (None, false) => Some("rtpengine is not installed"),
        (None, true) => None,
    }
}

/// Measures these calls with a relay that has just been started.
pub(super) fn measure(settings: &Settings, who: Who, calls: &[Calls]) -> Outcome<Measure> {
    let mut stage = Stage::start(settings, who)?;
    for calls in calls {
        stage.connect(*calls)?;
    }
    stage.measure(settings, &format!("{who:?} with {calls:?}"))
}

impl Stage {
    /// Lets all phones talk, and counts what that costs.
    pub(super) fn measure(mut self, settings: &Settings, what: &str) -> Outcome<Measure> {
        let trees = [self.relay.tree()];
        let phones = std::mem::take(&mut self.phones);
        let measure = talking::measure(settings, &trees, phones, SETTLES_FOR)?;
        measure.say(what);
        if let Some(counted) = self.relay.counted()? {
            eprintln!("    {counted}");
        }
        if measure.units == 0 {
            return Err(Failure::new(format!("nothing was heard: {what}")));
        }
        Ok(measure)
    }
}
/// Measurements of both sides in turn, the peer first.
pub(super) struct Pairs {
    pub(super) ours: Vec<Measure>,
    pub(super) peer: Vec<Measure>,
    missing: Option<&'static str>,
}

impl Pairs {
    pub(super) fn measure(settings: &Settings, calls: &[Calls]) -> Outcome<Self> {
        let missing = missing(settings);
        let mut pairs = Self { ours: vec![], peer: vec![], missing };
        for _ in 0..settings.pairs {
            if missing.is_none() {
                pairs.peer.push(measure(settings, Who::Rtpengine, calls)?);
            }
            pairs.ours.push(measure(settings, Who::Ours, calls)?);
        }
        Ok(pairs)
    }

    /// The median of what each pair's measurements are to each other.
    pub(super) fn ratio(&self, of: impl Fn(&Measure) -> f64) -> Option<f64> {
        let pairs = self.ours.iter().zip(&self.peer);
        let ratio = median(pairs.map(|(ours, peer)| of(ours) / of(peer)));
        ratio.is_finite().then_some(ratio)
    }

    /// What the peer did, or why nothing.
    pub(super) fn peer_told(&self, told: impl Fn(&[Measure]) -> String) -> String {
        match self.missing {
            Some(why) => why.to_owned(),
            None => format!("rtpengine: {}", told(&self.peer)),
        }
    }
}

/// What went wrong in all of them, in words.
pub(super) fn failures(measures: &[Measure]) -> String {
    let mut all = std::collections::BTreeMap::new();
    for (why, count) in measures.iter().flat_map(|measure| &measure.report.failed) {
        *all.entry(why.as_str()).or_insert(0) += count;
    }
    all.into_iter().map(|(why, count)| format!(", {count} {why}")).collect()
}

/// One side of each call encrypts.
pub(super) fn sealed_once(settings: &Settings) -> Outcome<Vec<Row>> {
    let between = [Kind::Sealed(Suite::AesCm128HmacSha1_80), Kind::Plain];
    protected(settings, "relayed packet, SRTP (AES_CM_128_HMAC_SHA1_80) on one side", between)
}

/// Both do, each with a key of its own. rtpengine hands one phone's key to the other where both have
/// the same suite, and opens nothing then: so the second phone has the shorter tag.
pub(super) fn sealed_twice(settings: &Settings) -> Outcome<Vec<Row>> {
    let between = [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32].map(Kind::Sealed);
    protected(settings, "relayed packet, SRTP on both sides (_80 and _32)", between)
}

/// One side encrypts with what newer phones prefer.
pub(super) fn sealed_with_gcm(settings: &Settings) -> Outcome<Vec<Row>> {
    let between = [Kind::Sealed(Suite::AeadAes128Gcm), Kind::Plain];
    protected(settings, "relayed packet, SRTP (AEAD_AES_128_GCM) on one side", between)
}

fn protected(settings: &Settings, work: &str, between: [Kind; 2]) -> Outcome<Vec<Row>> {
    let pairs = Pairs::measure(settings, &[Calls { count: PROTECTED_CALLS, between }])?;
    let ratio = pairs.ratio(Measure::each);
    let told = |measures: &[Measure]| {
        format!("{:.1} µs{}", median(measures.iter().map(Measure::each)), failures(measures))
    };
    Ok(vec![Row {
        work: format!("{work}, {PROTECTED_CALLS} calls"),
        target: "≤ 0.5 of rtpengine",
        ours: told(&pairs.ours),
        peer: pairs.peer_told(told),
        result: ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        verdict: ratio.map_or(Verdict::Open, |ratio| Verdict::at_most(ratio, 0.5)),
    }])
}

/// So many calls, both ways converted, would keep one core busy.
pub(super) fn converted(settings: &Settings) -> Outcome<Vec<Row>> {
    let between = [Kind::Alaw, Kind::Opus];
    let pairs = Pairs::measure(settings, &[Calls { count: CONVERTED_CALLS, between }])?;
    let calls = |measure: &Measure| {
        let used: Duration = measure.used.trees.iter().map(|(_, used)| *used).sum();
        CONVERTED_CALLS as f64 * measure.used.took.as_secs_f64() / used.as_secs_f64()
    };
    let told = |measures: &[Measure]| {
        format!("{:.0} calls a core{}", median(measures.iter().map(calls)), failures(measures))
    };
    let own = median(pairs.ours.iter().map(calls));
    let ratio = pairs.ratio(calls);
    let is_met = own >= 100.0 && ratio.is_none_or(|ratio| ratio >= 1.0);
    Ok(vec![Row {
        work: format!(
            "G.711 A-law ↔ Opus both ways, {CONVERTED_CALLS} calls, a voice of 20 ms a packet"
        ),
        target: "≥ 100 calls a core, ≥ 1.0 of rtpengine",
        ours: told(&pairs.ours),
        peer: pairs.peer_told(told),
        result: ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        verdict: if is_met { Verdict::Met } else { Verdict::Missed },
    }])
}
