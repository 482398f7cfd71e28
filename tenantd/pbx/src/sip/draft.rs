//! Writing a message: straight into bytes, in the order in which it is said.
//!
//! RFC 3261 §7 and §8.2.6 (an answer's headers), RFC 3581 §4 (where the request really came from).
//! Whatever a value holds, it can neither end its line nor begin another.

use std::fmt::{self, Display, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::letters::is_token;
use super::list::{SPACE, piece_end};
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::status::reason_phrase;
use super::via::{Rport, Via};

/// What most requests fit in, and most answers.
const USUAL: usize = 1_024;
const USUAL_ANSWER: usize = 512;

/// A message that is being written.
#[derive(Debug)]
#[must_use]
pub struct Draft {
    buffer: Vec<u8>,
    /// The topmost Via that was copied from the request.
    top_via: Range<usize>,
    /// Where a tag would go, if the To that was copied has none.
    tag_at: Option<usize>,
}

/// A message that lacks nothing but to be sent.
#[derive(Debug)]
#[must_use]
pub struct Written(Vec<u8>);

impl Written {
    /// The bytes, and no room beside them: answers are kept for half a minute.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.0.into_boxed_slice())
    }
}

impl Draft {
    /// Begins a request. Whoever writes it adds Via, From, To, Call-ID, CSeq and Max-Forwards.
    pub fn request(method: Method<'_>, target: &str) -> Self {
        let mut draft = Self::empty(USUAL);
        draft.word(method.as_str());
        draft.buffer.push(b' ');
        draft.word(target);
        draft.buffer.extend_from_slice(b" SIP/2.0\r\n");
        draft
    }

    /// Begins an answer to `to`, with its Via, From, To, Call-ID and CSeq; a 100 also repeats the
    /// Timestamp. `reason` is said in place of the registered phrase.
    pub fn response(to: &Message, status: u16, reason: Option<&str>) -> Self {
        let mut draft = Self::empty(USUAL_ANSWER);
        draft.text(format_args!("SIP/2.0 {status} {}", reason.unwrap_or(reason_phrase(status))));
        draft.buffer.extend_from_slice(b"\r\n");
        for via in to.raw(Name::Via) {
            let from = draft.row(Name::Via, via);
            if draft.top_via.is_empty() {
                draft.top_via = from..from + piece_end(via, b',');
            }
        }
        for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
            let Some(value) = to.raw(name).next() else { continue };
            let from = draft.row(name, value);
            if name == Name::To && to.to().is_ok_and(|to| to.tag().is_none()) {
                draft.tag_at = Some(from + value.len());
            }
        }
        match status {
            100 => draft.copy(to, Name::Timestamp),
            _ => draft,
        }
    }

    fn empty(room: usize) -> Self {
        Self { buffer: Vec::with_capacity(room), top_via: 0..0, tag_at: None }
    }

    /// Writes into the topmost Via where the request came from: `rport` if it was asked for, and
    /// `received` with it, or if the sender named itself otherwise (RFC 3261 §18.2.1, RFC 3581 §4).
    pub fn received(mut self, source: SocketAddr) -> Self {
        let Some(old) = self.buffer.get(self.top_via.clone()) else { return self };
        let old: SmallVec<[u8; 256]> = SmallVec::from_slice(old);
        let Some(via) = std::str::from_utf8(&old).ok().and_then(|old| Via::parse(old).ok()) else {
            return self;
        };
        let new = Amended { old: &old, via, source };
        let from = self.buffer.len();
        // Written at the end, then turned into its place: no second buffer.
        if write!(Line(&mut self.buffer), "{new}").is_err() {
            self.buffer.truncate(from);
            return self;
        }
        let written = self.buffer.len() - from;
        if let Some(tail) = self.buffer.get_mut(self.top_via.start..) {
            tail.rotate_right(written);
        }
        let old_via = self.top_via.start + written..self.top_via.end + written;
        self.buffer.drain(old_via);
        self.tag_at = self.tag_at.map(|at| at + written - old.len());
        self.top_via = self.top_via.start..self.top_via.start + written;
        self
    }

    /// Gives the To a tag, unless it came with one.
    pub fn to_tag(mut self, tag: &str) -> Self {
        if let Some(at) = self.tag_at.take() {
            let from = self.buffer.len();
            // A semicolon too many at the end, which is forgiven, must not come to stand inside.
            let ends_in_semicolon =
                at.checked_sub(1).and_then(|last| self.buffer.get(last)) == Some(&b';');
            self.buffer.extend_from_slice(if ends_in_semicolon { b"tag=" } else { b";tag=" });
            self.word(tag);
            let written = self.buffer.len() - from;
            if let Some(tail) = self.buffer.get_mut(at..) {
                tail.rotate_right(written);
            }
        }
        self
    }

    /// Copies the request's Record-Route into an answer that makes a dialog (RFC 3261 §12.1.1).
    pub fn record_route(self, request: &Message) -> Self {
        self.copy(request, Name::RecordRoute)
    }

    /// Copies all header field rows of that name.
    pub fn copy(mut self, from: &Message, name: Name) -> Self {
        for value in from.raw(name) {
            self.row(name, value);
        }
        self
    }

    /// Adds a header field row.
    pub fn header(mut self, name: Name, value: impl Display) -> Self {
        self.labelled(name.as_str(), value);
        self
    }

    /// Adds a header field row of any name; one that cannot be a name is left out.
    pub fn other(mut self, name: &str, value: impl Display) -> Self {
        self.labelled(name, value);
        self
    }

    /// Ends it with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Written {
        self.labelled(Name::ContentType.as_str(), content_type);
        self.labelled(Name::ContentLength.as_str(), body.len());
        self.buffer.extend_from_slice(b"\r\n");
        self.buffer.extend_from_slice(body);
        Written(self.buffer)
    }

    /// Ends it without a body.
    pub fn finish(mut self) -> Bytes {
        self.buffer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        Written(self.buffer).finish()
    }

    fn labelled(&mut self, name: &str, value: impl Display) {
        if is_token(name.as_bytes()) {
            self.buffer.extend_from_slice(name.as_bytes());
            self.buffer.extend_from_slice(b": ");
            self.text(value);
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    /// Writes a row as it came, and says where its value begins.
    fn row(&mut self, name: Name, value: &[u8]) -> usize {
        self.buffer.extend_from_slice(name.as_str().as_bytes());
        self.buffer.extend_from_slice(b": ");
        let from = self.buffer.len();
        extend_harmless(&mut self.buffer, value);
        self.buffer.extend_from_slice(b"\r\n");
        from
    }

    fn text(&mut self, value: impl Display) {
        let from = self.buffer.len();
        if write!(Line(&mut self.buffer), "{value}").is_err() {
            self.buffer.truncate(from);
        }
    }

    /// Writes what must be one word: space in it would move the words behind it.
    fn word(&mut self, word: &str) {
        self.buffer.extend(word.bytes().filter(|byte| *byte > b' ' && *byte != b'\x7f'));
    }
}

/// Adds `text`; what would end the line becomes space.
fn extend_harmless(buffer: &mut Vec<u8>, text: &[u8]) {
    match memchr::memchr2(b'\r', b'\n', text) {
        None => buffer.extend_from_slice(text),
        Some(_) => buffer.extend(text.iter().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            byte => *byte,
        })),
    }
}

