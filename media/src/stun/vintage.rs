//! Answers for phones older than the magic cookie.
//!
//! RFC 3489 §8.1, §11.2; RFC 8489 §11 no longer asks for it, but such phones are still in use.
//! `stun-rs` does not write this dialect: it has no cookie, and addresses stand as they are.

use std::net::{IpAddr, SocketAddr};

use super::request::Request;
use super::{Place, Refusal};

const BINDING_RESPONSE: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const MAPPED_ADDRESS: u16 = 0x0001;
const SOURCE_ADDRESS: u16 = 0x0004;
const CHANGED_ADDRESS: u16 = 0x0005;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;

/// Where the phone is.
pub(super) fn success(request: &Request<'_>, peer: SocketAddr, place: Place) -> Vec<u8> {
    let mut body = vec![];
    write_address(&mut body, MAPPED_ADDRESS, peer);
    // Alone we do not know how others reach us, and a private address would mislead.
    if let Place::Corner(corner) = place {
        write_address(&mut body, SOURCE_ADDRESS, corner.changed(request.change).here);
        write_address(&mut body, CHANGED_ADDRESS, corner.across);
    }
    whole(request, BINDING_RESPONSE, &body)
}

/// Why there is no answer.
pub(super) fn error(request: &Request<'_>, refusal: &Refusal) -> Vec<u8> {
    let (code, reason) = refusal.status();
    let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
    value.extend_from_slice(reason.as_bytes());
    // Every length is a multiple of four here; words are filled up with spaces.
    value.resize(value.len().next_multiple_of(4), b' ');
    let mut body = vec![];
    write(&mut body, ERROR_CODE, &value);
    if let Refusal::UnknownAttributes(unknown) = refusal {
        // An odd one is told twice (§11.2.10).
        let twice = unknown.last().filter(|_| unknown.len() % 2 == 1);
        let value: Vec<u8> =
            unknown.iter().chain(twice).flat_map(|kind| kind.to_be_bytes()).collect();
        write(&mut body, UNKNOWN_ATTRIBUTES, &value);
    }
    whole(request, BINDING_ERROR, &body)
}

fn whole(request: &Request<'_>, kind: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16;
    [&kind.to_be_bytes(), &length.to_be_bytes(), request.id.as_slice(), body].concat()
}

fn write(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_be_bytes());
    body.extend((value.len() as u16).to_be_bytes());
    body.extend_from_slice(value);
}

fn write_address(body: &mut Vec<u8>, kind: u16, address: SocketAddr) {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = address.port().to_be_bytes();
    write(body, kind, &[&[0, family], port.as_slice(), &ip].concat());
}
