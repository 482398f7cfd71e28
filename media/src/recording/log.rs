//! A recording as it is written while a call goes on: what came, as it came, and when.
//!
//! Entries are only ever appended, so what a killed process left is whole up to its last entry. The
//! sound stays packed as the phone sent it (RFC 3550): to unpack it is work for later.

use std::io::{self, Read};

use pbx::media::{Channel, Codec, CodecKind, Kept, Recording, Terms};
use pbx::moment::Moment;

/// What a file begins with.
pub(super) const MAGIC: &[u8; 16] = b"tenantd record 1";
/// What stands before each entry's body.
pub(super) const HEAD: usize = 14;
/// The longest body: the longest packet.
const LONGEST_BODY: usize = crate::packet::LONGEST;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whose recording it is; the first entry.
    About,
    /// What a side's phone and we agreed on, from now on.
    Terms,
    /// A packet of sound.
    Packet,
    /// What the side says is left out from now on.
    Pause,
    /// It is kept again.
    Resume,
    /// So many packets of the call before this were not kept: the disk was too slow.
    Lost,
    /// The side is closed.
    Closed,
}

/// In the order of the enum: what is written is the place here.
const KINDS: [Kind; 7] =
    [Kind::About, Kind::Terms, Kind::Packet, Kind::Pause, Kind::Resume, Kind::Lost, Kind::Closed];

/// Where an entry belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// When it came.
    pub(super) at: Moment,
    /// Which leg's.
    pub(super) leg: u16,
    /// On which channel that is heard.
    pub(super) channel: Channel,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) body: &'a [u8],
}

impl Entry<'_> {
    /// How long it is when it is written.
    pub(super) fn len(&self) -> usize {
        HEAD + self.body.len()
    }

    /// Appends it.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let channel = match self.place.channel {
            Channel::Left => 0,
            Channel::Right => 1,
        };
        to.extend_from_slice(&[self.kind as u8, channel]);
        to.extend_from_slice(&self.place.leg.to_be_bytes());
        to.extend_from_slice(&self.place.at.as_micros().to_be_bytes());
        to.extend_from_slice(&(self.body.len() as u16).to_be_bytes());
        to.extend_from_slice(self.body);
    }
}

/// Reads a file's entries one after another.
#[derive(Debug)]
pub(super) struct Entries<R> {
    from: R,
    body: Vec<u8>,
}

impl<R: Read> Entries<R> {
    /// `None`: this is no recording of ours.
    pub(super) fn open(mut from: R) -> io::Result<Option<Self>> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(Some(Self { from, body: Vec::new() })),
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next one; `None` at the end, and where it is torn.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry<'_>>> {
        let mut head = [0; HEAD];
        let torn = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(()),
            _ => Err(error),
        };
        if let Err(error) = self.from.read_exact(&mut head) {
            return torn(error).map(|()| None);
        }
        let [kind, channel, l0, l1, a0, a1, a2, a3, a4, a5, a6, a7, n0, n1] = head;
        let len = usize::from(u16::from_be_bytes([n0, n1]));
        let channel = match channel {
            0 => Channel::Left,
            1 => Channel::Right,
            _ => return Ok(None),
        };
        let Some(kind) = KINDS.get(usize::from(kind)).filter(|_| len <= LONGEST_BODY) else {
            return Ok(None);
        };
        self.body.resize(len, 0);
        if let Err(error) = self.from.read_exact(&mut self.body) {
            return torn(error).map(|()| None);
        }
        let at = Moment::from_micros(u64::from_be_bytes([a0, a1, a2, a3, a4, a5, a6, a7]));
        let place = Place { at, leg: u16::from_be_bytes([l0, l1]), channel };
        Ok(Some(Entry { kind: *kind, place, body: &self.body }))
    }
}

/// Whose recording it is, as an entry holds it: a clock of another day would be no harm.
pub(super) fn about(recording: &Recording) -> Vec<u8> {
    let mut bytes = recording.to_bytes();
    bytes.truncate(LONGEST_BODY);
    bytes
}

/// The codecs that a side's phone may send, or be sent: each payload type, and what it means. Keys stay
/// out.
pub(super) fn codecs(terms: &Terms, kept: Kept) -> Vec<u8> {
    let payload_type = |codec: &Codec| match kept {
        Kept::Said => codec.from_peer,
        Kept::Heard => codec.to_peer,
    };
    let number = |kind: &CodecKind| match kind {
        CodecKind::Pcmu => 0,
        CodecKind::Pcma => 1,
        CodecKind::G722 => 2,
        CodecKind::Opus { .. } => 3,
        CodecKind::Other { .. } => u8::MAX,
    };
    terms.codecs.iter().flat_map(|codec| [payload_type(codec), number(&codec.kind)]).collect()
}

/// What [`codecs`] wrote; one that we cannot unpack is left out.
pub(super) fn read_codecs(body: &[u8]) -> Vec<(u8, CodecKind)> {
    let opus = || CodecKind::Opus { stereo: false, fec: false, most: None };
    let known = |pair: &[u8]| match pair {
        [number, 0] => Some((*number, CodecKind::Pcmu)),
        [number, 1] => Some((*number, CodecKind::Pcma)),
        [number, 2] => Some((*number, CodecKind::G722)),
        [number, 3] => Some((*number, opus())),
        _ => None,
    };
    body.chunks_exact(2).filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, body: &[u8]) -> Entry<'_> {
        let place = Place { at: Moment::from_millis(1_234), leg: 7, channel: Channel::Right };
        Entry { kind, place, body }
    }

    #[test]
    fn what_is_written_is_read_up_to_where_it_is_torn() {
        let mut file = MAGIC.to_vec();
        entry(Kind::Packet, b"sound").write(&mut file);
        entry(Kind::Pause, b"").write(&mut file);
        let whole = file.len();
        entry(Kind::Packet, b"the last second").write(&mut file);
        for end in whole..file.len() {
            let mut entries = Entries::open(&file[..end]).unwrap().unwrap();
            let first = entries.next().unwrap().unwrap();
            assert_eq!((first.kind, first.body), (Kind::Packet, &b"sound"[..]));
            assert_eq!(first.place, entry(Kind::Packet, b"").place);
            assert_eq!(entries.next().unwrap().unwrap().kind, Kind::Pause);
            assert!(entries.next().unwrap().is_none(), "{end}");
        }
        assert!(Entries::open(&b"something else altogether"[..]).unwrap().is_none());
        assert!(Entries::open(&MAGIC[..9]).unwrap().is_none());
    }

    #[test]
    fn a_damaged_entry_ends_the_recording_and_does_no_harm() {
        let mut file = MAGIC.to_vec();
        entry(Kind::Packet, b"sound").write(&mut file);
        for at in MAGIC.len()..file.len() {
            for byte in [0, 1, 127, 255] {
                let mut damaged = file.clone();
                damaged[at] = byte;
                let mut entries = Entries::open(&damaged[..]).unwrap().unwrap();
                while entries.next().unwrap().is_some() {}
            }
        }
    }
}
