//! Fuzz body of sound: a call between two phones, as a row of datagrams from friend and foe.
//!
//! The input is a row of steps: one byte that says what happens, one for a length, and so many bytes
//! of a datagram. See `Step`. Phones may have keys and codecs: then a datagram can be sealed before it
//! is sent, so that what is broken in it is found by whoever opened it, and what is sent to a phone
//! with a key must be what that phone can open.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use media::storm::{At, Phone, Readable, Sent, Storm};
use pbx::media::{
    Codec, CodecKind, Cue, Digit, Key, Part, Protection, Reception, Reports, Suite, Terms, Tones,
};

/// Where datagrams come from, and where phones may say that they are.
const PLACES: [&str; 8] = [
    "192.0.2.1:4000",
    "192.0.2.1:4001",
    "192.0.2.1:40000",
    "203.0.113.66:5004",
    "[2001:db8::2]:5000",
    "[2001:db8::2]:5001",
    "[2001:db8::2]:50000",
    "[2001:db8::66]:5004",
];
/// What phones say that want no sound, or mean harm.
const NOWHERE: [&str; 4] = ["0.0.0.0:4000", "192.0.2.1:0", "255.255.255.255:9", "[ff02::1]:9"];
/// How a phone may take part in a conference, and what it may be told there.
const PARTS: [Part; 4] = [Part::Waits, Part::Speaks, Part::Listens, Part::Away];
const CUES: [Cue; 4] = [Cue::AskPin, Cue::WrongPin, Cue::Muted, Cue::Unmuted];
/// In milliseconds.
const PAUSES: [u64; 4] = [0, 20, 300, 20_000];

/// One thing that happens.
enum Step<'a> {
    /// A phone's signalling: the high bit is set, and four places follow in the low bits.
    Aim { phone: Phone, rtp: SocketAddr },
    /// Its codecs and keys: the high bit and that of reports are set, and terms follow.
    Agree { phone: Phone, terms: u8 },
    /// A key that it is to hear, and whether its own tones are listened for: the high bit and that of
    /// sealing are set.
    Press { phone: Phone, key: u8 },
    /// It takes part in a conference, hears a cue there, or leaves and comes again: the high bit and that
    /// of longer pauses are set, and what it does follows.
    Confer { phone: Phone, does: u8 },
    /// A datagram, after a pause.
    Datagram {
        phone: Phone,
        at: At,
        source: SocketAddr,
        bytes: &'a [u8],
        after: Duration,
        how: How,
    },
}

/// How a datagram leaves its phone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AsItIs,
    Sealed,
}

/// Plays the row; panics if anything is not as it must be. Returns how many were sent on.
pub(crate) fn play(row: &[u8]) -> usize {
    let mut storm = Storm::begin();
    let (mut came, mut sent, mut made) = (0, 0, 0);
    let mut gone = Vec::new();
    let mut known: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut rest = row;
    while let Some((step, after)) = read(rest) {
        rest = after;
        match step {
            Step::Aim { phone, rtp } => {
                let rtcp = rtp.port().checked_add(1).map(|port| SocketAddr::new(rtp.ip(), port));
                known.extend([Some(rtp), rtcp].into_iter().flatten());
                storm.aim(phone, Some(rtp), rtcp, Some(rtp.ip()));
            }
            Step::Agree { phone, terms: number } => storm.agree(phone, terms(phone, number)),
            Step::Press { phone, key } => {
                let tones = if key & 0x80 == 0 { Tones::Ignored } else { Tones::Heard };
                storm.listen(phone, tones);
                if let Some(digit) = Digit::from_event(key & 0x1f) {
                    storm.press(phone, digit, 60);
                }
            }
            Step::Confer { phone, does } => match does >> 2 & 3 {
                0 | 1 => storm.mix(phone, PARTS[usize::from(does & 3)]),
                2 => storm.cue(phone, CUES[usize::from(does & 3)]),
                _ => gone.push(storm.come_again(phone)),
            },
            Step::Datagram { phone, at, source, bytes, after, how } => {
                made += check(&known, &storm.wait(after));
                came += 1;
                // Reports go to the port above of whoever is believed.
                let above = source.port().checked_add(1);
                known.extend(above.map(|port| SocketAddr::new(source.ip(), port)));
                known.insert(source);
                let sealed = match how {
                    How::AsItIs => bytes.to_vec(),
                    How::Sealed => storm.seal(phone, bytes),
                };
                sent += check(&known, &storm.handle_datagram(phone, at, source, &sealed));
            }
        }
    }
    made += check(&known, &storm.wait(Duration::from_millis(100)));
    gone.extend(storm.end());
    let heard = gone;
    let counted: u64 = heard.iter().map(|heard| heard.packets + heard.strangers).sum();
    assert!(counted <= came, "{counted} counted, {came} came");
    for heard in heard {
        assert!(heard.jitter_ms.is_none_or(|jitter| jitter.is_finite() && jitter >= 0.0));
        assert!(heard.round_trip_ms.is_none_or(|trip| trip.is_finite() && trip >= 0.0));
        assert!(heard.opinion.is_none_or(|opinion| (1.0..=4.5).contains(&opinion)));
        assert_eq!(heard.lost.is_some(), heard.packets > 0);
        assert!(heard.forged <= heard.strangers);
    }
    sent + made
}

