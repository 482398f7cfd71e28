//! From bytes to an index: where each header's name and value begin and end.
//!
//! RFC 3261 §7 and §18.3 (a datagram's body). Nothing is copied but a message with folded lines,
//! whose line ends inside values become spaces in a copy of the same length (§7.3.1).

use super::cseq::whole;
use super::flaw::Flaw;
use super::letters::is_token;
use super::name::Name;

/// The largest message we read: what a datagram can hold.
pub const LONGEST: usize = 65_535;

/// The most header field rows we read.
pub const MOST_FIELDS: usize = 256;

/// A piece of the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    from: u16,
    to: u16,
}

impl Span {
    fn of(from: usize, to: usize) -> Self {
        let short = |at| u16::try_from(at).expect("a message is at most LONGEST bytes long");
        Self { from: short(from), to: short(to.max(from)) }
    }

    pub(super) fn within(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        usize::from(self.from)..usize::from(self.to)
    }

    /// Without the space around it.
    fn trimmed(self, bytes: &[u8]) -> Self {
        let (mut from, mut to) = (usize::from(self.from), usize::from(self.to));
        while from < to && is_space(bytes, to - 1) {
            to -= 1;
        }
        while from < to && is_space(bytes, from) {
            from += 1;
        }
        Self::of(from, to)
    }
}

fn is_space(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Request { method: Span, target: Span, version: Span },
    Response { version: Span, status: u16, reason: Span },
}

/// A header field row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Name,
    pub(super) label: Span,
    pub(super) value: Span,
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) start: Start,
    pub(super) fields: Vec<Field>,
    pub(super) body: Span,
    /// The bytes with folded lines made whole, if there are any.
    pub(super) unfolded: Option<Box<[u8]>>,
    /// The first thing that is wrong, though the rest was read.
    pub(super) flaw: Option<Flaw>,
}

/// Reads a datagram, or one message cut from a stream.
pub(super) fn read(bytes: &[u8]) -> Result<Index, Flaw> {
    if bytes.len() > LONGEST {
        return Err(Flaw::TooLarge("message over 65535 bytes"));
    }
    let mut lines = Lines { bytes, at: 0 };
    while lines.skip_empty() {}
    let first = lines.next().ok_or(Flaw::Missing("Start line"))?;
    let (start, mut flaw) = read_start(bytes, first)?;
    let mut index = Index {
        start,
        fields: Vec::with_capacity(24),
        body: Span::default(),
        unfolded: None,
        flaw,
    };
    let folding = read_fields(bytes, &mut lines, &mut index);
    if folding == Folding::Some {
        unfold(bytes, &mut index);
    }
    let text = index.unfolded.as_deref().unwrap_or(bytes);
    let rest = bytes.len().saturating_sub(lines.at);
    let length = match body_length(text, &index.fields) {
        Ok(Some(length)) if length <= rest => length,
        Ok(Some(_)) => {
            flaw = flaw.or(Some(Flaw::wrong("Content-Length", "more than came")));
            rest
        }
        Ok(None) => rest,
        Err(wrong) => {
            flaw = flaw.or(Some(wrong));
            rest
        }
    };
    index.body = Span::of(lines.at, lines.at + length);
    index.flaw = index.flaw.or(flaw);
    Ok(index)
}

/// How long the body is to be, as a whole head says it: what a stream is cut by.
pub(super) fn stated_length(head: &[u8]) -> Result<Option<usize>, Flaw> {
    let mut lines = Lines { bytes: head, at: 0 };
    let first = lines.next().ok_or(Flaw::Missing("Start line"))?;
    let start = Start::Request { method: first, target: first, version: first };
    let mut index =
        Index { start, fields: vec![], body: Span::default(), unfolded: None, flaw: None };
    if read_fields(head, &mut lines, &mut index) == Folding::Some {
        unfold(head, &mut index);
    }
    match index.flaw {
        // More of them than we look at: the length may be among those.
        Some(flaw @ Flaw::TooLarge(_)) => Err(flaw),
        Some(Flaw::Wrong { .. } | Flaw::Missing(_) | Flaw::Repeated(_)) | None => {
            body_length(index.unfolded.as_deref().unwrap_or(head), &index.fields)
        }
    }
}

/// Cuts at line feeds; a carriage return before one belongs to the line end.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Lines<'_> {
    /// Steps over an empty line; such lines in front of a message mean nothing (RFC 3261 §7.5).
    fn skip_empty(&mut self) -> bool {
        let ahead = match self.bytes.get(self.at..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\n', ..]) => 1,
            Some(_) | None => 0,
        };
        self.at += ahead;
        ahead > 0
    }

    /// The next line, without its end; `None` behind the last.
    fn next(&mut self) -> Option<Span> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let from = self.at;
        let end = memchr::memchr(b'\n', rest);
        self.at = end.map_or(self.bytes.len(), |end| from + end + 1);
        let to = end.map_or(self.bytes.len(), |end| from + end);
        let ends_in_return = to > from && self.bytes.get(to - 1) == Some(&b'\r');
        Some(Span::of(from, if ends_in_return { to - 1 } else { to }))
    }
}

