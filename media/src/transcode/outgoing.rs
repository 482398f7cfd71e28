//! The stream of packets that we make ourselves for one phone: its numbers go on whatever happens to the call.
//!
//! RFC 3550 §5.1: its own source, sequence and timestamps, each from a random start.

use std::time::Duration;

use pbx::moment::Moment;

use crate::packet::{Fit, Packet};

/// Bytes before the payload.
pub(crate) const HEAD: usize = 12;

/// What a source counts (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    ssrc: u32,
    sequence: u16,
    /// Of the next sound.
    timestamp: u32,
    /// When that was, or will be.
    at: Moment,
    /// Units of the timestamp in a millisecond.
    clock: u32,
    sent: Sent,
}

/// Whether a packet is the first after a silence (RFC 3551 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker {
    Set,
    Clear,
}

impl Outgoing {
    /// A stream with these random numbers.
    pub(crate) fn new(random: u64) -> Self {
        Self {
            ssrc: (random >> 32) as u32,
            sequence: random as u16,
            timestamp: (random >> 16) as u32,
            at: Moment::EPOCH,
            clock: 8,
            sent: Sent::default(),
        }
    }

    /// What it is known by.
    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What was sent so far.
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    /// Of the next sound.
    pub(crate) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// The timestamp that belongs to a moment (RFC 3550 §6.4.1 wants it in reports).
    pub(crate) fn timestamp_at(&self, now: Moment) -> u32 {
        let ahead = now.since(self.at).as_micros() as u64 * u64::from(self.clock) / 1_000;
        let back = self.at.since(now).as_micros() as u64 * u64::from(self.clock) / 1_000;
        self.timestamp.wrapping_add(ahead as u32).wrapping_sub(back as u32)
    }

    /// The next sound belongs to this moment, in units of this clock: what lies between was silence.
    pub(crate) fn resume(&mut self, now: Moment, clock: u32) {
        if self.at > Moment::EPOCH {
            self.timestamp = self.timestamp_at(now);
        }
        (self.at, self.clock) = (now, clock);
    }

    /// So much sound was sent, or kept quiet about.
    pub(crate) fn advance(&mut self, long: Duration) {
        let units = long.as_micros() as u64 * u64::from(self.clock) / 1_000;
        self.timestamp = self.timestamp.wrapping_add(units as u32);
        self.at += long;
    }

    /// Writes the head of the next packet; its payload of `len` bytes lies behind already, or is
    /// still to be written. The timestamp is the next sound's unless another is given.
    pub(crate) fn write(
        &mut self,
        packet: &mut Packet<'_>,
        (payload_type, marker): (u8, Marker),
        timestamp: Option<u32>,
        len: usize,
    ) -> Fit {
        let timestamp = timestamp.unwrap_or(self.timestamp);
        let fit = write_head(packet, (payload_type, marker), (self.ssrc, self.sequence), timestamp);
        if fit == Fit::TooLong || packet.set_len(HEAD + len) == Fit::TooLong {
            return Fit::TooLong;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.sent.packets = self.sent.packets.wrapping_add(1);
        self.sent.octets = self.sent.octets.wrapping_add(len as u32);
        Fit::Fits
    }
}

/// Writes a head into a packet, which is then nothing but a head.
pub(crate) fn write_head(
    packet: &mut Packet<'_>,
    (payload_type, marker): (u8, Marker),
    (ssrc, sequence): (u32, u16),
    timestamp: u32,
) -> Fit {
    let marked = match marker {
        Marker::Set => 0x80,
        Marker::Clear => 0,
    };
    if packet.set_len(HEAD) == Fit::TooLong {
        return Fit::TooLong;
    }
    let [s0, s1] = sequence.to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = ssrc.to_be_bytes();
    let head = [0x80, marked | payload_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
    packet.bytes_mut().copy_from_slice(&head);
    Fit::Fits
}
