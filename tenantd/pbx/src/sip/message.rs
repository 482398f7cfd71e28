//! One SIP message: its bytes as they came, and an index of where everything in them is.
//!
//! RFC 3261 §7. Values are read when asked for, so what nobody asks for can be as strange as it
//! likes, and every byte is still there.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use super::address::{Address, Contacts};
use super::cseq::{CSeq, whole};
use super::draft::Draft;
use super::flaw::Flaw;
use super::letters::{Letters, only};
use super::list::Pieces;
use super::method::Method;
use super::name::Name;
use super::parse::{self, Field, Span, Start};
use super::uri::Uri;
use super::via::Via;

pub use super::parse::{LONGEST, MOST_FIELDS};

/// A message.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    unfolded: Option<Box<[u8]>>,
    start: Start,
    fields: Vec<Field>,
    body: Span,
}

/// Bytes that are no message, with as much of one as could be found.
#[derive(Debug, Clone, Error)]
#[error("{flaw}")]
pub struct Malformed {
    /// What is wrong.
    pub flaw: Flaw,
    /// What could be read all the same.
    pub message: Option<Box<Message>>,
}

impl Malformed {
    /// The refusal, if there is somebody to refuse: a request that is no ACK and has a Via.
    pub fn answer(&self) -> Option<Draft> {
        let message = self.message.as_deref()?;
        super::check::Refusal::Malformed(self.flaw).answer(message)
    }
}

