//! The called side: phones that ring, answer at once, and hang up when they are told.
//!
//! RFC 3261 §13.3.1.4: a 200 is repeated until its ACK comes.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::failure::Outcome;

use super::phone::description;
use super::reading::{header, lines, sound_port, value_of};
use super::{Sound, T1, T2};
use crate::sound;

/// An answered call.
struct Answered {
    answer: Bytes,
    to: SocketAddrV4,
    began_at: Instant,
    repeat_after: Duration,
    is_acknowledged: bool,
    talks: Option<sound::Phone>,
}

/// All calls that phones of one thread have answered, by Call-ID.
pub(super) struct Called {
    address: SocketAddrV4,
    sound: Sound,
    calls: HashMap<String, Answered>,
    tags: u64,
}

/// What is to be done about a request.
#[derive(Default)]
pub(super) struct Reaction {
    /// Sent back where it came from.
    pub(super) replies: Vec<Bytes>,
    /// A call that [`Called::repeat`] is to look at, and when.
    pub(super) look_at: Option<(Instant, String)>,
    /// A call with sound has begun.
    pub(super) talks: Option<sound::Phone>,
}

impl Called {
    /// Nobody has been called yet at this address.
    pub(super) fn new(address: SocketAddrV4, sound: Sound) -> Self {
        Self { address, sound, calls: HashMap::new(), tags: 0 }
    }

    /// A request has come.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        request: &str,
    ) -> Outcome<Reaction> {
        let method = request.split(' ').next().unwrap_or_default();
        let Some(id) = header(request, "Call-ID") else { return Ok(Reaction::default()) };
        match method {
            "INVITE" => self.answer(now, from, id, request),
            "ACK" => {
                let Some(call) = self.calls.get_mut(id) else { return Ok(Reaction::default()) };
                call.is_acknowledged = true;
                Ok(Reaction { talks: call.talks.take(), ..Reaction::default() })
            }
            _ => {
                if method == "BYE" {
                    self.calls.remove(id);
                }
                let reply = head(request, "200 OK", "b") + "Content-Length: 0\r\n\r\n";
                Ok(Reaction { replies: vec![Bytes::from(reply)], ..Reaction::default() })
            }
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        id: &str,
        request: &str,
    ) -> Outcome<Reaction> {
        if let Some(call) = self.calls.get(id) {
            return Ok(Reaction { replies: vec![call.answer.clone()], ..Reaction::default() });
        }
        self.tags += 1;
        let tag = format!("u{:x}", self.tags);
        let mut talks = None;
        let port = match self.sound {
            Sound::Described => super::NO_SOUND,
            Sound::Sent => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                let port = socket.local_addr()?.port();
                talks = sound_port(request)
                    .map(|target| sound::Phone::new(socket, (Ipv4Addr::LOCALHOST, target).into()));
                port
            }
        };
        let contact = format!("Contact: <sip:called@{}>\r\n", self.address);
        let ringing = head(request, "180 Ringing", &tag) + &contact + "Content-Length: 0\r\n\r\n";
        let body = description(self.address, port);
        let answer = head(request, "200 OK", &tag)
            + &contact
            + &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n", body.len())
            + &body;
        let answer = Bytes::from(answer);
        let call = Answered {
            answer: answer.clone(),
            to: from,
            began_at: now,
            repeat_after: T1,
            is_acknowledged: false,
            talks,
        };
        self.calls.insert(id.to_owned(), call);
        Ok(Reaction {
            replies: vec![Bytes::from(ringing), answer],
            look_at: Some((now + T1, id.to_owned())),
            talks: None,
        })
    }

    /// Looks whether a 200 must be repeated: where to, what, and when to look again.
    pub(super) fn repeat(
        &mut self,
        now: Instant,
        id: &str,
    ) -> Option<(SocketAddrV4, Bytes, Instant)> {
        let call = self.calls.get_mut(id).filter(|call| !call.is_acknowledged)?;
        if now.duration_since(call.began_at) > 64 * T1 {
            self.calls.remove(id);
            return None;
        }
        call.repeat_after = (call.repeat_after * 2).min(T2);
        Some((call.to, call.answer.clone(), now + call.repeat_after))
    }
}

/// A response's beginning: what it must take from the request.
fn head(request: &str, status: &str, tag: &str) -> String {
    let mut head = format!("SIP/2.0 {status}\r\n");
    for line in lines(request) {
        let is = |name: &str| value_of(line, name).is_some();
        let written = match value_of(line, "To") {
            Some(to) if !to.contains(";tag=") => write!(head, "To: {to};tag={tag}\r\n"),
            Some(to) => write!(head, "To: {to}\r\n"),
            None if ["Via", "From", "Call-ID", "CSeq", "Record-Route"].iter().any(|n| is(n)) => {
                write!(head, "{line}\r\n")
            }
            None => Ok(()),
        };
        written.expect("writing into a string cannot fail");
    }
    head
}
