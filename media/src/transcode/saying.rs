//! Samples as packets for one phone: as long as its description wants them, in the codec that it likes best.

use std::time::Duration;

use pbx::media::{CodecKind, Terms};

use crate::codec::{self, Encoder, LONGEST_PAYLOAD, Rate};
use crate::packet::{Fit, Packet};
use crate::transcode::outgoing::{HEAD, Marker, Outgoing};

/// One listener.
#[derive(Debug)]
pub(crate) struct Saying {
    encoder: Encoder,
    payload_type: u8,
    rate: Rate,
    clock: u32,
    frame: Duration,
    marker: Marker,
}

/// Whether a packet was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It is to be sent.
    Something,
    /// There is nothing to say.
    Nothing,
}

impl Saying {
    /// To who agreed on this, from samples of this rate. `None` if we do not know its first codec.
    pub(crate) fn new(to: &Terms, rate: Rate) -> Option<Self> {
        let target = to.codecs.first()?;
        Some(Self {
            encoder: Encoder::new(&target.kind, rate)?,
            payload_type: target.to_peer,
            rate,
            clock: codec::clock_per_ms(&target.kind),
            frame: frame(&target.kind, to.ptime),
            marker: Marker::Set,
        })
    }

    /// Units of its timestamps in a millisecond.
    pub(crate) fn clock(&self) -> u32 {
        self.clock
    }

    /// How much sound a packet holds.
    pub(crate) fn frame(&self) -> Duration {
        self.frame
    }

    /// The same in samples.
    pub(crate) fn samples(&self) -> usize {
        self.frame.as_millis() as usize * self.rate.per_ms()
    }

    /// The listener reported which share of our packets is lost.
    pub(crate) fn handle_loss(&mut self, percent: u8) {
        self.encoder.handle_loss(percent);
    }

    /// Nothing is said for a while: what comes then begins anew (RFC 3551 §4.1).
    pub(crate) fn pause(&mut self) {
        self.marker = Marker::Set;
    }

    /// Makes a packet of a frame's samples.
    pub(crate) fn say(
        &mut self,
        frame: &[i16],
        to: &mut Outgoing,
        packet: &mut Packet<'_>,
    ) -> Said {
        if packet.set_len(HEAD + LONGEST_PAYLOAD) == Fit::TooLong {
            return Said::Nothing;
        }
        let room = packet.bytes_mut().get_mut(HEAD..).unwrap_or_default();
        let len = self.encoder.encode(frame, room);
        let kind = (self.payload_type, self.marker);
        if len == 0 || to.write(packet, kind, None, len) == Fit::TooLong {
            return Said::Nothing;
        }
        self.marker = Marker::Clear;
        Said::Something
    }
}

/// How much sound a packet holds: what the description asks for, if the codec can.
pub(crate) fn frame(kind: &CodecKind, ptime: u8) -> Duration {
    let ms = match (ptime, kind) {
        (30, CodecKind::Opus { .. }) => 20,
        (10 | 20 | 30 | 40 | 60, _) => ptime,
        _ => 20,
    };
    Duration::from_millis(u64::from(ms))
}