impl Message {
    /// Reads a datagram, or one message cut from a stream. What stands behind the body's length is
    /// not part of it (RFC 3261 §18.3).
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let index = parse::read(&bytes).map_err(|flaw| Malformed { flaw, message: None })?;
        let message = Self {
            unfolded: index.unfolded,
            start: index.start,
            fields: index.fields,
            body: index.body,
            bytes,
        };
        match index.flaw {
            None => Ok(message),
            Some(flaw) => Err(Malformed { flaw, message: Some(Box::new(message)) }),
        }
    }

    /// All of it, as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it asks, rather than answers.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// What it asks for; an answer's is the one of its CSeq.
    pub fn method(&self) -> Method<'_> {
        match self.start {
            Start::Request { method, .. } => Method::of(self.text(method).unwrap_or_default()),
            Start::Response { .. } => {
                self.cseq().map_or(Method::Other(""), |CSeq { method, .. }| method)
            }
        }
    }

    /// An answer's status code.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// An answer's reason phrase; empty in a request, or if it is not UTF-8.
    pub fn reason(&self) -> &str {
        match self.start {
            Start::Request { .. } => "",
            Start::Response { reason, .. } => self.text(reason).unwrap_or_default(),
        }
    }

    /// The protocol's version, as `SIP/2.0`.
    pub fn version(&self) -> &str {
        let (Start::Request { version, .. } | Start::Response { version, .. }) = self.start;
        self.text(version).unwrap_or_default()
    }

    /// The Request-URI as it came; empty for an answer, or if it is not UTF-8.
    pub fn target(&self) -> &str {
        match self.start {
            Start::Request { target, .. } => self.text(target).unwrap_or_default(),
            Start::Response { .. } => "",
        }
    }

    /// The Request-URI.
    pub fn uri(&self) -> Result<Uri<'_>, Flaw> {
        Uri::parse(self.target()).map_err(|flaw| flaw.at("Request-URI"))
    }

    /// The first header field value of that name, not cut at commas.
    pub fn first(&self, name: Name) -> Option<&str> {
        self.fields(name).next()
    }

    /// Each header field row of that name; rows that are not UTF-8 are passed over.
    pub fn fields(&self, name: Name) -> impl Iterator<Item = &str> {
        self.texts(name).filter_map(Result::ok)
    }

    /// Each value of that name, over all rows, cut at commas; empty ones are passed over.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        let values = self.fields(name).flat_map(|text| Pieces::of(text, b','));
        values.filter(|value| !value.is_empty())
    }

    /// The first header field value of any name, long or compact, in any case.
    pub fn other(&self, name: &str) -> Option<&str> {
        match Name::of(name.as_bytes()) {
            Name::Other => self.all().find(|(label, _)| label.eq_ignore_ascii_case(name)),
            known => return self.first(known),
        }
        .map(|(_, value)| value)
    }

    /// Every header field row, as (name as written, value); rows that are not UTF-8 are passed over.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .filter_map(|field| Some((self.text(field.label)?, self.text(field.value)?)))
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'_>, Flaw> {
        let text = self.texts(Name::Via).next().ok_or(Flaw::Missing("Via"))??;
        Via::parse(Pieces::of(text, b',').next().unwrap_or_default())
    }

    /// Every Via, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, Flaw>> {
        self.pieces(Name::Via).map(|piece| piece.and_then(Via::parse))
    }

    /// Who sent the dialog's first request.
    pub fn from(&self) -> Result<Address<'_>, Flaw> {
        Address::parse(self.only(Name::From)?, "From")
    }

    /// Whom it was for.
    pub fn to(&self) -> Result<Address<'_>, Flaw> {
        Address::parse(self.only(Name::To)?, "To")
    }

    /// Where to reach who sent this, or what to register.
    pub fn contacts(&self) -> Result<Contacts<'_>, Flaw> {
        let mut pieces = self.pieces(Name::Contact).peekable();
        let Some(first) = pieces.next() else { return Ok(Contacts::None) };
        if first == Ok("*") {
            return match pieces.peek() {
                None => Ok(Contacts::Star),
                Some(_) => Err(Flaw::wrong("Contact", "'*' and something else")),
            };
        }
        let address = |piece: Result<_, _>| piece.and_then(|text| Address::parse(text, "Contact"));
        std::iter::once(first)
            .chain(pieces)
            .map(address)
            .collect::<Result<_, _>>()
            .map(Contacts::List)
    }

    /// The hops it shall still take.
    pub fn routes(&self) -> Result<Vec<Address<'_>>, Flaw> {
        self.addresses(Name::Route)
    }

    /// The hops that want to see the dialog's later requests, as they are written.
    pub fn record_routes(&self) -> Vec<&str> {
        self.values(Name::RecordRoute).collect()
    }

    /// Every address of a header that may have several; `Contact: *` is no address.
    pub fn addresses(&self, name: Name) -> Result<Vec<Address<'_>>, Flaw> {
        let address =
            |piece: Result<_, _>| piece.and_then(|text| Address::parse(text, name.as_str()));
        self.pieces(name).map(address).collect()
    }

    /// The name of its dialog, or of its registration.
    pub fn call_id(&self) -> Result<&str, Flaw> {
        match self.only(Name::CallId)? {
            "" => Err(Flaw::wrong("Call-ID", "nothing in it")),
            text if !only(Letters::Word, text.as_bytes()) => {
                Err(Flaw::wrong("Call-ID", "more than a word"))
            }
            text => Ok(text),
        }
    }

    /// Its number and method.
    pub fn cseq(&self) -> Result<CSeq<'_>, Flaw> {
        CSeq::parse(self.only(Name::CSeq)?)
    }

    /// How many hops it may still take; senders of RFC 2543 do not say.
    pub fn max_forwards(&self) -> Result<Option<u8>, Flaw> {
        let Some(text) = self.at_most_one(Name::MaxForwards)? else { return Ok(None) };
        let hops = whole(text).and_then(|hops| u8::try_from(hops).ok());
        hops.map(Some).ok_or(Flaw::wrong("Max-Forwards", "no number up to 255"))
    }

    /// How long it is good for, in seconds; more than we can count is as long as we can.
    pub fn expires(&self) -> Result<Option<u32>, Flaw> {
        let Some(text) = self.at_most_one(Name::Expires)? else { return Ok(None) };
        let seconds = whole(text).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        seconds.map(Some).ok_or(Flaw::wrong("Expires", "no number of seconds"))
    }

    /// What its body is, as written.
    pub fn content_type(&self) -> Option<&str> {
        self.first(Name::ContentType)
    }

    /// Its body.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body.range())
    }

    /// What came behind the body: by its length it is not part of the message.
    pub fn behind_body(&self) -> &[u8] {
        self.bytes.get(self.body.range().end..).unwrap_or_default()
    }

    /// The raw bytes of each header field row of that name, line ends made spaces.
    pub(super) fn raw(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter().filter(move |field| field.name == name);
        fields.map(|field| field.value.within(self.unfolded.as_deref().unwrap_or(&self.bytes)))
    }

    fn texts(&self, name: Name) -> impl Iterator<Item = Result<&str, Flaw>> {
        let not_text = Flaw::wrong(name.as_str(), "not UTF-8");
        self.raw(name).map(move |value| std::str::from_utf8(value).map_err(|_| not_text))
    }

    /// Each value over all rows; an empty one between commas is a flaw.
    fn pieces(&self, name: Name) -> impl Iterator<Item = Result<&str, Flaw>> {
        let nothing = Flaw::wrong(name.as_str(), "nothing between two commas");
        self.texts(name).flat_map(move |text| {
            let (text, flaw) = match text {
                Ok(text) => (text, None),
                Err(flaw) => ("", Some(Err(flaw))),
            };
            let pieces = Pieces::of(text, b',');
            pieces
                .map(move |piece| if piece.is_empty() { Err(nothing) } else { Ok(piece) })
                .chain(flaw)
        })
    }

    fn only(&self, name: Name) -> Result<&str, Flaw> {
        self.at_most_one(name)?.ok_or(Flaw::Missing(name.as_str()))
    }

    fn at_most_one(&self, name: Name) -> Result<Option<&str>, Flaw> {
        let mut texts = self.texts(name);
        let first = texts.next().transpose()?;
        match texts.next() {
            None => Ok(first),
            Some(_) => Err(Flaw::Repeated(name.as_str())),
        }
    }

    fn text(&self, span: Span) -> Option<&str> {
        let bytes = self.unfolded.as_deref().unwrap_or(&self.bytes);
        std::str::from_utf8(span.within(bytes)).ok()
    }
}

