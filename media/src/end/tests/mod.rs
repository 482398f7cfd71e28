//! Two phones, encrypted or not, and who would like to be a third.

mod handshakes;

use std::time::Duration;

use pbx::id::CallId;
use pbx::media::{Codec, CodecKind, DtlsRole, Event, Key, Protection, Suite};

use super::*;
use crate::counters::Secrecy;
use crate::packet::tests::room;
use crate::rtp::tests::packet;
use crate::session::{Sessions, Way};
use crate::srtp::{GROWS_BY, Receiver, Sender};

const START: Moment = Moment::from_secs(1_000);
const ADA: &str = "198.51.100.1:4000";
const BOB: &str = "198.51.100.2:5000";
const THIEF: &str = "203.0.113.66:4000";
const SUITES: [Suite; 3] =
    [Suite::AesCm128HmacSha1_80, Suite::AesCm128HmacSha1_32, Suite::AeadAes128Gcm];

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn side(leg: u16) -> Side {
    Side { call: CallId(Default::default()), leg }
}

fn key(suite: Suite, seed: u8) -> Key {
    let len = if suite == Suite::AeadAes128Gcm { 28 } else { 30 };
    Key { suite, material: (0..len).map(|n| n ^ seed).collect() }
}

/// We send with `seed`, the peer with the one after it.
fn sdes(suite: Suite, seed: u8) -> Protection {
    Protection::Sdes { ours: key(suite, seed), theirs: key(suite, seed + 1) }
}

pub(super) fn terms(protection: Protection, reports: Reports) -> Box<Terms> {
    let codec = Codec { kind: CodecKind::Pcmu, to_peer: 0, from_peer: 0 };
    Box::new(Terms {
        codecs: vec![codec],
        events: None,
        events_clock: 8_000,
        comfort_noise: None,
        ptime: 20,
        reception: Reception::Wanted,
        protection,
        reports,
    })
}

/// A call between Ada (side 0) and Bob (side 1).
struct Call {
    sessions: Sessions,
    slots: [Slot; 2],
    now: Moment,
    identity: Identity,
}

impl Call {
    fn new(ada: Box<Terms>, bob: Box<Terms>) -> Self {
        let identity = Identity::make().unwrap();
        let mut sessions = Sessions::with_identity(identity.clone());
        let slots = [0, 1].map(|leg| sessions.open(side(leg), Family::V4).unwrap());
        let mut call = Self { sessions, slots, now: START, identity };
        for (leg, terms, peer) in [(0, ada, ADA), (1, bob, BOB)] {
            call.sessions.agree(START, side(leg), terms);
            let rtcp = Some(SocketAddr::new(at(peer).ip(), at(peer).port() + 1));
            let aim = Aim { rtp: Some(at(peer)), rtcp, near: None };
            call.sessions.aim(START, side(leg), aim);
        }
        call.sessions.join(side(0), side(1));
        call
    }

    /// Bytes come to a side's port; where they go on to, and as what.
    fn come(&mut self, leg: usize, port: Port, from: &str, bytes: &[u8]) -> (Way, Vec<u8>) {
        self.now += Duration::from_millis(20);
        let (mut room, len) = room(bytes);
        let mut packet = Packet::new(&mut room, len).unwrap();
        let place = (self.slots[leg], port);
        let way = self.sessions.handle_datagram(self.now, place, at(from), &mut packet);
        (way, packet.bytes().to_vec())
    }

    fn hear(&mut self, leg: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let from = [ADA, BOB][leg];
        let (way, bytes) = self.come(leg, Port::Sound, from, bytes);
        let other = 1 - leg;
        match way {
            Way::To(slot, Port::Sound, to) => {
                assert_eq!((slot, to), (self.slots[other], at([ADA, BOB][other])));
                Some(bytes)
            }
            Way::To(..) | Way::Unheard | Way::Excess | Way::Stranger | Way::Ended => None,
        }
    }
}

/// A phone with keys of its own: what it seals, and what it opens.
struct Phone {
    sender: Sender,
    receiver: Receiver,
}

