//! A record among others in a file: its length, a checksum, itself.

use pbx::record::Record;

/// Length and checksum, four bytes each, little end first.
const HEAD: usize = 8;

/// A record is a call's story at most; anything longer is not a length.
const LONGEST: usize = 4 << 20;

/// Appends `record` to `buffer`.
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>) -> Result<(), postcard::Error> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD]);
    let written = postcard::to_io(record, &mut *buffer).map(|_| ());
    let Some((head, body)) = buffer.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut) else {
        return Err(postcard::Error::SerializeBufferFull);
    };
    if written.is_err() || body.len() > LONGEST {
        buffer.truncate(start);
        return Err(written.err().unwrap_or(postcard::Error::SerializeBufferFull));
    }
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(body).to_le_bytes();
    let [a, b, c, d] = length;
    let [e, f, g, h] = checksum;
    *head = [a, b, c, d, e, f, g, h];
    Ok(())
}

/// Reads frames one after the other.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
}

/// What stands at a place.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// A record, and how many bytes it took.
    Whole(Box<Record>, usize),
    /// A sound frame whose content this version does not know.
    Strange(usize),
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that are no frame: a write that the end of the process cut short.
    pub(super) fn torn(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let (head, rest) = self.rest.split_first_chunk::<HEAD>()?;
        let [a, b, c, d, e, f, g, h] = *head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
        if length == 0 || length > LONGEST {
            return None;
        }
        let (body, rest) = rest.split_at_checked(length)?;
        if crc32fast::hash(body) != u32::from_le_bytes([e, f, g, h]) {
            return None;
        }
        self.rest = rest;
        Some(match postcard::from_bytes(body) {
            Ok(record) => Frame::Whole(Box::new(record), HEAD + length),
            Err(_) => Frame::Strange(HEAD + length),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::unbound;

    #[test]
    fn what_was_written_is_read() {
        let records = [unbound(1), unbound(2)];
        let mut bytes = vec![];
        records.iter().for_each(|record| encode(record, &mut bytes).unwrap());
        let mut frames = Frames::new(&bytes);
        let mut length = 0;
        for record in records {
            let Some(Frame::Whole(read, size)) = frames.next() else { panic!("a frame") };
            assert_eq!(*read, record);
            length += size;
        }
        assert_eq!((frames.next(), frames.torn(), length), (None, 0, bytes.len()));
    }

    #[test]
    fn a_torn_tail_ends_the_reading_wherever_it_was_torn() {
        let mut bytes = vec![];
        encode(&unbound(1), &mut bytes).unwrap();
        let whole = bytes.len();
        encode(&unbound(2), &mut bytes).unwrap();
        for length in whole..bytes.len() {
            let mut frames = Frames::new(&bytes[..length]);
            assert_eq!(frames.by_ref().count(), 1, "cut at {length}");
            assert_eq!(frames.torn(), length - whole);
        }
    }

    #[test]
    fn a_flipped_bit_is_no_record() {
        let mut bytes = vec![];
        encode(&unbound(1), &mut bytes).unwrap();
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 4;
            assert_eq!(Frames::new(&flipped).count(), 0, "flipped at {position}");
        }
    }

    #[test]
    fn zeros_after_a_power_cut_are_no_records() {
        assert_eq!(Frames::new(&[0; 4096]).count(), 0);
    }
}
