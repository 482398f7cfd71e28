//! Fuzz body of session descriptions: read anything, put our address in, and read that again; offer
//! it on, answer it, and agree on something.

use std::cell::RefCell;

use pbx::chance::Chance;
use pbx::media::Protection;
use pbx::sip::sdp::{
    Anchor, Check, Description, End, Held, Keys, LONGEST, Manner, Numbers, Offerer, Profile, Rules,
    Seed, Srtp, differs, terms,
};

const PRINT: [u8; 32] = [0xab; 32];
const MANNERS: [Manner; 5] = [
    Manner::Plain,
    Manner::Opportune,
    Manner::Sdes(Profile::Savp),
    Manner::Dtls(Profile::TlsSavp, Check::None),
    Manner::Dtls(Profile::TlsSavpf, Check::Ice),
];

thread_local! {
    /// What the other phone says: the last description that was read.
    static OTHER: RefCell<Option<Description>> = const { RefCell::new(None) };
}

/// Reads `body` and writes what the other phone would get; panics if that is not as it must be.
/// Returns whether it was a description.
pub(crate) fn read_and_relay(body: &[u8]) -> bool {
    let Ok(read) = Description::read(body) else { return false };
    assert!(body.len() <= LONGEST);
    let sound = read.sound();
    assert!(sound.rtp.is_some() || sound.rtcp.is_none(), "reports of no sound");
    for address in ["203.0.113.7", "2001:db8::7"] {
        let anchor = anchor(address);
        let written = read.anchored(&anchor);
        let again = reread(&written);
        let ours = again.sound();
        assert_eq!(ours.direction, sound.direction, "{written:?}");
        let port = ours.rtp.map(|rtp| (rtp.ip(), rtp.port()));
        assert!(port.is_none_or(|at| at == (anchor.address, 26_000)), "{written:?}");
        // A phone that named an address hears where ours is.
        assert!(sound.rtp.is_none() || port.is_some(), "{written:?}");
        assert_eq!(again.anchored(&anchor), written, "the second time differs");
        assert!(!differs(&written, &again.anchored(&Anchor { version: 2, ..anchor })));
    }
    let other = OTHER.with(|other| other.borrow_mut().replace(read.clone()));
    negotiate(&read, other.as_ref().unwrap_or(&read));
    true
}

/// Offers what one says to the other, answers it with what the other says, and agrees on it.
fn negotiate(one: &Description, other: &Description) {
    let seed = Seed::draw(&mut Chance::from_seed([9; 32]));
    let mut numbers = Numbers::new();
    other.note_numbers(&mut numbers);
    let anchor = anchor("203.0.113.7");
    let end = End {
        anchor,
        seed: &seed,
        fingerprint: Some(PRINT),
        numbers: &numbers,
        held: Held::Nothing,
    };
    for manner in MANNERS {
        let offer = one.offer(&end, manner);
        let written = offer.text();
        reread(&written);
        is_listed_once(&written, &[one]);
        // What they say of the offer may be anything; what we take from it is whole.
        is_whole(&offer, other, Offerer::We);
    }
    for srtp in [Srtp::Off, Srtp::Optional, Srtp::Required] {
        let rules = Rules { srtp, keys: Keys::Secret, fingerprint: Some(PRINT) };
        let Ok(shield) = one.shield(&rules) else { continue };
        let Ok(answer) = one.answer(other, &end, &shield) else { continue };
        let written = answer.text();
        reread(&written);
        is_listed_once(&written, &[one, other]);
        assert!(written.matches("\r\na=crypto:").count() <= 1, "{written:?}");
        is_whole(&answer, one, Offerer::They);
        assert!(!written.contains("\r\na=fingerprint:") || written.contains("AB:AB:AB:"));
    }
}

fn is_whole(ours: &Description, theirs: &Description, offerer: Offerer) {
    let Ok(Some(terms)) = terms(ours, theirs, offerer) else { return };
    assert!((1..=16).contains(&terms.codecs.len()), "{terms:?}");
    assert!(terms.codecs.iter().all(|codec| codec.to_peer < 128 && codec.from_peer < 128));
    assert!([10, 20, 30, 40, 60].contains(&terms.ptime), "{terms:?}");
    if let Protection::Sdes { ours, theirs } = &terms.protection {
        assert_eq!(ours.suite, theirs.suite);
        assert!([28, 30].contains(&ours.material.len()));
        assert_eq!(ours.material.len(), theirs.material.len());
    }
}

/// No number stands twice in a list of ours, unless a phone itself wrote it so.
fn is_listed_once(written: &str, from: &[&Description]) {
    let repeats = |text: &str| {
        let lists = text.lines().filter(|line| line.starts_with("m=") && !line.contains(" 0 "));
        lists.into_iter().any(|line| {
            let mut numbers: Vec<&str> = line.split_ascii_whitespace().skip(3).collect();
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len() < all
        })
    };
    let said = from.iter().any(|description| repeats(&description.text()));
    assert!(said || !repeats(written), "{written:?}");
}

fn reread(written: &str) -> Description {
    Description::read(written.as_bytes())
        .unwrap_or_else(|flaw| panic!("ours cannot be read: {flaw}: {written:?}"))
}

fn anchor(address: &str) -> Anchor {
    let address = address.parse().unwrap();
    Anchor { address, port: 26_000, session: u64::MAX, version: 1 }
}