/// Reads the first line. What is neither a request nor a response is nobody's to answer.
fn read_start(bytes: &[u8], line: Span) -> Result<(Start, Option<Flaw>), Flaw> {
    let text = line.within(bytes);
    let from = usize::from(line.from);
    if text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/")) {
        return read_status(text, from).map(|start| (start, None));
    }
    let space = memchr::memchr(b' ', text).ok_or(Flaw::wrong("Request line", "no spaces"))?;
    if !text.get(..space).is_some_and(is_token) {
        return Err(Flaw::wrong("Request line", "no method"));
    }
    let last = memchr::memrchr(b' ', text).filter(|last| *last > space);
    let version = Span::of(from + last.map_or(text.len(), |last| last + 1), from + text.len());
    let start = Start::Request {
        method: Span::of(from, from + space),
        target: Span::of(from + space + 1, from + last.unwrap_or(text.len())),
        version,
    };
    let flaw = match is_version(version.within(bytes)) {
        true => None,
        false => Some(Flaw::wrong("Request line", "no version at its end")),
    };
    Ok((start, flaw))
}

/// Reads `SIP/2.0 200 OK`; the text at the end may be missing with its space.
fn read_status(text: &[u8], from: usize) -> Result<Start, Flaw> {
    let flaw = Flaw::wrong("Status line", "no version, code and reason");
    let space = memchr::memchr(b' ', text).ok_or(flaw)?;
    let version = text.get(..space).filter(|version| is_version(version)).ok_or(flaw)?;
    let rest = text.get(space + 1..).unwrap_or_default();
    let (code, reason) = match rest {
        [a, b, c] | [a, b, c, b' ', ..] => ([*a, *b, *c], space + 5),
        _ => return Err(flaw),
    };
    let code = std::str::from_utf8(&code).ok().and_then(whole).ok_or(flaw)?;
    let status = u16::try_from(code).ok().filter(|code| (100..700).contains(code)).ok_or(flaw)?;
    Ok(Start::Response {
        version: Span::of(from, from + version.len()),
        status,
        reason: Span::of(from + reason.min(text.len()), from + text.len()),
    })
}

fn is_version(text: &[u8]) -> bool {
    let Some((head, number)) = text.split_at_checked(4) else { return false };
    let mut parts = number.splitn(2, |byte| *byte == b'.');
    let mut is_number =
        || parts.next().is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    head.eq_ignore_ascii_case(b"SIP/") && is_number() && is_number()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Folding {
    None,
    Some,
}

/// What the next folded line would continue.
#[derive(Clone, Copy)]
enum Above {
    Start,
    Field,
    Nonsense,
}

/// Reads header field rows up to the empty line. A row without a name is nothing we need, and so no
/// reason to refuse (RFC 3261 §8.2.2).
fn read_fields(bytes: &[u8], lines: &mut Lines<'_>, index: &mut Index) -> Folding {
    let mut folding = Folding::None;
    let mut above = Above::Start;
    while !lines.skip_empty() {
        let Some(line) = lines.next() else { break };
        let text = line.within(bytes);
        if let Some(b' ' | b'\t') = text.first() {
            match (above, index.fields.last_mut()) {
                (Above::Field, Some(field)) => {
                    field.value.to = line.to;
                    folding = Folding::Some;
                }
                (Above::Start, _) => {
                    let flaw = Flaw::wrong("Start line", "goes on in the next line");
                    index.flaw = index.flaw.or(Some(flaw));
                }
                (Above::Field | Above::Nonsense, _) => {}
            }
            continue;
        }
        let colon = memchr::memchr(b':', text).map(|colon| usize::from(line.from) + colon);
        let label = colon.map(|colon| Span::of(line.from.into(), colon).trimmed(bytes));
        let (Some(colon), Some(label)) = (colon, label.filter(|label| label.from < label.to))
        else {
            above = Above::Nonsense;
            continue;
        };
        if index.fields.len() == MOST_FIELDS {
            index.flaw = index.flaw.or(Some(Flaw::TooLarge("over 256 header fields")));
            lines.at = bytes.len();
            break;
        }
        let value = Span::of(colon + 1, line.to.into()).trimmed(bytes);
        index.fields.push(Field { name: Name::of(label.within(bytes)), label, value });
        above = Above::Field;
    }
    folding
}

/// Makes folded values whole in a copy, so that each is one line of text.
fn unfold(bytes: &[u8], index: &mut Index) {
    let mut copy: Box<[u8]> = bytes.into();
    for field in &mut index.fields {
        if let Some(value) = copy.get_mut(field.value.range()) {
            for byte in value.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')) {
                *byte = b' ';
            }
        }
        field.value = field.value.trimmed(&copy);
    }
    index.unfolded = Some(copy);
}

/// What Content-Length says; said twice, it must be the same.
fn body_length(text: &[u8], fields: &[Field]) -> Result<Option<usize>, Flaw> {
    let mut length = None;
    for field in fields.iter().filter(|field| field.name == Name::ContentLength) {
        let number = std::str::from_utf8(field.value.within(text)).ok().and_then(whole);
        let number = number.ok_or(Flaw::wrong("Content-Length", "no number"))?;
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if length.is_some_and(|length| length != number) {
            return Err(Flaw::wrong("Content-Length", "two of them, and they differ"));
        }
        length = Some(number);
    }
    Ok(length)
}
