//! Whose is it? What the door says of messages that name their company, or cannot.

use uuid::Uuid;

use super::*;
use crate::id::NodeId;

const NOW: Moment = Moment::from_secs(1_000);

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

/// A door that serves two companies, at 203.0.113.9.
fn door(alpha: &[&str], beta: &[&str]) -> Edge {
    let mut edge = Edge::new(Setup {
        token_key: [1; 16],
        nonce_key: [2; 16],
        boot: 1,
        seed: [3; 32],
        advertised: Advertised::default(),
        unknown_domain: UnknownDomain::Drop,
    });
    for (number, name, ranges) in [(1, "alpha", alpha), (2, "beta", beta)] {
        edge.learn(served(number, name, ranges));
    }
    edge
}

fn served(number: u64, name: &str, ranges: &[&str]) -> Served {
    let range = |text: &&str| {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    };
    Served {
        tenant: tenant(u128::from(number)),
        route: number,
        realm: format!("{name}.test"),
        domains: vec![format!("{name}.test")],
        label: Some(name.to_owned()),
        trusted: ranges.iter().map(range).collect(),
        offered: vec![Algorithm::Md5],
        exceptions: BTreeMap::from([("103".to_owned(), vec![Algorithm::Sha256])]),
    }
}

fn from(peer: &str) -> Flow {
    Flow::udp(NodeId(1), "203.0.113.9:5060".parse().unwrap(), peer.parse().unwrap())
}

fn request(method: &str, target: &str, from: &str, to: &str, more: &str) -> Bytes {
    let text = format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 192.168.1.10;rport;branch=z9hG4bK{method}\r\n\
         Max-Forwards: 70\r\nFrom: <{from}>;tag=1\r\nTo: <{to}>\r\nCall-ID: c\r\n\
         CSeq: 1 {method}\r\nContact: <sip:1@192.168.1.10>\r\n{more}Content-Length: 0\r\n\r\n"
    );
    Bytes::from(text)
}

const PROOF: &str = "Authorization: Digest username=\"x\"\r\n";

fn register(who: &str, more: &str) -> Bytes {
    request("REGISTER", "sip:203.0.113.9", who, who, more)
}

/// Whose it is, if anybody's, when it brings a password.
fn whose(edge: &mut Edge, peer: &str, bytes: Bytes) -> Option<TenantId> {
    match edge.place(NOW, &from(peer), bytes) {
        Placed::For { tenant, by: Placement::Domain, .. } => Some(tenant),
        Placed::Drop(Dropped::UnknownDomain) => None,
        other => panic!("neither somebody's nor nobody's: {other:?}"),
    }
}

#[test]
fn a_label_says_whose_it_is_when_the_host_says_nothing() {
    let mut edge = door(&[], &[]);
    let mut registers = |who: &str| whose(&mut edge, "198.51.100.1:1024", register(who, PROOF));
    assert_eq!(registers("sip:101*alpha@203.0.113.9"), Some(tenant(1)));
    assert_eq!(registers("sip:101*BETA@unknown.example"), Some(tenant(2)));
    assert_eq!(registers("sip:%31%30%31*beta;x=y@203.0.113.9"), Some(tenant(2)));
    assert_eq!(registers("sip:101*gamma@203.0.113.9"), None);
    assert_eq!(registers("sip:101@203.0.113.9"), None);
    assert_eq!(registers("sip:203.0.113.9"), None);
    assert_eq!(registers("sip:101*alpha@beta.test"), Some(tenant(2)), "a domain says more");
}

#[test]
fn who_registered_with_a_label_dials_plain_numbers() {
    let mut edge = door(&[], &[]);
    let mut dials = |target: &str, who: &str| {
        let bytes = request("INVITE", target, who, target, PROOF);
        // Another call each time: its branch is its own.
        let unlike = format!("z9hG4bK{}{}", target.len(), who.len());
        let text = String::from_utf8_lossy(&bytes).replace("z9hG4bKINVITE", &unlike);
        whose(&mut edge, "198.51.100.1:1024", Bytes::from(text))
    };
    assert_eq!(dials("sip:102@203.0.113.9", "sip:101*alpha@203.0.113.9"), Some(tenant(1)));
    assert_eq!(dials("sip:102*beta@203.0.113.9", "sip:7@203.0.113.9"), Some(tenant(2)));
    assert_eq!(dials("sip:102@203.0.113.9", "sip:8@unknown.example"), None);
}

#[test]
fn a_trusted_network_says_whose_it_is_when_nothing_else_does() {
    let mut edge = door(&["198.51.100.0/24"], &["192.0.2.0/24", "2001:db8::/32"]);
    let mut registers = |peer: &str, who: &str| whose(&mut edge, peer, register(who, PROOF));
    assert_eq!(registers("198.51.100.1:1024", "sip:101@203.0.113.9"), Some(tenant(1)));
    assert_eq!(registers("192.0.2.1:1024", "sip:101@anything.example"), Some(tenant(2)));
    assert_eq!(registers("[2001:db8::1]:1024", "sip:101@203.0.113.9"), Some(tenant(2)));
    assert_eq!(registers("198.51.101.1:1024", "sip:101@203.0.113.9"), None);
    assert_eq!(registers("198.51.100.1:1024", "sip:101*beta@203.0.113.9"), Some(tenant(2)));
    assert_eq!(registers("198.51.100.1:1024", "sip:101@beta.test"), Some(tenant(2)));
}

#[test]
fn a_network_that_two_companies_trust_is_nobodys() {
    let mut edge = door(&["198.51.100.0/24"], &["198.51.100.128/25"]);
    let phone = register("sip:101@203.0.113.9", PROOF);
    assert_eq!(whose(&mut edge, "198.51.100.1:1024", phone.clone()), Some(tenant(1)));
    assert_eq!(whose(&mut edge, "198.51.100.200:1024", phone.clone()), None);
    edge.forget(tenant(1));
    assert_eq!(whose(&mut edge, "198.51.100.1:1024", phone.clone()), None);
    assert_eq!(whose(&mut edge, "198.51.100.200:1024", phone), Some(tenant(2)));
    let labelled = register("sip:101*alpha@203.0.113.9", PROOF);
    assert_eq!(whose(&mut edge, "203.0.113.77:1024", labelled), None, "it is gone whole");
}

#[test]
fn a_label_meets_the_challenge_of_its_user() {
    let mut edge = door(&[], &[]);
    let mut asked = |user: &str| {
        let bytes = register(&format!("sip:{user}@203.0.113.9"), "");
        match edge.place(NOW, &from("198.51.100.1:1024"), bytes) {
            Placed::Answer(answer) => String::from_utf8_lossy(&answer).into_owned(),
            other => panic!("no challenge: {other:?}"),
        }
    };
    let (usual, other) = (asked("101*alpha"), asked("103*Alpha"));
    assert!(usual.starts_with("SIP/2.0 401 ") && usual.contains("realm=\"alpha.test\""), "{usual}");
    assert!(usual.contains("algorithm=MD5") && other.contains("algorithm=SHA-256"), "{other}");
}
