//! Where a packet's readable head ends and its secret begins.
//!
//! RFC 3711 §3.1: all of an RTP header stays readable, with its sources and its extension. §3.4: of
//! a report the first eight bytes do.

use super::Refused;

/// What of a report stays readable.
pub(super) const REPORT: usize = 8;

/// The readable head of a sound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u16,
    pub(super) ssrc: u32,
    /// Bytes up to the payload.
    pub(super) len: usize,
}

impl Head {
    /// Reads a packet's.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Refused> {
        let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3] =
            *packet.first_chunk::<12>().ok_or(Refused::Malformed)?;
        let mut len = 12 + usize::from(first & 0x0f) * 4;
        if first & 0x10 != 0 {
            let extension = packet.get(len..len + 4).ok_or(Refused::Malformed)?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            len += 4 + usize::from(words) * 4;
        }
        if first >> 6 != 2 || len > packet.len() {
            return Err(Refused::Malformed);
        }
        Ok(Self {
            sequence: u16::from_be_bytes([s0, s1]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            len,
        })
    }
}

/// Whose report it is: the first sender of a compound one.
pub(super) fn reporter(report: &[u8]) -> Result<u32, Refused> {
    match *report.first_chunk::<REPORT>().ok_or(Refused::Malformed)? {
        [first, _, _, _, ssrc @ ..] if first >> 6 == 2 => Ok(u32::from_be_bytes(ssrc)),
        _ => Err(Refused::Malformed),
    }
}
