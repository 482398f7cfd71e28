//! Phones and browsers that shake hands first.

use super::*;
use crate::stun::asker::{Wishes, ask, seen, told};

/// A browser: it checks ways, shakes hands, and has keys then.
struct Browser {
    identity: Identity,
    dtls: Association,
    keys: Option<(Key, Key)>,
}

impl Browser {
    /// One that is to talk to side 0 of `call`, in this part.
    fn new(call: &mut Call, role: DtlsRole, ice: Option<Ice>) -> Self {
        let identity = Identity::make().unwrap();
        let ours = match role {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        };
        let fingerprint = identity.fingerprint();
        let protection = Protection::Dtls { role: ours, fingerprint, ice };
        call.sessions.agree(START, side(0), terms(protection, Reports::Within));
        let dtls = Association::new(role, call.identity.fingerprint());
        Self { identity, dtls, keys: None }
    }

    /// Says hello if that is its part.
    fn begin(&mut self) {
        self.dtls.handle_way(START, &self.identity, at(BOB), Room::Free);
    }

    /// Both ends say all that they have to say; how many datagrams of the browser were let in.
    fn talk(&mut self, call: &mut Call, from: &str) -> usize {
        let mut taken = 0;
        for _ in 0..8 {
            while let Some((_, bytes)) = self.dtls.poll_output() {
                taken += usize::from(call.come(0, Port::Sound, from, &bytes).0 == Way::Ended);
            }
            while let Some(reply) = call.sessions.poll_reply() {
                assert_eq!((reply.port, reply.to), (Port::Sound, at(from)));
                let came = (at(BOB), &reply.bytes[..]);
                let step = self.dtls.handle_datagram(START, &self.identity, came, Room::Free);
                if let Step::Agreed { ours, theirs, .. } = step {
                    self.keys = Some((ours, theirs));
                }
            }
        }
        taken
    }

    /// A check comes, and is answered.
    fn check(&self, call: &mut Call, from: &str, wishes: Wishes) {
        assert_eq!(call.come(0, Port::Sound, from, &ask(&told(), wishes)).0, Way::Ended);
        let answer = call.sessions.poll_reply().unwrap();
        assert_eq!((seen(&answer.bytes), answer.to), (at(from), at(from)));
    }

    fn phone(self) -> Phone {
        let (ours, theirs) = self.keys.unwrap();
        Phone { sender: Sender::new(&ours).unwrap(), receiver: Receiver::new(&theirs).unwrap() }
    }
}

fn plain_call() -> Call {
    let plain = || terms(Protection::Plain, Reports::Beside);
    Call::new(plain(), plain())
}

#[test]
fn a_phone_shakes_hands_in_either_part_and_is_heard_then_and_not_before() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut call = plain_call();
        let mut ada = Browser::new(&mut call, role, None);
        assert_eq!(call.hear(0, &sound(1, 0)), None);
        assert_eq!(call.hear(1, &sound(2, 0)), None, "it would go out readable");
        ada.begin();
        assert!(ada.talk(&mut call, ADA) > 1, "{role:?}");
        let mut ada = ada.phone();
        for n in 1..5 {
            assert_eq!(call.hear(0, &ada.seal(&sound(1, n))), Some(sound(1, n)), "{role:?}");
            let heard = call.hear(1, &sound(2, n)).unwrap();
            assert_eq!(ada.open(heard), sound(2, n), "{role:?}");
        }
        let secrecy = call.sessions.take_secrecy();
        assert_eq!((secrecy.handshakes, secrecy.handshakes_failed), (1, 0));
    }
}

#[test]
fn a_handshake_from_the_router_shows_where_the_phone_is() {
    let mut call = plain_call();
    let router = "203.0.113.9:31000";
    let near = Some(at(router).ip());
    let rtp = Some(at("192.168.1.5:4000"));
    call.sessions.aim(START, side(0), Aim { rtp, rtcp: None, near });
    let mut ada = Browser::new(&mut call, DtlsRole::Client, None);
    ada.begin();
    assert_eq!(ada.talk(&mut call, THIEF), 0, "a stranger's hello is not answered");
    let mut ada = Browser::new(&mut call, DtlsRole::Client, None);
    ada.begin();
    assert!(ada.talk(&mut call, router) > 1);
    let (way, bytes) = call.come(1, Port::Sound, BOB, &sound(2, 0));
    assert_eq!(way, Way::To(call.slots[0], Port::Sound, at(router)), "before it says a word");
    let mut ada = ada.phone();
    assert_eq!(ada.open(bytes), sound(2, 0));
    let (way, _) = call.come(0, Port::Sound, router, &ada.seal(&sound(1, 0)));
    assert!(matches!(way, Way::To(..)), "{way:?}");
}

