//! Knowing a repeat, an ACK, a CANCEL or a second copy of a request for what it is.
//!
//! RFC 3261 §17.2.3 and §8.2.2.2. The parts that must be equal are hashed under a key of ours, so
//! nobody can choose two requests that we take for one.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::sip::flaw::Flaw;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::token::MAGIC_COOKIE;

/// The port of a Via that names none.
const DEFAULT_PORT: u16 = 5_060;

/// Where a request belongs. Those of two realms are never the same, however alike they are: phones
/// with equal private addresses and poor randomness write equal branches and Call-IDs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Realm(pub u128);

/// What makes two requests the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

/// What a request is looked up by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    /// Its own transaction.
    pub(super) own: Key,
    /// The INVITE that it acknowledges or cancels, or is.
    pub(super) invite: Key,
    /// The same request, whichever way it came; `None` inside a dialog.
    pub(super) any_way: Option<Key>,
}

/// Makes keys.
#[derive(Clone)]
pub(super) struct Matching([u8; 16]);

impl Matching {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// The keys of a request.
    pub(super) fn keys(&self, realm: Realm, request: &Message) -> Result<Keys, Flaw> {
        let method = request.method();
        let own = match method {
            Method::Ack => Method::Invite,
            other => other,
        };
        Ok(Keys {
            own: self.transaction(realm, request, own)?,
            invite: self.transaction(realm, request, Method::Invite)?,
            any_way: self.any_way(realm, request, method)?,
        })
    }

    fn transaction(
        &self,
        realm: Realm,
        request: &Message,
        method: Method<'_>,
    ) -> Result<Key, Flaw> {
        let via = request.via()?;
        let mut parts = Parts::new(&self.0, realm);
        match via.branch().filter(|branch| has_cookie(branch)) {
            Some(branch) => {
                parts.add(branch);
                parts.add(&via.host.to_ascii_lowercase());
                parts.number(via.port.unwrap_or(DEFAULT_PORT).into());
            }
            // Senders of RFC 2543. The To tag is left out: an ACK has the one that we gave, and no
            // two INVITEs of one dialog have the same CSeq.
            None => {
                parts.add(request.target());
                parts.add(request.from()?.tag().unwrap_or_default());
                parts.add(request.call_id()?);
                parts.number(request.cseq()?.number);
                parts.add(request.values(Name::Via).next().unwrap_or_default());
            }
        }
        parts.add(method.as_str());
        Ok(parts.key())
    }

    fn any_way(
        &self,
        realm: Realm,
        request: &Message,
        method: Method<'_>,
    ) -> Result<Option<Key>, Flaw> {
        if matches!(method, Method::Ack | Method::Cancel) || request.to()?.tag().is_some() {
            return Ok(None);
        }
        // Without a From tag (RFC 2543) nothing tells two callers apart.
        let from = request.from()?;
        let Some(tag) = from.tag() else { return Ok(None) };
        let mut parts = Parts::new(&self.0, realm);
        parts.add(tag);
        parts.add(request.call_id()?);
        parts.number(request.cseq()?.number);
        parts.add(method.as_str());
        Ok(Some(parts.key()))
    }
}

impl std::fmt::Debug for Matching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Matching")
    }
}

fn has_cookie(branch: &str) -> bool {
    let cookie = branch.as_bytes().get(..MAGIC_COOKIE.len());
    cookie.is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE.as_bytes()))
}

/// Hashes parts so that none can pass for a piece of its neighbour.
struct Parts(SipHasher24);

impl Parts {
    fn new(key: &[u8; 16], realm: Realm) -> Self {
        let mut hasher = SipHasher24::new_with_key(key);
        hasher.write(&realm.0.to_be_bytes());
        Self(hasher)
    }

    fn add(&mut self, text: &str) {
        self.0.write(&text.len().to_be_bytes());
        self.0.write(text.as_bytes());
    }

    fn number(&mut self, number: u32) {
        self.0.write(&number.to_be_bytes());
    }

