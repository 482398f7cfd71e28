//! What a phone says in its packets, and whether what it hears is what the other phone said.

use super::sealed::Sealed;
use super::speech::{Ear, Speech};

/// G.711 of 20 ms with its head.
pub(super) const PACKET: usize = 172;
const HEAD: usize = 12;
const STAMP: usize = 8;
const SILENCE: u8 = 0xd5;

/// What a phone says.
pub(crate) enum Voice {
    /// G.711 whose first samples say when the packet left.
    Timed,
    /// The same, encrypted.
    Sealed(Box<Sealed>),
    /// A voice, in a codec that the other phone may not have.
    Speaking(Box<Speaking>),
}

/// Somebody who speaks and hears another codec.
pub(crate) struct Speaking {
    pub(crate) says: Speech,
    /// The payload type of what is to come.
    pub(crate) hears: u8,
    pub(crate) ear: Option<Ear>,
}

/// What came.
pub(super) enum Heard {
    /// What left at this time.
    SentAt(u64),
    Speech,
    /// Not what was said.
    Wrong,
    /// No sound (RFC 5761 §4).
    Report,
}

impl Voice {
    /// Writes a phone's next packet.
    pub(super) fn say(&mut self, number: u64, round: u64, at: u64, room: &mut Vec<u8>) {
        room.clear();
        match self {
            Self::Timed => timed(number, round, at, room),
            Self::Sealed(sealed) => {
                timed(number, round, at, room);
                sealed.seal(room);
            }
            Self::Speaking(speaking) => {
                let says = &speaking.says;
                head(says.payload_type, number, round, says.ticks, room);
                room.extend_from_slice(says.payload(round));
            }
        }
    }

    pub(super) fn hear(&mut self, packet: &[u8]) -> Heard {
        let Some(kind @ (0..=191 | 224..)) = packet.get(1).copied() else { return Heard::Report };
        match self {
            Self::Timed => stamp_of(packet),
            Self::Sealed(sealed) => match sealed.open(packet) {
                Some(plain) => stamp_of(&plain),
                None => Heard::Wrong,
            },
            Self::Speaking(speaking) => {
                if kind & 0x7f != speaking.hears {
                    return Heard::Wrong;
                }
                if let Some(ear) = &mut speaking.ear {
                    ear.hear(packet.get(HEAD..).unwrap_or_default());
                }
                Heard::Speech
            }
        }
    }

    /// How loud what was heard is beside what was said, if anybody listened.
    pub(super) fn level(&self) -> Option<f64> {
        match self {
            Self::Timed | Self::Sealed(_) => None,
            Self::Speaking(speaking) => speaking.ear.as_ref().map(Ear::level),
        }
    }
}

fn timed(number: u64, round: u64, at: u64, room: &mut Vec<u8>) {
    head(0, number, round, 160, room);
    room.extend_from_slice(&at.to_le_bytes());
    room.resize(PACKET, SILENCE);
}

fn head(payload_type: u8, number: u64, round: u64, ticks: u32, room: &mut Vec<u8>) {
    room.extend_from_slice(&[0x80, payload_type]);
    room.extend_from_slice(&(round as u16).to_be_bytes());
    room.extend_from_slice(&(round as u32).wrapping_mul(ticks).to_be_bytes());
    room.extend_from_slice(&(number as u32 + 77).to_be_bytes());
}

/// When a packet left, if nothing in it was changed.
fn stamp_of(packet: &[u8]) -> Heard {
    let sound = packet.get(HEAD..).unwrap_or_default();
    match sound.split_first_chunk::<STAMP>() {
        Some((stamp, rest))
            if packet.len() == PACKET && rest.iter().all(|byte| *byte == SILENCE) =>
        {
            Heard::SentAt(u64::from_le_bytes(*stamp))
        }
        _ => Heard::Wrong,
    }
}
