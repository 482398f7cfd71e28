//! Fuzz body of sound: a call between two phones, as a row of datagrams from friend and foe.
//!
//! The input is a row of steps: one byte that says what happens, one for a length, and so many bytes
//! of a datagram. See `Step`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use media::storm::{At, Phone, Storm};

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
/// In milliseconds.
const PAUSES: [u64; 4] = [0, 20, 300, 20_000];

/// One thing that happens.
enum Step<'a> {
    /// A phone's signalling: the high bit is set, and four places follow in the low bits.
    Aim { phone: Phone, rtp: SocketAddr },
    /// A datagram, after a pause.
    Datagram { phone: Phone, at: At, source: SocketAddr, bytes: &'a [u8], after: Duration },
}

/// Plays the row; panics if anything is not as it must be. Returns how many were sent on.
pub(crate) fn play(row: &[u8]) -> usize {
    let mut storm = Storm::begin();
    let (mut came, mut sent) = (0, 0);
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
            Step::Datagram { phone, at, source, bytes, after } => {
                storm.wait(after);
                came += 1;
                // Reports go to the port above of whoever is believed.
                let above = source.port().checked_add(1);
                known.extend(above.map(|port| SocketAddr::new(source.ip(), port)));
                known.insert(source);
                let Some(to) = storm.handle_datagram(phone, at, source, bytes) else { continue };
                sent += 1;
                assert!(known.contains(&to), "{to} never said a word");
                let family = matches!(phone, Phone::Bob);
                assert_eq!(to.is_ipv4(), family, "{to} cannot be reached from there");
                assert!(to.port() > 0 && !to.ip().is_unspecified() && !to.ip().is_multicast());
            }
        }
    }
    let heard = storm.end();
    let counted: u64 = heard.iter().map(|heard| heard.packets + heard.strangers).sum();
    assert!(counted <= came, "{counted} counted, {came} came");
    for heard in heard {
        assert!(heard.jitter_ms.is_none_or(|jitter| jitter.is_finite() && jitter >= 0.0));
        assert_eq!(heard.lost.is_some(), heard.packets > 0);
    }
    sent
}

fn read(row: &[u8]) -> Option<(Step<'_>, &[u8])> {
    let (&[kind, length], rest) = row.split_first_chunk::<2>()?;
    let phone = if kind & 0x40 == 0 { Phone::Ada } else { Phone::Bob };
    let place = |at: u8| -> SocketAddr {
        let own = if phone == Phone::Ada { 0 } else { 4 };
        PLACES[own + usize::from(at & 3)].parse().unwrap()
    };
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
    Some((Step::Datagram { phone, at, source: place(kind), bytes, after }, rest))
}
