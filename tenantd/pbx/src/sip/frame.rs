//! Cutting a connection's bytes into messages: where one ends and the next begins.
//!
//! RFC 3261 §18.3 and §7.5, and the keepalives of RFC 5626 §3.5.1. A message without Content-Length
//! ends at its empty line: the RFC demands the header on streams, but valid messages of RFC 4475
//! lack it, and if a body follows all the same it is no message, which ends the connection.
//!
//! Every byte is looked at a fixed number of times, however finely they trickle in, and what is cut
//! off is not copied. Limits: [`LONGEST_HEAD`] for start line and header fields, `MOST_FIELDS` of
//! these, and `LONGEST` for all of a message; what is over them is answered 513.

use bytes::{Buf, Bytes, BytesMut};

use super::check::Refusal;
use super::draft::Draft;
use super::flaw::Flaw;
use super::letters::is_token;
use super::message::{LONGEST, Message};
use super::parse::stated_length;

/// The longest start line with all header fields.
pub const LONGEST_HEAD: usize = 32 * 1024;

/// What comes next on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Nothing until more bytes come.
    NeedMore,
    /// The peer asks whether we are there: it wants one line end back.
    Ping,
    /// A whole message.
    Message(Bytes),
    /// What comes from here on cannot be cut: the connection ends.
    Broken(Broken),
}

/// Why a connection's bytes cannot be cut any further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It is not SIP that is spoken there.
    NotSip,
    /// Where the message ends cannot be known, or is too far away.
    Flawed {
        /// The message as far as it was read.
        head: Bytes,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl Broken {
    /// The refusal, but for its tag, if there is somebody to refuse.
    pub fn answer(&self) -> Option<Draft> {
        let Self::Flawed { head, flaw } = self else { return None };
        let message = match Message::parse(head.clone()) {
            Ok(message) => message,
            Err(malformed) => *malformed.message?,
        };
        Refusal::Malformed(*flaw).answer(&message)
    }
}

/// One connection's bytes that are not yet a message.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: BytesMut,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Behind one message and before the next: line ends, if anything.
    #[default]
    Between,
    /// A message has begun.
    Head {
        /// So many bytes hold no end of the head.
        searched: usize,
        line: FirstLine,
    },
    /// The head is whole; so is the message when it has so many bytes.
    Body { head: usize, whole: usize },
    /// Nothing more is cut.
    Broken,
}

/// Whether the first line was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstLine {
    Unknown,
    Sip,
}

