//! Telling a phone behind a router which address the internet sees it at: bytes in, bytes out.
//!
//! RFC 8489 and its elder RFC 5389 (Binding requests), RFC 3489 (phones older still), and, for
//! servers with two addresses, RFC 5780, by which a phone finds out what kind of router it is
//! behind. There are no passwords: what is told is what everybody on the way sees anyway. Calls' own
//! ports answer only who knows a password (`check`).

#[cfg(test)]
pub(crate) mod asker;
pub(crate) mod check;
mod place;
mod request;
mod response;
mod vintage;

use std::net::SocketAddr;

pub use place::{Corner, Place};

use request::{Dialect, Request};

/// The longest question that is read. Padded ones (RFC 5780 §7.6) fill a large frame, others need
/// a hundred bytes.
pub const LONGEST: usize = 4_096;

/// What goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Whom it goes to: who asked, at another port if that was asked for.
    pub to: SocketAddr,
    /// Which of our addresses it leaves from; `None`: from the one that was asked.
    pub from: Option<SocketAddr>,
}

/// Why a question cannot be answered as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// It needs something of us that we do not know.
    UnknownAttributes(Vec<u16>),
    /// It contradicts itself.
    BadRequest,
}

/// Whether a datagram that came to a port of SIP's is STUN: no SIP message begins like this
/// (RFC 5626 §8.1, RFC 8489 §5).
pub fn is_stun(datagram: &[u8]) -> bool {
    let begins = matches!(datagram, [0 | 1, ..]) && datagram.len() >= request::HEADER;
    let marked = datagram.get(4..8) == Some(&request::COOKIE);
    begins && (marked || datagram.starts_with(&request::BINDING_REQUEST))
}

/// Answers a datagram that came from `peer`. What is no question, is broken, or has a wrong
/// checksum gets no answer: nobody can make us talk to a third party that never asked.
pub fn answer(datagram: &[u8], peer: SocketAddr, place: Place) -> Option<Answer> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let request = Request::read(datagram, place)?;
    let refusal = refuse(&request);
    let moved = |corner: Corner| corner.changed(request.change).here;
    let from = match (place, &refusal) {
        (Place::Corner(corner), None) => Some(moved(corner)).filter(|from| *from != corner.here),
        (Place::Corner(_), Some(_)) | (Place::Alone, _) => None,
    };
    let to = match (request.response_port, &refusal) {
        (Some(port), None) => SocketAddr::new(peer.ip(), port),
        (Some(_), Some(_)) | (None, _) => peer,
    };
    let bytes = match (request.dialect, &refusal) {
        (Dialect::Rfc8489, None) => response::success(&request, peer, place)?,
        (Dialect::Rfc8489, Some(refusal)) => response::error(&request, refusal)?,
        (Dialect::Rfc3489, None) => vintage::success(&request, peer, place),
        (Dialect::Rfc3489, Some(refusal)) => vintage::error(&request, refusal),
    };
    Some(Answer { bytes, to, from })
}

fn refuse(request: &Request<'_>) -> Option<Refusal> {
    if !request.unknown.is_empty() {
        return Some(Refusal::UnknownAttributes(request.unknown.clone()));
    }
    // RFC 5780 §6.1: a padded answer must not be sent to a port that did not ask for it.
    let contradicts = request.padding.is_some() && request.response_port.is_some();
    (contradicts || request.response_port == Some(0)).then_some(Refusal::BadRequest)
}

#[cfg(test)]
mod tests;