    fn key(self) -> Key {
        Key(self.0.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn keys(method: &str, via: &str, to: &str, cseq: u32) -> Keys {
        keys_in(Realm(1), method, via, to, cseq)
    }

    fn keys_in(realm: Realm, method: &str, via: &str, to: &str, cseq: u32) -> Keys {
        let text = format!(
            "{method} sip:102@acme.test SIP/2.0\r\nVia: {via}\r\nFrom: <sip:101@acme.test>;tag=a\r\n\
             To: <sip:102@acme.test>{to}\r\nCall-ID: c1\r\nCSeq: {cseq} {method}\r\n\r\n"
        );
        let message = Message::parse(Bytes::from(text)).unwrap();
        Matching::new([1; 16]).keys(realm, &message).unwrap()
    }

    const VIA: &str = "SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKa";
    const OLD_VIA: &str = "SIP/2.0/UDP 10.0.0.5:5062;branch=1";

    #[test]
    fn an_ack_and_a_cancel_find_their_invite() {
        for via in [VIA, OLD_VIA, "SIP/2.0/UDP 10.0.0.5:5062"] {
            let invite = keys("INVITE", via, "", 1);
            assert_eq!(invite.own, invite.invite);
            assert_eq!(keys("ACK", via, ";tag=b", 1).own, invite.own);
            let cancel = keys("CANCEL", via, "", 1);
            assert_eq!(cancel.invite, invite.own);
            assert_ne!(cancel.own, invite.own);
            assert_eq!(cancel.any_way, None);
        }
    }

    #[test]
    fn requests_of_two_realms_are_never_the_same() {
        for via in [VIA, OLD_VIA] {
            let (one, other) = (Realm(1), Realm(2));
            let (one, other) =
                (keys_in(one, "INVITE", via, "", 1), keys_in(other, "INVITE", via, "", 1));
            assert_ne!(one.own, other.own);
            assert_ne!(one.invite, other.invite);
            assert_ne!(one.any_way, other.any_way);
        }
    }

    #[test]
    fn branch_sender_and_method_tell_transactions_apart() {
        let one = keys("INVITE", VIA, "", 1).own;
        for other in [
            keys("OPTIONS", VIA, "", 1).own,
            keys("INVITE", "SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKb", "", 1).own,
            keys("INVITE", "SIP/2.0/UDP 10.0.0.6:5062;branch=z9hG4bKa", "", 1).own,
            keys("INVITE", "SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKa", "", 1).own,
            keys("INVITE", OLD_VIA, "", 1).own,
        ] {
            assert_ne!(one, other);
        }
        let same = keys("INVITE", "SIP/2.0/TCP 10.0.0.5 : 5062;rport;branch=z9hG4bKa", "", 2);
        assert_eq!(one, same.own, "only branch, sender and method count");
        assert_eq!(
            keys("INVITE", "SIP/2.0/UDP Host;branch=z9hG4bKa", "", 1).own,
            keys("INVITE", "SIP/2.0/UDP hOST:5060;branch=z9hG4bKa", "", 1).own
        );
    }

    #[test]
    fn old_senders_are_told_apart_by_everything_else() {
        let one = keys("INVITE", OLD_VIA, "", 1).own;
        assert_eq!(one, keys("INVITE", OLD_VIA, "", 1).own);
        assert_ne!(one, keys("INVITE", OLD_VIA, "", 2).own);
        assert_ne!(one, keys("INVITE", "SIP/2.0/UDP 10.0.0.5:5062;branch=2", "", 1).own);
    }

    #[test]
    fn the_same_request_by_another_way_has_one_key_in_common() {
        let other_way = "SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKz";
        let one = keys("INVITE", VIA, "", 1);
        let other = keys("INVITE", other_way, "", 1);
        assert_ne!(one.own, other.own);
        assert!(one.any_way.is_some());
        assert_eq!(one.any_way, other.any_way);
        assert_ne!(one.any_way, keys("INVITE", other_way, "", 2).any_way);
        assert_eq!(keys("INVITE", VIA, ";tag=b", 1).any_way, None);
    }
}
