//! Fuzz body of session descriptions: read anything, put our address in, and read that again.

use pbx::sip::sdp::{Anchor, Description, LONGEST, differs};

/// Reads `body` and writes what the other phone would get; panics if that is not as it must be.
/// Returns whether it was a description.
pub(crate) fn read_and_relay(body: &[u8]) -> bool {
    let Ok(read) = Description::read(body) else { return false };
    assert!(body.len() <= LONGEST);
    let sound = read.sound();
    assert!(sound.rtp.is_some() || sound.rtcp.is_none(), "reports of no sound");
    for address in ["203.0.113.7", "2001:db8::7"] {
        let address = address.parse().unwrap();
        let anchor = Anchor { address, port: 26_000, session: u64::MAX, version: 1 };
        let written = read.anchored(&anchor);
        let again = Description::read(written.as_bytes())
            .unwrap_or_else(|flaw| panic!("ours cannot be read: {flaw}: {written:?}"));
        let ours = again.sound();
        assert_eq!(ours.direction, sound.direction, "{written:?}");
        let port = ours.rtp.map(|rtp| (rtp.ip(), rtp.port()));
        assert!(port.is_none_or(|at| at == (address, 26_000)), "{written:?}");
        // A phone that named an address hears where ours is.
        assert!(sound.rtp.is_none() || port.is_some(), "{written:?}");
        assert_eq!(again.anchored(&anchor), written, "the second time differs");
        assert!(!differs(&written, &again.anchored(&Anchor { version: 2, ..anchor })));
    }
    true
}
