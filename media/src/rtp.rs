//! Reading the head of a sound packet: whose stream it is, and where in it the packet belongs.
//!
//! RFC 3550 §5.1; the split between RTP and RTCP on one port is RFC 5761 §4.

use std::ops::Range;

use crate::guard::Kind;

/// What a relay needs to know of an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seven bits: the codec, or an event (RFC 4733).
    pub(crate) payload_type: u8,
    /// Rises by one a packet.
    pub(crate) sequence: u16,
    /// The sampling instant, in units of the codec's clock.
    pub(crate) timestamp: u32,
    /// The stream.
    pub(crate) ssrc: u32,
    /// Bytes of payload, padding left out.
    pub(crate) payload_len: usize,
}

/// What a datagram on a sound port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagram {
    /// Sound.
    Rtp(Header),
    /// A report about sound.
    Rtcp,
    /// Neither.
    Other,
}

const FIXED: usize = 12;

impl Datagram {
    /// Reads what `bytes` are.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        match Self::kind(bytes) {
            Kind::Sound => Header::read(bytes).map_or(Self::Other, Self::Rtp),
            Kind::Report => Self::Rtcp,
            Kind::Other => Self::Other,
        }
    }

    /// The same without the header: what encryption leaves readable is enough for it.
    pub(crate) fn kind(bytes: &[u8]) -> Kind {
        match bytes {
            // The payload types 64 to 95 with the marker set are RTCP's packet types.
            [first, 192..=223, ..] if first >> 6 == 2 => match bytes.len() {
                0..8 => Kind::Other,
                8.. => Kind::Report,
            },
            [first, ..] if first >> 6 == 2 => Kind::Sound,
            _ => Kind::Other,
        }
    }
}

impl Header {
    /// `None` unless the whole head is there and leaves the payload a length.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<FIXED>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *head;
        let mut payload = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let (extension, after) = payload.split_first_chunk::<4>()?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            payload = after.get(usize::from(words) * 4..)?;
        }
        let padding = match (first & 0x20, payload.last()) {
            (0, _) => 0,
            (_, Some(count)) => usize::from(*count),
            (_, None) => return None,
        };
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload_len: payload.len().checked_sub(padding)?,
        })
    }

    /// The payload of the packet that this was read from.
    pub(crate) fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload_range(packet)).unwrap_or_default()
    }

    /// Where it lies in that packet.
    pub(crate) fn payload_range(&self, packet: &[u8]) -> Range<usize> {
        let first = packet.first().copied().unwrap_or(0);
        let mut at = FIXED + usize::from(first & 0x0f) * 4;
        if first & 0x10 != 0 {
            let words = packet.get(at + 2..at + 4).and_then(|words| words.first_chunk());
            at += 4 + words.map_or(0, |words| usize::from(u16::from_be_bytes(*words))) * 4;
        }
        at..at + self.payload_len
    }

    /// The clock of the static payload types (RFC 3551 §6); the others' is agreed in SDP.
    pub(crate) fn static_clock(&self) -> Option<u32> {
        match self.payload_type {
            // G.722 (9) samples at 16 kHz but counts at 8 (RFC 3551 §4.5.2).
            0 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 13 | 15 | 18 => Some(8_000),
            6 => Some(16_000),
            10 | 11 => Some(44_100),
            14 => Some(90_000),
            16 => Some(11_025),
            17 => Some(22_050),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet of G.711 as a phone sends it.
    pub(crate) fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, 0];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend([0xd5; 160]);
        bytes
    }

    #[test]
    fn reads_the_head_of_a_plain_packet() {
        let header = Header {
            payload_type: 0,
            sequence: 0xfffe,
            timestamp: 0x8000_0001,
            ssrc: 0xdead_beef,
            payload_len: 160,
        };
        let bytes = packet(0xdead_beef, 0xfffe, 0x8000_0001);
        assert_eq!(Datagram::read(&bytes), Datagram::Rtp(header));
    }

    #[test]
    fn leaves_sources_extension_and_padding_out_of_the_payload() {
        let mut bytes = packet(1, 2, 3);
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        let head: Vec<u8> = [[7; 4], [8; 4], [0xbe, 0xde, 0, 1], [9; 4]].concat();
        bytes.splice(12..12, head);
        bytes.extend([0, 0, 0, 4]);
        let Datagram::Rtp(header) = Datagram::read(&bytes) else { panic!("not read") };
        assert_eq!(header.payload_len, 160);
    }

    #[test]
    fn never_reads_past_the_end_of_a_cut_packet() {
        let mut whole = packet(1, 2, 3);
        whole[0] = 0x80 | 0x20 | 0x10 | 0x0f;
        for first in [0x80, 0x90, 0xa0, 0xb0, 0xbf, 0x40, 0x00, 0xff] {
            for second in [0, 101, 192, 200, 223, 255] {
                for end in 0..whole.len() {
                    whole[0] = first;
                    whole[1] = second;
                    let _ = Datagram::read(&whole[..end]);
                }
            }
        }
        assert_eq!(Datagram::read(&[0x80; 11]), Datagram::Other);
        assert_eq!(Datagram::read(&[0xb0; 12]), Datagram::Other, "no extension where one is told");
    }

    #[test]
    fn tells_reports_and_other_protocols_from_sound() {
        assert_eq!(Datagram::read(&[0x80, 200, 0, 1, 0, 0, 0, 1]), Datagram::Rtcp);
        assert_eq!(Datagram::read(&[0x80, 200, 0, 1]), Datagram::Other);
        assert_eq!(Datagram::read(&[0x00, 0x01, 0, 8, 0x21, 0x12, 0xa4, 0x42]), Datagram::Other);
        assert_eq!(Datagram::read(&[]), Datagram::Other);
        let marked_event = [&[0x80, 0x80 | 101][..], &[0; 14]].concat();
        assert!(matches!(Datagram::read(&marked_event), Datagram::Rtp(h) if h.payload_type == 101));
    }
}
