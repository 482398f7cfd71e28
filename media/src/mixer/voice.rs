//! A sum as packets: one encoder, for one member that hears what nobody else does, or for all that hear
//! the same in the same codec.

use std::time::Duration;

use pbx::media::{CodecKind, Terms};

use crate::codec::resample::Resampler;
use crate::codec::{self, Encoder, LONGEST_PAYLOAD, Rate};

use super::{FRAME, RATE, TICK};

/// The most ticks in a packet: 60 ms.
const MOST_TICKS: u32 = 3;

/// How packets for a member are made. Whoever has the same may hear the same packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: CodecKind,
    /// How many ticks a packet holds.
    pub(super) ticks: u32,
}

/// An encoder and what it has not packed yet.
#[derive(Debug)]
pub(super) struct Voice {
    encoder: Encoder,
    resampler: Option<Resampler>,
    /// Samples of the packet that is not full yet.
    pending: Vec<i16>,
    narrow: Vec<i16>,
    filter: Vec<f32>,
    payload: Box<[u8; LONGEST_PAYLOAD]>,
    len: usize,
}

impl Shape {
    /// Of what a member hears best; `None` if we do not know that. `ptime` is a wish (RFC 8866 §6.4):
    /// what would be shorter than a tick, or no multiple of it, is a tick long.
    pub(super) fn of(terms: &Terms) -> Option<Self> {
        let kind = terms.codecs.first()?.kind.clone();
        codec::rate_of(&kind)?;
        let ticks = match terms.ptime {
            40 => 2,
            60 => 3,
            _ => 1,
        };
        Some(Self { kind, ticks })
    }

    /// How much sound a packet holds.
    pub(super) fn long(&self) -> Duration {
        TICK * self.ticks
    }

    /// Microseconds that packing 20 ms takes, more or less; what sums are made of is in it.
    pub(super) fn price_us(&self) -> u32 {
        match self.kind {
            CodecKind::Opus { .. } => 120,
            CodecKind::G722 => 15,
            CodecKind::Pcmu | CodecKind::Pcma | CodecKind::Other { .. } => 8,
        }
    }
}

impl Voice {
    /// `None` if the codec is not one of ours.
    pub(super) fn new(kind: &CodecKind) -> Option<Self> {
        let encoder = Encoder::new(kind, RATE)?;
        let own = match kind {
            CodecKind::Opus { .. } => RATE,
            CodecKind::G722 | CodecKind::Pcmu | CodecKind::Pcma | CodecKind::Other { .. } => {
                codec::rate_of(kind)?
            }
        };
        Some(Self {
            encoder,
            resampler: Resampler::new(RATE, own.min(Rate::Wide)),
            pending: Vec::with_capacity(FRAME * MOST_TICKS as usize),
            narrow: vec![0; FRAME],
            filter: Vec::with_capacity(FRAME * 2),
            payload: Box::new([0; LONGEST_PAYLOAD]),
            len: 0,
        })
    }

    /// Goes on where another one is, whose packets were heard before.
    pub(super) fn follow(&mut self, other: &Self) {
        self.begin_anew();
        self.pending.extend_from_slice(&other.pending);
        if let (Some(own), Some(other)) = (&mut self.resampler, &other.resampler) {
            own.follow(other);
        }
    }

    /// What comes next continues nothing.
    pub(super) fn begin_anew(&mut self) {
        self.encoder.begin_anew();
        self.pending.clear();
    }

    /// Takes a tick's sum, the `tick`th of a packet of this shape. The packet is full with its last.
    pub(super) fn take(&mut self, sum: &[i16], tick: u32, shape: &Shape) {
        self.len = 0;
        if tick == 0 {
            self.pending.clear();
        }
        let before = self.pending.len();
        let a_tick = match &mut self.resampler {
            None => {
                self.pending.extend_from_slice(sum);
                sum.len()
            }
            Some(resampler) => {
                let len = resampler.run(sum, &mut self.narrow, &mut self.filter);
                self.pending.extend_from_slice(self.narrow.get(..len).unwrap_or_default());
                len
            }
        };
        // Who begins in the middle of a packet waits for the next.
        if before != a_tick * tick as usize {
            self.pending.clear();
        } else if tick + 1 == shape.ticks {
            self.len = self.encoder.encode(&self.pending, &mut self.payload[..]);
            self.pending.clear();
        }
    }

    /// What is full; empty if that is nothing.
    pub(super) fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}
