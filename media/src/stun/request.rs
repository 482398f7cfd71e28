//! Reading a question: is it one, in which dialect, and what does it ask beside "who am I"?
//!
//! RFC 8489 §5 (header), §6.3 (what is checked), §14 (attributes); RFC 3489 §11; RFC 5780 §7. The
//! frame is read here and not with `stun-rs`, which refuses whole messages for a name that is not
//! UTF-8 and knows no message without the magic cookie: phones send both.

use stun_rs::attributes::stun::Fingerprint;
use stun_rs::get_input_text;

use super::place::{Change, Wanted};
use super::{LONGEST, Place};

/// Bytes of the header.
pub(super) const HEADER: usize = 20;
pub(super) const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
pub(super) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Types below need to be understood, others may be passed over (RFC 8489 §14).
pub(super) const OPTIONAL: u16 = 0x8000;
/// Beyond this many, unknown attributes are not listed any more.
pub(super) const MOST_UNKNOWN: usize = 16;

const CHANGE_REQUEST: u16 = 0x0003;
pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PADDING: u16 = 0x0026;
const RESPONSE_PORT: u16 = 0x0027;
pub(super) const FINGERPRINT: u16 = 0x8028;

/// What else RFC 8489 names: credentials, which nobody is asked for, and what belongs in answers.
const KNOWN: [u16; 9] = [0x0001, 0x0006, 0x0009, 0x000a, 0x0014, 0x0015, 0x001d, 0x001e, 0x0020];
/// The same for RFC 3489; not RESPONSE-ADDRESS (0x0002), by which anybody could send our answers
/// to anybody.
const KNOWN_OF_OLD: [u16; 8] = [0x0001, 0x0004, 0x0005, 0x0006, 0x0007, 0x0009, 0x000a, 0x000b];

/// Which document the other side has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// RFC 5389 or RFC 8489: with the magic cookie.
    Rfc8489,
    /// Without.
    Rfc3489,
}

/// Whether the question ends in a checksum; then so does its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    None,
    Right,
}

/// A Binding request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) dialect: Dialect,
    /// All that is the asker's: with the cookie, or what stands in its place.
    pub(super) id: &'a [u8; 16],
    pub(super) change: Change,
    pub(super) response_port: Option<u16>,
    /// How many bytes of padding it carries.
    pub(super) padding: Option<usize>,
    pub(super) checksum: Checksum,
    /// What must be understood and is not.
    pub(super) unknown: Vec<u16>,
}

impl<'a> Request<'a> {
    /// Reads a datagram; `None` if it is no Binding request, or broken.
    pub(super) fn read(datagram: &'a [u8], place: Place) -> Option<Self> {
        let (header, body) = datagram.split_first_chunk::<HEADER>()?;
        let (kind, rest) = header.split_first_chunk::<2>()?;
        let (length, id) = rest.split_first_chunk::<2>()?;
        let whole = usize::from(u16::from_be_bytes(*length)) == body.len();
        if *kind != BINDING_REQUEST || !whole || body.len() % 4 != 0 || body.len() > LONGEST {
            return None;
        }
        let dialect = match id.starts_with(&COOKIE) {
            true => Dialect::Rfc8489,
            false => Dialect::Rfc3489,
        };
        let mut request = Self {
            dialect,
            id: id.first_chunk()?,
            change: Change::default(),
            response_port: None,
            padding: None,
            checksum: Checksum::None,
            unknown: vec![],
        };
        request.read_attributes(datagram, body, place)?;
        Some(request)
    }

    fn read_attributes(&mut self, datagram: &[u8], body: &[u8], place: Place) -> Option<()> {
        let mut rest = body;
        let mut signed = false;
        while !rest.is_empty() {
            let (kind, value, after) = split_attribute(rest)?;
            rest = after;
            if kind == FINGERPRINT && self.dialect == Dialect::Rfc8489 {
                // RFC 8489 §14.7: it is the last.
                let right = rest.is_empty() && is_right(datagram, value);
                self.checksum = right.then_some(Checksum::Right)?;
                continue;
            }
            // RFC 8489 §14.5: whatever follows was not signed.
            if !signed && kind < OPTIONAL {
                self.read_attribute(kind, value, place)?;
            }
            signed |= [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256].contains(&kind)
                && self.dialect == Dialect::Rfc8489;
        }
        Some(())
    }

    fn read_attribute(&mut self, kind: u16, value: &[u8], place: Place) -> Option<()> {
        match (kind, self.dialect, place) {
            (CHANGE_REQUEST, _, Place::Corner(_)) => self.change = change(value)?,
            // Who knows only RFC 3489 says that nothing shall change, too.
            (CHANGE_REQUEST, Dialect::Rfc3489, Place::Alone) if change(value)? == SAME => {}
            (RESPONSE_PORT, Dialect::Rfc8489, Place::Corner(_)) => {
                self.response_port = Some(u16::from_be_bytes(*value.first_chunk()?));
            }
            (PADDING, Dialect::Rfc8489, Place::Corner(_)) => self.padding = Some(value.len()),
            (MESSAGE_INTEGRITY, _, _) | (MESSAGE_INTEGRITY_SHA256, Dialect::Rfc8489, _) => {}
            (known, Dialect::Rfc8489, _) if KNOWN.contains(&known) => {}
            (known, Dialect::Rfc3489, _) if KNOWN_OF_OLD.contains(&known) => {}
            (unknown, _, _) => {
                if self.unknown.len() < MOST_UNKNOWN && !self.unknown.contains(&unknown) {
                    self.unknown.push(unknown);
                }
            }
        }
        Some(())
    }

    /// The part of the id that is the asker's own (RFC 8489 §5).
    pub(super) fn transaction(&self) -> [u8; 12] {
        let [_, _, _, _, own @ ..] = *self.id;
        own
    }
}

const SAME: Change = Change { address: Wanted::Same, port: Wanted::Same };

/// RFC 5780 §7.2: two bits of the last byte.
fn change(value: &[u8]) -> Option<Change> {
    let [_, _, _, flags] = <[u8; 4]>::try_from(value).ok()?;
    let wanted = |bit: u8| match flags & bit {
        0 => Wanted::Same,
        _ => Wanted::Other,
    };
    Some(Change { address: wanted(0x04), port: wanted(0x02) })
}

/// The first attribute: its type, its value, and what comes after its padding.
pub(super) fn split_attribute(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (value, _) = rest.split_at_checked(length)?;
    let (_, after) = rest.split_at_checked(length.next_multiple_of(4))?;
    Some((u16::from_be_bytes(*kind), value, after))
}

pub(super) fn is_right(datagram: &[u8], value: &[u8]) -> bool {
    let value: Option<[u8; 4]> = value.try_into().ok();
    let text = get_input_text::<Fingerprint>(datagram);
    value.zip(text).is_some_and(|(value, text)| Fingerprint::from(value).validate(&text))
}