impl Phone {
    /// The other end of [`sdes`].
    fn new(suite: Suite, seed: u8) -> Self {
        let sender = Sender::new(&key(suite, seed + 1)).unwrap();
        Self { sender, receiver: Receiver::new(&key(suite, seed)).unwrap() }
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = [plain, &[0; GROWS_BY]].concat();
        let len = self.sender.seal_sound(&mut bytes, plain.len()).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn open(&mut self, mut sealed: Vec<u8>) -> Vec<u8> {
        let len = self.receiver.open_sound(START, &mut sealed).unwrap();
        sealed.truncate(len);
        sealed
    }

    fn seal_report(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = [plain, &[0; GROWS_BY]].concat();
        let len = self.sender.seal_report(&mut bytes, plain.len()).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn open_report(&mut self, mut sealed: Vec<u8>) -> Vec<u8> {
        let len = self.receiver.open_report(START, &mut sealed).unwrap();
        sealed.truncate(len);
        sealed
    }
}

fn sound(ssrc: u32, n: u16) -> Vec<u8> {
    packet(ssrc, n, u32::from(n) * 160)
}

#[test]
fn an_encrypted_phone_and_a_plain_one_hear_each_other() {
    for suite in SUITES {
        let plain = terms(Protection::Plain, Reports::Beside);
        let mut call = Call::new(terms(sdes(suite, 10), Reports::Beside), plain);
        let mut ada = Phone::new(suite, 10);
        for n in 0..20 {
            let (from_ada, from_bob) = (sound(1, n), sound(2, n));
            assert_eq!(call.hear(0, &ada.seal(&from_ada)), Some(from_ada), "{suite:?}");
            let heard = call.hear(1, &from_bob).unwrap();
            assert_ne!(heard[12..172], from_bob[12..172], "{suite:?}: it went out readable");
            assert_eq!(ada.open(heard), from_bob, "{suite:?}");
        }
        let (_, heard) = call.sessions.close(call.now, side(0)).unwrap();
        assert_eq!((heard.packets, heard.bytes, heard.lost), (20, 3_200, Some(0)));
    }
}

#[test]
fn two_phones_with_different_keys_and_suites_hear_each_other() {
    for (one, other) in [(SUITES[0], SUITES[2]), (SUITES[2], SUITES[1]), (SUITES[0], SUITES[0])] {
        let [ada, bob] = [(one, 10), (other, 20)].map(|(suite, seed)| sdes(suite, seed));
        let mut call = Call::new(terms(ada, Reports::Beside), terms(bob, Reports::Within));
        let (mut ada, mut bob) = (Phone::new(one, 10), Phone::new(other, 20));
        for n in 65_530..65_535 {
            let heard = call.hear(0, &ada.seal(&sound(1, n))).unwrap();
            assert_eq!(bob.open(heard), sound(1, n));
            let heard = call.hear(1, &bob.seal(&sound(2, n))).unwrap();
            assert_eq!(ada.open(heard), sound(2, n));
        }
    }
}

#[test]
fn reports_change_ports_between_who_has_them_beside_and_who_has_them_within() {
    let suite = Suite::AesCm128HmacSha1_80;
    let bob = terms(sdes(suite, 20), Reports::Within);
    let mut call = Call::new(terms(Protection::Plain, Reports::Beside), bob);
    let mut bob = Phone::new(suite, 20);
    for n in 0..5 {
        call.hear(0, &sound(1, n)).unwrap();
        call.hear(1, &bob.seal(&sound(2, n))).unwrap();
    }
    let report = [&[0x80, 200, 0, 6, 0, 0, 0, 2][..], &[5; 20]].concat();
    let (way, bytes) = call.come(1, Port::Sound, BOB, &bob.seal_report(&report));
    assert_eq!(way, Way::To(call.slots[0], Port::Reports, at("198.51.100.1:4001")));
    assert_eq!(bytes, report);
    let (way, bytes) = call.come(0, Port::Reports, "198.51.100.1:4001", &report);
    assert_eq!(way, Way::To(call.slots[1], Port::Sound, at(BOB)));
    assert_eq!(bob.open_report(bytes), report);
    let (way, _) = call.come(1, Port::Sound, BOB, &report);
    assert_eq!(way, Way::Ended, "a report that nobody sealed");
}

#[test]
fn who_has_no_key_is_not_heard_and_moves_no_stream_from_wherever_he_sends() {
    for suite in SUITES {
        let plain = terms(Protection::Plain, Reports::Beside);
        let mut call = Call::new(terms(sdes(suite, 10), Reports::Beside), plain);
        let (mut ada, mut thief) = (Phone::new(suite, 10), Phone::new(suite, 99));
        // Before Ada says a word, when a latch would believe the first who does, and from her address.
        for n in 0..100 {
            let tries = [sound(9, n), thief.seal(&sound(1, n)), vec![0x80; 100]];
            for (from, bytes) in
                [THIEF, ADA].iter().flat_map(|from| tries.iter().map(move |b| (from, b)))
            {
                assert_eq!(call.come(0, Port::Sound, from, bytes).0, Way::Ended, "{suite:?}");
            }
        }
        assert_eq!(call.sessions.poll_event(), None, "{suite:?}");
        let mut first = None;
        for n in 0..200 {
            let sealed = ada.seal(&sound(1, n));
            // What he catches on its way, and changes, is faster than the true one.
            let mut changed = sealed.clone();
            changed[20] ^= 1;
            assert_eq!(call.come(0, Port::Sound, THIEF, &changed).0, Way::Ended, "{suite:?}");
            assert_eq!(call.hear(0, &sealed), Some(sound(1, n)), "{suite:?}");
            let replayed = first.get_or_insert(sealed).clone();
            assert_eq!(call.come(0, Port::Sound, THIEF, &replayed).0, Way::Ended, "{suite:?}");
        }
        let latched = Event::Latched { side: side(0), peer: at(ADA) };
        assert_eq!(call.sessions.poll_event(), Some(latched));
        assert_eq!(call.sessions.poll_event(), None, "{suite:?}");
        let secrecy = call.sessions.take_secrecy();
        assert_eq!(secrecy, Secrecy { forged: 800, repeated: 200, ..Secrecy::default() });
        let (_, heard) = call.sessions.close(call.now, side(0)).unwrap();
        assert_eq!((heard.packets, heard.forged, heard.strangers), (200, 800, 800));
    }
}

#[test]
fn a_phone_behind_a_router_is_found_there_by_its_key() {
    let suite = Suite::AesCm128HmacSha1_32;
    let plain = terms(Protection::Plain, Reports::Beside);
    let mut call = Call::new(terms(sdes(suite, 10), Reports::Beside), plain);
    let mut ada = Phone::new(suite, 10);
    let router = "203.0.113.9:31000";
    for n in 0..10 {
        call.come(0, Port::Sound, router, &ada.seal(&sound(1, n)));
    }
    let latched = Event::Latched { side: side(0), peer: at(router) };
    assert_eq!(call.sessions.poll_event(), Some(latched));
    let (way, bytes) = call.come(1, Port::Sound, BOB, &sound(2, 0));
    assert_eq!(way, Way::To(call.slots[0], Port::Sound, at(router)));
    assert_eq!(ada.open(bytes), sound(2, 0));
}

#[test]
fn a_call_goes_on_under_other_keys_and_the_same_keys_again_change_nothing() {
    let suite = Suite::AeadAes128Gcm;
    let plain = terms(Protection::Plain, Reports::Beside);
    let mut call = Call::new(terms(sdes(suite, 10), Reports::Beside), plain);
    let mut ada = Phone::new(suite, 10);
    // Past a turn of the sequence, which a key that begins anew would not know of.
    for n in [65_535, 0, 1] {
        call.hear(0, &ada.seal(&sound(1, n))).unwrap();
        let heard = call.hear(1, &sound(2, n)).unwrap();
        ada.open(heard);
    }
    call.sessions.agree(call.now, side(0), terms(sdes(suite, 10), Reports::Beside));
    call.hear(0, &ada.seal(&sound(1, 2))).unwrap();
    let heard = call.hear(1, &sound(2, 2)).unwrap();
    ada.open(heard);
    let on_its_way = ada.seal(&sound(1, 3));
    call.sessions.agree(call.now, side(0), terms(sdes(suite, 20), Reports::Beside));
    let mut renewed = Phone::new(suite, 20);
    assert!(call.hear(0, &on_its_way).is_some());
    assert!(call.hear(0, &renewed.seal(&sound(1, 4))).is_some());
    assert_eq!(call.hear(0, &on_its_way), None);
    let heard = call.hear(1, &sound(2, 3)).unwrap();
    assert!(
        ada.receiver.open_sound(START, &mut heard.clone()).is_err(),
        "the old key's time is over"
    );
    // Another stream of the same phone.
    assert!(call.hear(0, &renewed.seal(&sound(7, 40_000))).is_some());
}

#[test]
fn nothing_passes_while_there_are_no_keys_or_none_that_can_be_used() {
    let dtls = Protection::Dtls { role: DtlsRole::Server, fingerprint: [0; 32], ice: None };
    let short = Key { suite: Suite::AeadAes128Gcm, material: vec![1; 27] };
    let broken = Protection::Sdes { ours: short.clone(), theirs: short };
    for protection in [Protection::Awaited, dtls, broken] {
        let plain = terms(Protection::Plain, Reports::Beside);
        let mut call = Call::new(terms(protection, Reports::Beside), plain);
        let fax = [0, 1, 2, 3, 4, 5];
        for n in 0..5 {
            assert_eq!(call.hear(0, &sound(1, n)), None);
            assert_eq!(call.hear(1, &sound(2, n)), None);
            assert_eq!(call.hear(1, &fax), None);
        }
    }
}
