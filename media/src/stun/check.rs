//! A question with a password: whoever asks it has read our session description, and can be reached.
//!
//! RFC 8445 §7.2.2 and §7.3 (what a check holds, and how it is answered), RFC 8489 §9.1 (short-term
//! passwords) and §14.5 (MESSAGE-INTEGRITY). We are the lite side (RFC 8445 §2.5): we ask nothing.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use stun_rs::attributes::stun::{
    ErrorCode, Fingerprint, MessageIntegrity, Software, UnknownAttributes, XorMappedAddress,
};
use stun_rs::methods::BINDING;
use stun_rs::{HMACKey, MessageClass, MessageEncoder, StunMessageBuilder, TransactionId};

use super::request::{
    BINDING_REQUEST, COOKIE, FINGERPRINT, HEADER, MESSAGE_INTEGRITY, MOST_UNKNOWN, OPTIONAL,
    is_right, split_attribute,
};

/// A check with everything in it needs less.
const LONGEST: usize = 1_024;
/// More than any answer needs.
const ROOM: usize = 256;

const USERNAME: u16 = 0x0006;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
/// Known and of no use to us: what belongs in answers or in other mechanisms.
const PASSED_OVER: [u16; 5] = [0x0001, 0x0009, 0x0014, 0x0015, 0x0020];

/// What a check must hold, and what its answer is sealed with.
#[derive(Debug)]
pub(crate) struct Credentials {
    username: String,
    password: String,
    key: HMACKey,
}

/// What a check showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The asker is our peer, and this is a way to it.
    Way,
    /// The same, and this is the one to use.
    BestWay,
    /// Nothing: it has no right password, or is not as it must be.
    Nothing,
}

/// What a check asks for.
#[derive(Debug, Default)]
struct Check<'a> {
    username: Option<&'a [u8]>,
    /// The password's proof, and how far into the message it reaches.
    proof: Option<(&'a [u8], usize)>,
    nomination: Nomination,
    role: Role,
    unknown: Vec<u16>,
}

/// Whether the asker chose this way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Nomination {
    #[default]
    None,
    UseCandidate,
}

/// Who decides, in the asker's opinion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Controlling,
    Controlled,
}

/// Why a check is refused (RFC 8489 §9.1.3, RFC 8445 §7.3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    Unauthenticated,
    UnknownAttribute,
    RoleConflict,
}

impl Credentials {
    /// Of both sides' `ice-ufrag`, and our `ice-pwd`; `None` if that can be nobody's password.
    pub(crate) fn new(ours: &(String, String), theirs: &str) -> Option<Self> {
        let (fragment, password) = ours;
        let key = HMACKey::new_short_term(password.as_str()).ok()?;
        let username = format!("{fragment}:{theirs}");
        Some(Self { username, password: password.clone(), key })
    }

    /// Answers a check that came from `peer`; `None` if it is none, or broken.
    pub(crate) fn answer(&self, datagram: &[u8], peer: SocketAddr) -> Option<(Shown, Vec<u8>)> {
        let check = Check::read(datagram)?;
        let id = datagram.get(8..HEADER)?.first_chunk::<12>()?;
        let refusal = self.refuse(&check, datagram);
        let bytes = self.write((*id).into(), peer, refusal, &check.unknown)?;
        let shown = match (refusal, check.nomination) {
            (None, Nomination::None) => Shown::Way,
            (None, Nomination::UseCandidate) => Shown::BestWay,
            (Some(_), _) => Shown::Nothing,
        };
        Some((shown, bytes))
    }

