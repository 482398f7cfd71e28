//! Writing answers in today's dialect.
//!
//! RFC 8489 §6.3.1 (what an answer holds), §14 (how it is written); RFC 5780 §6.1.

use std::net::SocketAddr;

use stun_rs::attributes::discovery::{OtherAddress, Padding, ResponseOrigin};
use stun_rs::attributes::stun::{
    ErrorCode, Fingerprint, MappedAddress, Software, UnknownAttributes, XorMappedAddress,
};
use stun_rs::methods::BINDING;
use stun_rs::{MessageClass, MessageEncoder, StunMessageBuilder};

use super::request::{Checksum, Request};
use super::{Place, Refusal};

/// What we say of ourselves: a name and no version, which would serve attackers alone.
const SOFTWARE: &str = "tenantd";
/// More than any answer needs beside its padding.
const ROOM: usize = 256;

/// Where the phone is.
pub(super) fn success(request: &Request<'_>, peer: SocketAddr, place: Place) -> Option<Vec<u8>> {
    let mut message =
        begin(request, MessageClass::SuccessResponse).with_attribute(XorMappedAddress::from(peer));
    if let Place::Corner(corner) = place {
        let (from, other) = (corner.changed(request.change).here, corner.across);
        message = message
            // A router that also changes addresses inside of messages shows itself by this one.
            .with_attribute(MappedAddress::from(peer))
            .with_attribute(ResponseOrigin::from(from))
            .with_attribute(OtherAddress::from(other));
    }
    // As much as was sent, not what fits the network as RFC 5780 §6.1 has it: a small question
    // with a forged sender must not make us send a large answer.
    if let Some(padding) = request.padding {
        message = message.with_attribute(Padding::new("\0".repeat(padding)).ok()?);
    }
    finish(request, message)
}

/// Why there is no answer.
pub(super) fn error(request: &Request<'_>, refusal: &Refusal) -> Option<Vec<u8>> {
    let (code, reason) = refusal.status();
    let message = begin(request, MessageClass::ErrorResponse)
        .with_attribute(ErrorCode::from(stun_rs::ErrorCode::new(code, reason).ok()?));
    let message = match refusal {
        Refusal::UnknownAttributes(unknown) => {
            message.with_attribute(UnknownAttributes::from(unknown.as_slice()))
        }
        Refusal::BadRequest => message,
    };
    finish(request, message)
}

fn begin(request: &Request<'_>, class: MessageClass) -> StunMessageBuilder {
    StunMessageBuilder::new(BINDING, class).with_transaction_id(request.transaction().into())
}

fn finish(request: &Request<'_>, message: StunMessageBuilder) -> Option<Vec<u8>> {
    let message = message.with_attribute(Software::new(SOFTWARE).ok()?);
    let message = match request.checksum {
        Checksum::Right => message.with_attribute(Fingerprint::default()),
        Checksum::None => message,
    };
    let mut bytes = vec![0; ROOM + request.padding.unwrap_or_default()];
    let length = MessageEncoder::default().encode(&mut bytes, &message.build()).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

impl Refusal {
    /// The number and the words of RFC 8489 §14.8.
    pub(super) fn status(&self) -> (u16, &'static str) {
        match self {
            Self::UnknownAttributes(_) => (420, "Unknown Attribute"),
            Self::BadRequest => (400, "Bad Request"),
        }
    }
}
