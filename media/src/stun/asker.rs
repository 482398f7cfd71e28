//! The other side of a check, for tests: a peer that knows the passwords, or does not.
//!
//! Written and read by `stun-rs` alone, so that it judges what is ours.

use std::net::SocketAddr;

use pbx::media::Ice;
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{
    ErrorCode, Fingerprint, MessageIntegrity, UserName, XorMappedAddress,
};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoder,
    StunMessage, StunMessageBuilder,
};

/// What a check asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wishes {
    Nothing,
    ThisWay,
    /// It thinks that we decide.
    ToBeTold,
}

/// What both sides' descriptions say.
pub(crate) fn told() -> Ice {
    Ice {
        ours: ("ourU".into(), "ours-is-long-enough-22".into()),
        theirs: ("theirU".into(), "theirs-is-long-enough".into()),
    }
}

/// A check by a peer that was told this.
pub(crate) fn ask(told: &Ice, wishes: Wishes) -> Vec<u8> {
    let username = format!("{}:{}", told.ours.0, told.theirs.0);
    let message = begin()
        .with_attribute(UserName::new(username).unwrap())
        .with_attribute(Priority::new(0x6e00_01ff));
    let message = match wishes {
        Wishes::Nothing => message.with_attribute(IceControlling::new(7)),
        Wishes::ThisWay => {
            message.with_attribute(IceControlling::new(7)).with_attribute(UseCandidate::default())
        }
        Wishes::ToBeTold => message.with_attribute(IceControlled::new(u64::MAX)),
    };
    let key = HMACKey::new_short_term(told.ours.1.as_str()).unwrap();
    finish(message.with_attribute(MessageIntegrity::new(key)))
}

/// A question by somebody who was told nothing.
pub(crate) fn bare() -> Vec<u8> {
    finish(begin())
}

fn begin() -> StunMessageBuilder {
    StunMessageBuilder::new(BINDING, MessageClass::Request)
}

fn finish(message: StunMessageBuilder) -> Vec<u8> {
    let message = message.with_attribute(Fingerprint::default()).build();
    let mut bytes = vec![0; 512];
    let len = MessageEncoder::default().encode(&mut bytes, &message).unwrap();
    bytes.truncate(len);
    bytes
}

/// Reads an answer, and checks the proof if there is one.
fn read(answer: &[u8]) -> StunMessage {
    let key = HMACKey::new_short_term(told().ours.1.as_str()).unwrap();
    let context = DecoderContextBuilder::default().with_key(key).with_validation().build();
    let decoder = MessageDecoderBuilder::default().with_context(context).build();
    decoder.decode(answer).unwrap().0
}

/// Where a successful answer says that its asker is.
pub(crate) fn seen(answer: &[u8]) -> SocketAddr {
    let message = read(answer);
    assert_eq!(message.class(), MessageClass::SuccessResponse);
    let seen = message.get::<XorMappedAddress>().unwrap();
    *seen.as_xor_mapped_address().unwrap().socket_address()
}

/// Whether an answer shows the password, and a checksum.
pub(crate) fn is_sealed(answer: &[u8]) -> bool {
    let message = read(answer);
    assert!(message.get::<Fingerprint>().is_some());
    message.get::<MessageIntegrity>().is_some()
}

/// The number of a refusal.
pub(crate) fn status(answer: &[u8]) -> u16 {
    let message = read(answer);
    assert_eq!(message.class(), MessageClass::ErrorResponse);
    let code = message.get::<ErrorCode>().unwrap().as_error_code().unwrap();
    code.error_code().error_code()
}