impl Framer {
    /// More bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        match self.state {
            State::Between | State::Head { .. } | State::Body { .. } => {
                self.bytes.extend_from_slice(bytes);
            }
            State::Broken => {}
        }
    }

    /// What they make.
    pub fn next_frame(&mut self) -> Frame {
        loop {
            let step = match self.state {
                State::Between => self.skip_line_ends(),
                State::Head { searched, line } => self.search_head(searched, line),
                State::Body { whole, .. } => match self.bytes.len() >= whole {
                    true => Some(Frame::Message(self.cut(whole))),
                    false => Some(Frame::NeedMore),
                },
                State::Broken => Some(Frame::Broken(Broken::NotSip)),
            };
            if let Some(frame) = step {
                return frame;
            }
        }
    }

    /// The connection ended, or nobody waits any longer: a message that did not come whole is
    /// refused.
    pub fn end(&mut self) -> Option<Broken> {
        match self.state {
            State::Body { head, .. } => {
                let flaw = Flaw::wrong("Content-Length", "more than came");
                Some(self.break_off(head, flaw))
            }
            State::Head { line: FirstLine::Sip, .. } => {
                let flaw = Flaw::wrong("Message", "no empty line behind its header fields");
                Some(self.break_off(self.bytes.len(), flaw))
            }
            State::Between | State::Head { .. } | State::Broken => None,
        }
    }

    /// Whether a message has begun that is not whole.
    pub fn is_within_message(&self) -> bool {
        match self.state {
            State::Head { .. } | State::Body { .. } => true,
            State::Between | State::Broken => false,
        }
    }

    /// RFC 5626 §4.4.1: two line ends are a question; one is an answer, or nothing (§7.5).
    fn skip_line_ends(&mut self) -> Option<Frame> {
        let (ahead, frame) = match &*self.bytes {
            [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => (0, Some(Frame::NeedMore)),
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Some(Frame::Ping)),
            [b'\r', b'\n', ..] => (2, None),
            [b'\n', ..] => (1, None),
            [first, ..] if is_token(&[*first]) => {
                self.state = State::Head { searched: 0, line: FirstLine::Unknown };
                (0, None)
            }
            [_, ..] => (0, Some(self.give_up())),
        };
        self.bytes.advance(ahead);
        self.let_go_of_room();
        frame
    }

    /// Looks for the empty line, beginning where the last search ended.
    fn search_head(&mut self, searched: usize, mut line: FirstLine) -> Option<Frame> {
        let mut at = searched;
        while let Some(found) = self.bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = at + found;
            if line == FirstLine::Unknown {
                if !self.bytes.get(..end).is_some_and(names_sip) {
                    return Some(self.give_up());
                }
                line = FirstLine::Sip;
            }
            at = match self.bytes.get(end + 1..) {
                Some([b'\n', ..]) => return self.take_head(end + 2),
                Some([b'\r', b'\n', ..]) => return self.take_head(end + 3),
                // What follows decides, and is not there yet: this line end is looked at again.
                Some([] | [b'\r']) | None => {
                    return self.wait_for_head(end, line);
                }
                Some([_, ..]) => end + 1,
            };
        }
        self.wait_for_head(self.bytes.len(), line)
    }

    fn wait_for_head(&mut self, searched: usize, line: FirstLine) -> Option<Frame> {
        if self.bytes.len() > LONGEST_HEAD {
            return self.refuse(LONGEST_HEAD, Flaw::TooLarge("header fields over 32768 bytes"));
        }
        self.state = State::Head { searched, line };
        Some(Frame::NeedMore)
    }

    fn take_head(&mut self, head: usize) -> Option<Frame> {
        if head > LONGEST_HEAD {
            return self.refuse(LONGEST_HEAD, Flaw::TooLarge("header fields over 32768 bytes"));
        }
        let length = match stated_length(self.bytes.get(..head).unwrap_or_default()) {
            Ok(length) => length.unwrap_or(0),
            Err(flaw) => return self.refuse(head, flaw),
        };
        match head.checked_add(length).filter(|whole| *whole <= LONGEST) {
            Some(whole) => {
                self.bytes.reserve(whole.saturating_sub(self.bytes.len()));
                self.state = State::Body { head, whole };
                None
            }
            None => self.refuse(head, Flaw::TooLarge("message over 65535 bytes")),
        }
    }

    fn cut(&mut self, whole: usize) -> Bytes {
        let message = self.bytes.split_to(whole).freeze();
        self.state = State::Between;
        self.let_go_of_room();
        message
    }

    /// A connection that waits holds no memory, and no message's.
    fn let_go_of_room(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    fn give_up(&mut self) -> Frame {
        self.bytes = BytesMut::new();
        self.state = State::Broken;
        Frame::Broken(Broken::NotSip)
    }

    fn refuse(&mut self, head: usize, flaw: Flaw) -> Option<Frame> {
        Some(Frame::Broken(self.break_off(head, flaw)))
    }

    fn break_off(&mut self, head: usize, flaw: Flaw) -> Broken {
        let head = self.bytes.split_to(head.min(self.bytes.len())).freeze();
        self.bytes = BytesMut::new();
        self.state = State::Broken;
        Broken::Flawed { head, flaw }
    }
}

