//! A datagram on its way through: it is changed where it was read, and sent from there.
//!
//! Encryption adds a tag behind the sound (RFC 3711 §3.1, RFC 7714), so there is room behind it.

/// The longest datagram that is relayed; a longer one is dropped.
pub(crate) const LONGEST: usize = 2_048;
/// What may be added behind the longest.
pub(crate) const TAIL: usize = 64;
/// What is read into: one byte too many for the longest shows what is too long.
pub(crate) const ROOM: usize = LONGEST + TAIL;

/// A datagram, and the room that it lies in.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    room: &'a mut [u8],
    len: usize,
}

#[allow(dead_code, reason = "a relay of plain sound changes nothing")]
impl<'a> Packet<'a> {
    /// The first `len` bytes of `room`; `None` if they are more than [`LONGEST`] or more than there
    /// are. There is as much room behind it as `room` has, at least [`TAIL`] where it has [`ROOM`].
    pub(crate) fn new(room: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= LONGEST && len <= room.len()).then_some(Self { room, len })
    }

    /// What is in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    /// The same, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(..self.len).unwrap_or_default()
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many it could have.
    pub(crate) fn capacity(&self) -> usize {
        self.room.len()
    }

    /// Makes it longer or shorter. What lies behind the old end is whatever was there; beyond
    /// [`Self::capacity`] it stays as it is.
    #[must_use]
    pub(crate) fn set_len(&mut self, len: usize) -> Fit {
        if len > self.room.len() {
            return Fit::TooLong;
        }
        self.len = len;
        Fit::Fits
    }
}

/// Whether a packet has room for its new length.
#[allow(dead_code, reason = "a relay of plain sound changes nothing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It has that length now.
    Fits,
    /// It is as long as it was.
    TooLong,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// These bytes, and room behind them, for a test of what changes packets.
    pub(crate) fn room(bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut room = vec![0; ROOM];
        room[..bytes.len()].copy_from_slice(bytes);
        (room, bytes.len())
    }

    #[test]
    fn the_longest_packet_has_room_for_what_encryption_adds() {
        let (mut room, _) = room(b"");
        let mut packet = Packet::new(&mut room, LONGEST).unwrap();
        assert_eq!(packet.set_len(LONGEST + TAIL), Fit::Fits);
        packet.bytes_mut()[LONGEST + TAIL - 1] = 7;
        assert_eq!(packet.bytes().last(), Some(&7));
        assert_eq!(packet.set_len(LONGEST + TAIL + 1), Fit::TooLong);
        assert_eq!((packet.len(), packet.capacity()), (ROOM, ROOM));
        assert_eq!(packet.set_len(12), Fit::Fits);
        assert_eq!(packet.bytes().len(), 12);
    }

    #[test]
    fn what_is_longer_than_the_longest_is_no_packet() {
        let (mut room, _) = room(b"");
        assert!(Packet::new(&mut room, LONGEST + 1).is_none());
        assert!(Packet::new(&mut room[..4], 5).is_none());
    }
}
