//! Fuzz body of STUN: ask anything everywhere, and read the answers as whoever asked would.

use std::net::SocketAddr;

use media::stun::{Answer, Corner, Place, answer, is_stun};

/// Asks alone and at a corner, over both families; panics if an answer is not as it must be.
/// Returns how many were answered.
pub(crate) fn ask(datagram: &[u8]) -> usize {
    let mut answered = 0;
    // A mutation rarely leaves the length right, and little is seen behind a wrong one.
    let mut whole = datagram.to_vec();
    whole.truncate(whole.len() / 4 * 4);
    if let (Some(body), Some(length)) = (whole.len().checked_sub(20), whole.get_mut(2..4)) {
        length.copy_from_slice(&(body as u16).to_be_bytes());
    }
    for question in [datagram, &whole] {
        for (peer, one, other) in [
            ("192.0.2.1:32853", "198.51.100.1:3478", "198.51.100.2:3479"),
            ("[2001:db8::1]:32853", "[2001:db8::2]:3478", "[2001:db8::3]:3479"),
        ] {
            let [peer, one, other]: [SocketAddr; 3] =
                [peer, one, other].map(|text| text.parse().unwrap());
            let corners = Corner::all(one, other).unwrap();
            for place in [Place::Alone, Place::Corner(corners[0])] {
                let Some(told) = answer(question, peer, place) else { continue };
                answered += 1;
                assert!(is_stun(question), "{question:?}");
                check(question, peer, place, &corners, &told);
            }
        }
    }
    answered
}

fn check(asked: &[u8], peer: SocketAddr, place: Place, corners: &[Corner; 4], told: &Answer) {
    let bytes = &told.bytes;
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    assert!([0x0101, 0x0111].contains(&number(0)), "{asked:?}");
    assert_eq!(usize::from(number(2)), bytes.len() - 20, "{asked:?}");
    assert_eq!(bytes[4..20], asked[4..20], "{asked:?}");
    let mut at = 20;
    while at < bytes.len() {
        at += 4 + usize::from(number(at + 2)).next_multiple_of(4);
    }
    assert_eq!(at, bytes.len(), "{asked:?}");
    // Padding is as long as what was asked, and nothing else grows.
    assert!(bytes.len() <= asked.len() + 256, "{asked:?}");
    assert_eq!(told.to.ip(), peer.ip(), "{asked:?}");
    assert!(told.to.port() > 0);
    match place {
        Place::Alone => assert_eq!((told.to, told.from), (peer, None)),
        Place::Corner(_) => {
            let ours = |from| corners.iter().any(|corner| corner.here == from);
            assert!(told.from.is_none_or(ours), "{asked:?}");
        }
    }
    assert_eq!(answer(bytes, peer, place), None, "two servers would talk for ever");
}