#[test]
fn a_browser_is_where_its_checks_say_and_nobody_else_is_believed() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut call = plain_call();
        let (home, cell) = ("198.51.100.77:50000", "203.0.113.5:900");
        let mut ada = Browser::new(&mut call, role, Some(told()));
        // It names no address before it has found one.
        let aim = Aim { rtp: Some(at("0.0.0.0:9")), rtcp: None, near: Some(at(ADA).ip()) };
        call.sessions.aim(START, side(0), aim);
        ada.begin();
        if role == DtlsRole::Client {
            assert_eq!(ada.talk(&mut call, ADA), 0, "it has not shown the password");
            ada = Browser::new(&mut call, role, Some(told()));
            ada.begin();
        }
        assert_eq!(call.sessions.poll_reply(), None, "there is nobody to say hello to");
        ada.check(&mut call, home, Wishes::ThisWay);
        let latched = |peer| Some(Event::Latched { side: side(0), peer: at(peer) });
        assert_eq!(call.sessions.poll_event(), latched(home));
        assert!(ada.talk(&mut call, home) > 1, "{role:?}");
        let secrecy = call.sessions.take_secrecy();
        assert_eq!((secrecy.handshakes, secrecy.handshakes_failed), (1, 0), "{role:?}");

        let (identity, dtls) = (Identity::make().unwrap(), Association::new(role, [0; 32]));
        let checker = Browser { identity, dtls, keys: None };
        let mut ada = ada.phone();
        let from = |call: &mut Call, from, bytes: &[u8]| call.come(0, Port::Sound, from, bytes).0;
        let is_heard = |way| matches!(way, Way::To(..));
        assert!(is_heard(from(&mut call, home, &ada.seal(&sound(1, 0)))));
        for n in 1..100 {
            // A thief may even have the key: without the password he is nobody.
            assert_eq!(from(&mut call, THIEF, &ada.seal(&sound(1, n))), Way::Stranger);
        }
        let to = |call: &mut Call, n| call.come(1, Port::Sound, BOB, &sound(2, n)).0;
        assert_eq!(to(&mut call, 0), Way::To(call.slots[0], Port::Sound, at(home)));
        // It leaves its house while it talks.
        checker.check(&mut call, cell, Wishes::Nothing);
        assert_eq!(to(&mut call, 1), Way::To(call.slots[0], Port::Sound, at(home)));
        assert!(is_heard(from(&mut call, cell, &ada.seal(&sound(1, 100)))));
        checker.check(&mut call, cell, Wishes::ThisWay);
        assert_eq!(call.sessions.poll_event(), latched(cell));
        assert_eq!(to(&mut call, 2), Way::To(call.slots[0], Port::Sound, at(cell)));
        let of_bob = Event::Latched { side: side(1), peer: at(BOB) };
        assert_eq!([0, 1].map(|_| call.sessions.poll_event()), [Some(of_bob), None]);
    }
}

#[test]
fn a_browser_without_an_address_is_heard_and_hears_whatever_is_told_first() {
    let mut call = plain_call();
    let named = Aim { rtp: Some(at("0.0.0.0:9")), rtcp: None, near: None };
    call.sessions.aim(START, side(0), named);
    assert_eq!(call.hear(1, &sound(2, 0)), None, "nobody knows where it is");
    let mut ada = Browser::new(&mut call, DtlsRole::Client, Some(told()));
    ada.check(&mut call, ADA, Wishes::ThisWay);
    ada.begin();
    ada.talk(&mut call, ADA);
    let mut ada = ada.phone();
    let heard = call.hear(1, &sound(2, 1)).unwrap();
    assert_eq!(ada.open(heard), sound(2, 1));
    assert_eq!(call.hear(0, &ada.seal(&sound(1, 1))), Some(sound(1, 1)));
    // Checks end, and what signalling said counts again.
    call.sessions.agree(START, side(0), terms(Protection::Plain, Reports::Within));
    assert_eq!(call.hear(1, &sound(2, 2)), None);
}