/// What is sent goes to whoever said a word, by the way that it has, and so that it can read it.
fn check(known: &BTreeSet<SocketAddr>, all: &[Sent]) -> usize {
    for Sent { phone, to, readable } in all {
        assert!(known.contains(to), "{to} never said a word");
        assert_eq!(to.is_ipv4(), *phone == Phone::Ada, "{to} cannot be reached from there");
        assert!(to.port() > 0 && !to.ip().is_unspecified() && !to.ip().is_multicast());
        assert_eq!(*readable, Readable::Yes, "{phone:?} cannot open what it is sent");
    }
    all.len()
}

/// What a phone and we agreed on: two bits for the encryption, one for another key (or one that is
/// awaited), three for codecs, one each for events and for where reports go; without events and with the latter it
/// wants no sound.
fn terms(phone: Phone, number: u8) -> Terms {
    // Nobody has the key of another.
    let own = if phone == Phone::Ada { 0 } else { 4 };
    let key = |whose: u8, suite| {
        let len = if suite == Suite::AeadAes128Gcm { 28 } else { 30 };
        Key { suite, material: vec![own + whose + (number >> 2 & 1); len] }
    };
    let suite = match number & 3 {
        0 => None,
        1 => Some(Suite::AesCm128HmacSha1_80),
        2 => Some(Suite::AesCm128HmacSha1_32),
        _ => Some(Suite::AeadAes128Gcm),
    };
    let opus = CodecKind::Opus { stereo: false, fec: true, most: Some(24_000) };
    let other = CodecKind::Other { map: "ilbc/8000 mode=30".to_owned() };
    let (pcmu, pcma, g722) = ((CodecKind::Pcmu, 0), (CodecKind::Pcma, 8), (CodecKind::G722, 9));
    let codecs = match number >> 3 & 7 {
        0 => vec![pcmu],
        1 => vec![pcma],
        2 => vec![g722],
        3 => vec![(opus, 96)],
        4 => vec![(opus, 111), pcmu],
        5 => vec![pcma, pcmu],
        6 => vec![g722, pcma],
        _ => vec![(other, 97)],
    };
    Terms {
        codecs: codecs
            .into_iter()
            .map(|(kind, number)| Codec { kind, to_peer: number, from_peer: number })
            .collect(),
        events: (number & 0x40 == 0).then_some(101),
        events_clock: 8_000,
        comfort_noise: (number & 0x40 == 0).then_some(13),
        ptime: if number & 4 == 0 { 20 } else { 30 },
        reception: match number & 0xc0 {
            0xc0 => Reception::Unwanted,
            _ => Reception::Wanted,
        },
        protection: match suite {
            None if number & 4 != 0 => Protection::Awaited,
            None => Protection::Plain,
            Some(suite) => Protection::Sdes { ours: key(1, suite), theirs: key(3, suite) },
        },
        reports: if number & 0x80 == 0 { Reports::Beside } else { Reports::Within },
    }
}

fn read(row: &[u8]) -> Option<(Step<'_>, &[u8])> {
    let (&[kind, length], rest) = row.split_first_chunk::<2>()?;
    let phone = if kind & 0x40 == 0 { Phone::Ada } else { Phone::Bob };
    let place = |at: u8| -> SocketAddr {
        let own = if phone == Phone::Ada { 0 } else { 4 };
        PLACES[own + usize::from(at & 3)].parse().unwrap()
    };
    if kind & 0xa0 == 0xa0 {
        return Some((Step::Agree { phone, terms: length }, rest));
    }
    if kind & 0x90 == 0x90 {
        return Some((Step::Press { phone, key: length }, rest));
    }
    if kind & 0x88 == 0x88 {
        return Some((Step::Confer { phone, does: length }, rest));
    }
    if kind & 0x80 != 0 {
        let rtp = match kind & 0x04 {
            0 => place(kind),
            _ => NOWHERE[usize::from(kind & 3)].parse().unwrap(),
        };
        return Some((Step::Aim { phone, rtp }, rest));
    }
    let (bytes, rest) = rest.split_at(usize::from(length).min(rest.len()));
    let at = if kind & 0x20 == 0 { At::Sound } else { At::Reports };
    let after = Duration::from_millis(PAUSES[usize::from(kind >> 2 & 3)]);
    let how = if kind & 0x10 == 0 { How::AsItIs } else { How::Sealed };
    Some((Step::Datagram { phone, at, source: place(kind), bytes, after, how }, rest))
}