/// The first line only: a header may hold what no log may.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => write!(f, "Message({status} {} to {})", self.reason(), self.method()),
            None => write!(f, "Message({} {})", self.method(), self.target()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message {
        Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
    }

    #[test]
    fn finds_every_part_of_a_request() {
        let message = parse(
            "INVITE sip:102@acme.test SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\n\
             FROM: <sip:101@acme.test>;tag=1\nt : sip:102@acme.test\ni: c@x\nCSeq: 7 INVITE\n\
             Contact: <sip:101@192.0.2.1>, <sip:101@192.0.2.2>;q=0.5\nX-New: a\nx-NEW: b\n\
             s: hi\nContent-Length: 4\n\nbody and more",
        );
        assert!(message.is_request());
        assert_eq!((message.method(), message.target()), (Method::Invite, "sip:102@acme.test"));
        assert_eq!(message.via().unwrap().branch(), Some("z9hG4bKa"));
        assert_eq!(message.from().unwrap().tag(), Some("1"));
        assert_eq!(message.to().unwrap().tag(), None);
        assert_eq!(message.call_id(), Ok("c@x"));
        assert_eq!(message.cseq().unwrap().number, 7);
        let Contacts::List(contacts) = message.contacts().unwrap() else { panic!("no list") };
        assert_eq!(contacts[1].q(), Some(500));
        assert_eq!((message.other("x-new"), message.other("Subject")), (Some("a"), Some("hi")));
        assert_eq!(message.all().filter(|(name, _)| name.eq_ignore_ascii_case("x-new")).count(), 2);
        assert_eq!((message.max_forwards(), message.expires()), (Ok(None), Ok(None)));
        assert_eq!(message.body().as_ref(), b"body");
        assert_eq!(format!("{message:?}"), "Message(INVITE sip:102@acme.test)");
    }

    #[test]
    fn finds_every_part_of_a_response() {
        let message = parse("\n\nsip/2.0 180 Es l\u{e4}utet\nCSeq: 7 INVITE\n\n");
        assert_eq!((message.status(), message.reason()), (Some(180), "Es läutet"));
        assert_eq!((message.method(), message.target()), (Method::Invite, ""));
        let bare = parse("SIP/2.0 100\nCSeq: 1 BYE\n\n");
        assert_eq!((bare.status(), bare.reason()), (Some(100), ""));
    }

    #[test]
    fn folded_lines_are_one_text_and_the_bytes_stay() {
        let message = parse("OPTIONS sip:a SIP/2.0\nSubject:\n hello\n\tworld \nTo: <sip:a>\n\n");
        assert_eq!(message.first(Name::Subject), Some("hello  \tworld"));
        assert!(message.bytes().windows(4).any(|bytes| bytes == b"\r\n h"));
        assert_eq!(message.to().unwrap().uri_text, "sip:a");
    }

    #[test]
    fn a_header_that_is_not_text_hurts_no_other() {
        let bytes = b"OPTIONS sip:a SIP/2.0\r\nSubject: \xff\r\nFrom: \xff <sip:a>\r\n\
                      To: <sip:b>\r\n\r\n\xff";
        let message = Message::parse(Bytes::from_static(bytes)).unwrap();
        assert_eq!(message.first(Name::Subject), None);
        assert_eq!(message.from(), Err(Flaw::wrong("From", "not UTF-8")));
        assert!(message.to().is_ok());
        assert_eq!(message.body().as_ref(), b"\xff");
    }

    #[test]
    fn a_row_without_a_name_is_passed_over_with_what_continues_it() {
        let message = parse("OPTIONS sip:a SIP/2.0\nTo: <sip:b>\nFoobar roobar\n x\n: y\n\n");
        assert_eq!(message.all().count(), 1);
        assert_eq!(message.to().unwrap().uri_text, "sip:b");
    }

    #[test]
    fn line_feeds_alone_end_lines_too() {
        let bytes = Bytes::from_static(b"OPTIONS sip:a SIP/2.0\nTo: <sip:b>\n\nbody");
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.to().unwrap().uri_text, "sip:b");
        assert_eq!(message.body().as_ref(), b"body");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_could_be_read() {
        let told = |text: &str| {
            let wrong = Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap_err();
            (wrong.to_string(), wrong.message.map(|message| message.fields.len()))
        };
        let head = "OPTIONS sip:a SIP/2.0\nTo: <sip:b>\n";
        let cases = [
            (format!("{head}l: 5\n\nbody"), "Content-Length: more than came"),
            (format!("{head}l: -5\n\nbody"), "Content-Length: no number"),
            (format!("{head}l: 4\nl: 3\n\nbody"), "Content-Length: two of them, and they differ"),
            ("OPTIONS sip:a\nTo: x\nl: 0\n\n".into(), "Request line: no version at its end"),
            (
                "OPTIONS sip:a SIP/2.0  \nA: x\nl: 0\n\n".into(),
                "Request line: no version at its end",
            ),
            (
                "OPTIONS sip:a SIP/2.0\n A: x\nl: 0\nb: 0\n\n".into(),
                "Start line: goes on in the next line",
            ),
        ];
        for (text, flaw) in &cases {
            let (said, fields) = told(text);
            assert_eq!(said, *flaw);
            assert!(fields >= Some(2), "{text}");
        }
        for text in ["", "\n\n", "\0", "hello", " x y SIP/2.0\n\n", "SIP/2.0 4294967301 x\n\n"] {
            assert_eq!(told(text).1, None, "{text:?}");
        }
    }

    #[test]
    fn limits_are_told_as_such() {
        let many = format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{}\r\n", "A: b\r\n".repeat(256));
        let wrong = Message::parse(Bytes::from(many)).unwrap_err();
        assert_eq!(wrong.flaw, Flaw::TooLarge("over 256 header fields"));
        let answer = wrong.answer().unwrap().finish();
        assert!(answer.starts_with(b"SIP/2.0 513 Message Too Large\r\nVia: x\r\n"));
        let long = Message::parse(Bytes::from(vec![b'a'; LONGEST + 1])).unwrap_err();
        assert_eq!((long.flaw.status(), long.message.is_none()), (513, true));
        let full = format!("OPTIONS sip:a SIP/2.0\r\nA: {}\r\n\r\n", "b".repeat(LONGEST - 30));
        let full = full.into_bytes();
        assert_eq!(full.len(), LONGEST);
        assert!(Message::parse(Bytes::from(full)).is_ok());
    }

    #[test]
    fn a_star_stands_alone() {
        let star = parse("REGISTER sip:a SIP/2.0\nm: *\n\n");
        assert_eq!(star.contacts(), Ok(Contacts::Star));
        let more = parse("REGISTER sip:a SIP/2.0\nm: *\nm: <sip:a@b>\n\n");
        assert!(more.contacts().is_err());
        let after = parse("REGISTER sip:a SIP/2.0\nm: <sip:a@b>, *\n\n");
        assert!(after.contacts().is_err());
        let empty = parse("REGISTER sip:a SIP/2.0\nm:\n\n");
        assert_eq!(empty.contacts(), Ok(Contacts::None));
    }
}