#[test]
fn a_browser_on_hold_hears_nothing_and_keeps_its_keys() {
    let mut call = plain_call();
    let mut ada = Browser::new(&mut call, DtlsRole::Client, Some(told()));
    let protection = |browser: &Browser| Protection::Dtls {
        role: DtlsRole::Server,
        fingerprint: browser.identity.fingerprint(),
        ice: Some(told()),
    };
    let aim = Aim { rtp: Some(at("0.0.0.0:9")), rtcp: None, near: None };
    call.sessions.aim(START, side(0), aim);
    ada.check(&mut call, ADA, Wishes::ThisWay);
    ada.begin();
    ada.talk(&mut call, ADA);
    let again = terms(protection(&ada), Reports::Within);
    let mut ada = ada.phone();
    let heard = call.hear(1, &sound(2, 0)).unwrap();
    assert_eq!(ada.open(heard), sound(2, 0));
    call.sessions.agree(START, side(0), again.clone());
    call.sessions.aim(START, side(0), Aim { rtp: None, ..aim });
    assert_eq!(call.hear(1, &sound(2, 1)), None);
    call.sessions.agree(START, side(0), again);
    call.sessions.aim(START, side(0), aim);
    let heard = call.hear(1, &sound(2, 2)).unwrap();
    assert_eq!(ada.open(heard), sound(2, 2));
    assert_eq!(call.sessions.take_secrecy().handshakes, 1);
}

#[test]
fn another_fingerprint_begins_another_handshake_and_the_old_keys_serve_until_it_ends() {
    let mut call = plain_call();
    let mut ada = Browser::new(&mut call, DtlsRole::Client, None);
    ada.begin();
    ada.talk(&mut call, ADA);
    let mut ada = ada.phone();
    for n in [65_535, 0] {
        let heard = call.hear(1, &sound(2, n)).unwrap();
        ada.open(heard);
    }
    let mut renewed = Browser::new(&mut call, DtlsRole::Client, None);
    let heard = call.hear(1, &sound(2, 1)).unwrap();
    assert_eq!(ada.open(heard), sound(2, 1));
    renewed.begin();
    renewed.talk(&mut call, ADA);
    let (_, theirs) = renewed.keys.clone().unwrap();
    let mut anew = [sound(2, 2), vec![0; GROWS_BY]].concat();
    let len = Sender::new(&theirs).unwrap().seal_sound(&mut anew, 172).unwrap();
    anew.truncate(len);
    let mut renewed = renewed.phone();
    assert_eq!(call.hear(1, &sound(2, 2)), Some(anew), "both count anew");
    assert!(call.hear(0, &renewed.seal(&sound(1, 7))).is_some());
}

#[test]
fn a_worker_begins_only_so_many_handshakes_at_once_and_the_rest_later() {
    let identity = Identity::make().unwrap();
    let mut sessions = Sessions::with_identity(identity);
    let sides: Vec<Side> = (1..=5)
        .flat_map(|call| (0..60).map(move |leg| (call, leg)))
        .map(|(call, leg)| {
            let call = pbx::chance::Chance::from_seed([call; 32]).uuid(START);
            Side { call: CallId(call), leg }
        })
        .collect();
    let dtls = Protection::Dtls { role: DtlsRole::Client, fingerprint: [0; 32], ice: None };
    for side in &sides {
        sessions.open(*side, Family::V4).unwrap();
        sessions.agree(START, *side, terms(dtls.clone(), Reports::Within));
        sessions.aim(START, *side, Aim { rtp: Some(at(ADA)), rtcp: None, near: None });
    }
    let hellos = |sessions: &mut Sessions| std::iter::from_fn(|| sessions.poll_reply()).count();
    assert_eq!(hellos(&mut sessions), 256);
    let due_at = sessions.deadline().unwrap();
    assert!(due_at <= START + Duration::from_millis(250), "{due_at:?}");
    for side in &sides[..100] {
        sessions.close(START, *side);
    }
    sessions.handle_deadline(START + Duration::from_secs(5));
    sessions.handle_deadline(START + Duration::from_secs(10));
    assert_eq!(hellos(&mut sessions), 44);
    // Nobody answers any of them.
    for seconds in 11..60 {
        sessions.handle_deadline(START + Duration::from_secs(seconds));
    }
    assert_eq!(sessions.take_secrecy().handshakes_failed, 200);
}