/// Whether a first line can be SIP's: both kinds name the protocol.
fn names_sip(line: &[u8]) -> bool {
    line.windows(4).any(|letters| letters.eq_ignore_ascii_case(b"SIP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &str = "OPTIONS sip:x.test SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n";

    fn with_body(body: &str) -> String {
        format!("{OPTIONS}l : \r\n {}\r\n\r\n{body}", body.len())
    }

    /// All frames of a stream that comes in pieces of this size.
    fn frames(stream: &[u8], piece: usize) -> Vec<Frame> {
        let mut framer = Framer::default();
        let mut frames = vec![];
        for bytes in stream.chunks(piece) {
            framer.push(bytes);
            loop {
                match framer.next_frame() {
                    Frame::NeedMore => break,
                    Frame::Broken(broken) => {
                        frames.push(Frame::Broken(broken));
                        return frames;
                    }
                    frame => frames.push(frame),
                }
            }
        }
        frames
    }

    #[test]
    fn however_bytes_trickle_in_the_messages_are_the_same() {
        let messages =
            [with_body(""), with_body("v=0\r\n\r\nSIP/2.0 200 OK\r\n\r\n"), with_body("x")];
        let stream = format!("\r\n{}\r\n{}\n{}", messages[0], messages[1], messages[2]);
        let wanted: Vec<_> = messages.map(|text| Frame::Message(Bytes::from(text))).into();
        for piece in (1..=stream.len()).rev() {
            assert_eq!(frames(stream.as_bytes(), piece), wanted, "in pieces of {piece}");
        }
    }

    #[test]
    fn two_line_ends_are_a_question_and_one_is_nothing() {
        for piece in 1..8 {
            let whole = format!("\r\n\r\n\r\n\r\n\r\n{}", with_body(""));
            let message = Frame::Message(Bytes::from(with_body("")));
            assert_eq!(frames(whole.as_bytes(), piece), [Frame::Ping, Frame::Ping, message]);
        }
    }

    #[test]
    fn line_feeds_alone_end_lines_too() {
        let text = with_body("body").replace('\r', "");
        for piece in 1..9 {
            let wanted = Frame::Message(Bytes::from(text.clone()));
            assert_eq!(frames(text.as_bytes(), piece), [wanted]);
        }
    }

    #[test]
    fn without_a_length_a_message_ends_at_its_empty_line_and_a_body_ends_the_connection() {
        let message = format!("{OPTIONS}\r\n");
        let found = frames(format!("{message}v=0\r\no=- 1\r\n").as_bytes(), 7);
        let wanted = [Frame::Message(Bytes::from(message)), Frame::Broken(Broken::NotSip)];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_not_sip_is_known_by_its_first_line_or_byte() {
        for noise in ["\x16\x03\x01", "GET / HTTP/1.1\r\n", "\0", "\rx", " OPTIONS", "\u{e4}"] {
            assert_eq!(frames(noise.as_bytes(), 1), [Frame::Broken(Broken::NotSip)], "{noise:?}");
        }
    }

    #[test]
    fn a_length_that_is_none_is_refused_with_400_and_one_too_large_with_513() {
        let answer = |length: &str| {
            let text = format!("{OPTIONS}From: <sip:a@x>;tag=1\r\n{length}\r\n\r\n");
            match frames(text.as_bytes(), 10).pop() {
                Some(Frame::Broken(broken)) => {
                    let bytes = broken.answer().unwrap().to_tag("t").finish();
                    Message::parse(bytes).unwrap().status().unwrap()
                }
                other => panic!("{length}: {other:?}"),
            }
        };
        assert_eq!(answer("Content-Length: -1"), 400);
        assert_eq!(answer("Content-Length: 1\r\nl: 2"), 400);
        assert_eq!(answer("Content-Length: 65500"), 513);
        assert_eq!(answer("Content-Length: 99999999999999999999"), 513);
    }

    #[test]
    fn a_head_without_end_and_too_many_fields_are_refused_with_513() {
        let flaw = |stream: &str| match frames(stream.as_bytes(), 1_000).pop() {
            Some(Frame::Broken(broken @ Broken::Flawed { .. })) => {
                Message::parse(broken.answer().unwrap().finish()).unwrap().status().unwrap()
            }
            other => panic!("{other:?}"),
        };
        let long = format!("{OPTIONS}Subject: {}", "x".repeat(LONGEST_HEAD));
        assert_eq!(flaw(&long), 513);
        assert_eq!(flaw(&format!("{long}\r\n\r\n")), 513);
        assert_eq!(flaw(&format!("{OPTIONS}{}\r\n", "A: b\r\n".repeat(300))), 513);
        // An endless first line has nobody who could be told.
        let endless = "OPTIONS sip:".to_owned() + &"x".repeat(LONGEST_HEAD + 1);
        let found = frames(endless.as_bytes(), 4_096);
        let [Frame::Broken(broken)] = &found[..] else { panic!("{found:?}") };
        assert!(broken.answer().is_none());
    }

    #[test]
    fn a_message_that_never_comes_whole_is_refused_at_the_end() {
        for part in ["l: 10\r\n\r\nshort", "l: 0\r\n"] {
            let mut framer = Framer::default();
            framer.push(format!("{OPTIONS}{part}").as_bytes());
            assert_eq!(framer.next_frame(), Frame::NeedMore);
            assert!(framer.is_within_message());
            let answer = framer.end().unwrap().answer().unwrap().finish();
            assert_eq!(Message::parse(answer).unwrap().status(), Some(400));
            assert!(framer.end().is_none() && !framer.is_within_message());
            assert_eq!(framer.next_frame(), Frame::Broken(Broken::NotSip));
        }
    }

    #[test]
    fn a_connection_that_waits_holds_no_memory() {
        let mut framer = Framer::default();
        framer.push(with_body("body").as_bytes());
        assert!(matches!(framer.next_frame(), Frame::Message(_)));
        assert_eq!(framer.bytes.capacity(), 0);
    }
}