/// Text that cannot leave its line.
struct Line<'a>(&'a mut Vec<u8>);

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        extend_harmless(self.0, text.as_bytes());
        Ok(())
    }
}

/// A Via with the truth about its sender.
struct Amended<'a> {
    old: &'a [u8],
    via: Via<'a>,
    source: SocketAddr,
}

impl Display for Amended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.old.split(|byte| *byte == b';').next().unwrap_or_default();
        f.write_str(std::str::from_utf8(head).unwrap_or_default().trim_end_matches(SPACE))?;
        for (name, value) in self.via.params.iter() {
            if name.eq_ignore_ascii_case("received") {
                continue;
            }
            match value {
                _ if name.eq_ignore_ascii_case("rport") => {
                    write!(f, ";rport={}", self.source.port())?;
                }
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        let source: IpAddr = self.source.ip().to_canonical();
        if self.via.rport() != Rport::Absent || self.via.ip() != Some(source) {
            write!(f, ";received={source}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:102@acme.test SIP/2.0\r\n\
        Via: SIP/2.0/UDP 10.0.0.5:5062 ;x=1;rport;received=9.9.9.9;branch=z9hG4bKa , \
        SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n\
        v: SIP/2.0/UDP b.test;branch=z9hG4bKc\r\n\
        Record-Route: <sip:p1.test;lr>,\r\n <sip:p2.test;lr>\r\n\
        f: \"Ada\" <sip:101@acme.test>;tag=7\r\n\
        t: <sip:102@acme.test>\r\n\
        Timestamp: 54\r\n\
        i: abc@10.0.0.5\r\n\
        CSeq: 1 INVITE\r\n\r\n";

    fn invite() -> Message {
        Message::parse(Bytes::from_static(INVITE.as_bytes())).unwrap()
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_answer_goes_the_way_its_request_came() {
        let source = "198.51.100.7:40000".parse().unwrap();
        let answer = Draft::response(&invite(), 180, None)
            .received(source)
            .to_tag("b1")
            .record_route(&invite())
            .header(Name::Contact, format_args!("<sip:{}@pbx.test>", 102))
            .finish();
        assert_eq!(
            text(answer),
            "SIP/2.0 180 Ringing\r\n\
             Via: SIP/2.0/UDP 10.0.0.5:5062;x=1;rport=40000;branch=z9hG4bKa;\
             received=198.51.100.7, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bKb\r\n\
             Via: SIP/2.0/UDP b.test;branch=z9hG4bKc\r\n\
             From: \"Ada\" <sip:101@acme.test>;tag=7\r\n\
             To: <sip:102@acme.test>;tag=b1\r\n\
             Call-ID: abc@10.0.0.5\r\n\
             CSeq: 1 INVITE\r\n\
             Record-Route: <sip:p1.test;lr>,   <sip:p2.test;lr>\r\n\
             Contact: <sip:102@pbx.test>\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn the_tag_and_the_source_can_be_written_in_either_order() {
        let source = "198.51.100.7:40000".parse().unwrap();
        let one = Draft::response(&invite(), 404, None).received(source).to_tag("b1").finish();
        let other = Draft::response(&invite(), 404, None).to_tag("b1").received(source).finish();
        assert_eq!(one, other);
    }

    #[test]
    fn who_named_itself_rightly_and_asked_nothing_is_left_alone() {
        let bytes = INVITE.replace(";x=1;rport;received=9.9.9.9", "");
        let request = Message::parse(bytes.into()).unwrap();
        let same = "10.0.0.5:40000".parse().unwrap();
        let answer = text(Draft::response(&request, 100, None).received(same).finish());
        assert!(answer.contains("Via: SIP/2.0/UDP 10.0.0.5:5062;branch=z9hG4bKa,"), "{answer}");
        assert!(answer.contains("Timestamp: 54\r\n"), "{answer}");
        let other = "[2001:db8::7]:40000".parse().unwrap();
        let answer = text(Draft::response(&request, 100, None).received(other).finish());
        assert!(answer.contains(";branch=z9hG4bKa;received=2001:db8::7,"), "{answer}");
    }

    #[test]
    fn a_semicolon_too_many_does_not_come_to_stand_inside() {
        let bytes = INVITE.replace("t: <sip:102@acme.test>", "t: <sip:102@acme.test>;");
        let request = Message::parse(bytes.into()).unwrap();
        let answer = Message::parse(Draft::response(&request, 200, None).to_tag("b").finish());
        assert_eq!(answer.unwrap().first(Name::To), Some("<sip:102@acme.test>;tag=b"));
    }

    #[test]
    fn a_tag_that_is_there_stays() {
        let bytes = INVITE.replace("t: <sip:102@acme.test>", "t: <sip:102@acme.test>;tag=mine");
        let request = Message::parse(bytes.into()).unwrap();
        let answer = text(Draft::response(&request, 200, None).to_tag("other").finish());
        assert!(answer.contains("To: <sip:102@acme.test>;tag=mine\r\n"), "{answer}");
        assert!(!answer.contains("other") && !answer.contains("Timestamp"));
    }

    #[test]
    fn no_value_can_begin_a_line_of_its_own() {
        let evil = "x\r\nVia: SIP/2.0/UDP evil\r\n\r\n";
        let bytes = Draft::request(Method::Other("IN VITE\r\n"), "sip:a b\r\n@c")
            .header(Name::Subject, evil)
            .header(Name::From, format_args!("<sip:{evil}>"))
            .other("Bad\r\nName", "x")
            .other("X-Good", evil)
            .body(evil, b"\r\n");
        let message = text(bytes.finish());
        let lines: Vec<_> = message.split("\r\n").collect();
        assert_eq!(lines[0], "INVITE sip:ab@c SIP/2.0");
        assert!(!lines.iter().any(|line| line.starts_with("Via") || line.starts_with("Bad")));
        assert_eq!(lines.len(), 9, "{message}");
        assert_eq!(lines[5], "Content-Length: 2");
    }

    #[test]
    fn a_body_is_written_byte_for_byte() {
        let body = [0, 255, b'\r', b'\n', 128];
        let bytes = Draft::request(Method::Message, "sip:a@b").body("x/y", &body).finish();
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.body().as_ref(), body);
        assert_eq!(message.content_type(), Some("x/y"));
    }
}