    fn write(
        &self,
        id: TransactionId,
        peer: SocketAddr,
        refusal: Option<Refusal>,
        unknown: &[u16],
    ) -> Option<Vec<u8>> {
        let class = match refusal {
            None => MessageClass::SuccessResponse,
            Some(_) => MessageClass::ErrorResponse,
        };
        let message = StunMessageBuilder::new(BINDING, class).with_transaction_id(id);
        let message = match refusal {
            None => {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                message.with_attribute(XorMappedAddress::from(peer))
            }
            Some(refusal) => {
                let (code, reason) = refusal.status();
                let code = stun_rs::ErrorCode::new(code, reason).ok()?;
                message.with_attribute(ErrorCode::from(code))
            }
        };
        let message = match refusal {
            Some(Refusal::UnknownAttribute) => {
                message.with_attribute(UnknownAttributes::from(unknown))
            }
            None | Some(_) => message,
        };
        let message = message.with_attribute(Software::new("tenantd").ok()?);
        // Whoever has shown no password is told nothing that looks as if it had one.
        let message = match refusal {
            Some(Refusal::BadRequest | Refusal::Unauthenticated) => message,
            None | Some(Refusal::UnknownAttribute | Refusal::RoleConflict) => {
                message.with_attribute(MessageIntegrity::new(self.key.clone()))
            }
        };
        let message = message.with_attribute(Fingerprint::default()).build();
        let mut bytes = vec![0; ROOM];
        let len = MessageEncoder::default().encode(&mut bytes, &message).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    fn refuse(&self, check: &Check<'_>, datagram: &[u8]) -> Option<Refusal> {
        let (Some(username), Some((proof, at))) = (check.username, check.proof) else {
            return Some(Refusal::BadRequest);
        };
        if username != self.username.as_bytes() || !self.proves(datagram, proof, at) {
            return Some(Refusal::Unauthenticated);
        }
        if !check.unknown.is_empty() {
            return Some(Refusal::UnknownAttribute);
        }
        // The lite side is always the controlled one, so the other cannot be.
        (check.role == Role::Controlled).then_some(Refusal::RoleConflict)
    }

    /// RFC 8489 §14.5: over what comes before, with a length that ends with the proof itself.
    fn proves(&self, datagram: &[u8], proof: &[u8], at: usize) -> bool {
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(self.password.as_bytes()) else {
            return false;
        };
        let (Some(kind), Some(rest)) = (datagram.get(..2), datagram.get(4..at)) else {
            return false;
        };
        let Ok(length) = u16::try_from(at + 24 - HEADER) else { return false };
        mac.update(kind);
        mac.update(&length.to_be_bytes());
        mac.update(rest);
        mac.verify_slice(proof).is_ok()
    }
}

impl<'a> Check<'a> {
    fn read(datagram: &'a [u8]) -> Option<Self> {
        let (header, body) = datagram.split_first_chunk::<HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_one = header.starts_with(&BINDING_REQUEST) && header[4..8] == COOKIE;
        if !is_one || length != body.len() || length % 4 != 0 || datagram.len() > LONGEST {
            return None;
        }
        let mut check = Self::default();
        let mut rest = body;
        while !rest.is_empty() {
            let at = datagram.len() - rest.len();
            let (kind, value, after) = split_attribute(rest)?;
            rest = after;
            match (kind, &check.proof) {
                (FINGERPRINT, _) if rest.is_empty() && is_right(datagram, value) => {}
                (FINGERPRINT, _) => return None,
                // RFC 8489 §14.5: whatever else follows was not sealed.
                (_, Some(_)) => {}
                (MESSAGE_INTEGRITY, None) => check.proof = Some((value, at)),
                (USERNAME, None) => check.username = Some(value),
                (USE_CANDIDATE, None) => check.nomination = Nomination::UseCandidate,
                (ICE_CONTROLLED, None) => check.role = Role::Controlled,
                (PRIORITY, None) => {}
                (passed, None) if passed >= OPTIONAL || PASSED_OVER.contains(&passed) => {}
                (unknown, None) => {
                    if check.unknown.len() < MOST_UNKNOWN && !check.unknown.contains(&unknown) {
                        check.unknown.push(unknown);
                    }
                }
            }
        }
        Some(check)
    }
}

impl Refusal {
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthenticated => (401, "Unauthenticated"),
            Self::UnknownAttribute => (420, "Unknown Attribute"),
            Self::RoleConflict => (487, "Role Conflict"),
        }
    }
}
