//! A sound in packets of one codec and length: packed once, while the first of its listeners hears it.
//!
//! A codec's packets follow each other, so they are made in order, and never more than one ahead of
//! whoever hears most. Who comes later takes what is there.

use std::time::Duration;

use pbx::media::{CodecKind, Terms};
use pbx::moment::Moment;

use crate::codec::resample::Resampler;
use crate::codec::{self, Encoder, LONGEST_PAYLOAD, Rate};
use crate::play::shelf::Samples;
use crate::transcode::saying;

/// How many packets lie in one piece of memory: none is ever moved, and few pieces are taken.
const A_BLOCK: u32 = 50;
/// Bits a second that Opus takes, when a peer may have less than usual: only a few kinds are packed.
const BITRATES: [u32; 3] = [24_000, 16_000, 8_000];

/// How a sound is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Packing {
    Pcmu,
    Pcma,
    G722,
    /// With at most so many bits a second, or as usual.
    Opus(Option<u32>),
}

/// What a phone's packets are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) packing: Packing,
    pub(crate) frame: Duration,
    /// Units of its timestamps in a millisecond.
    pub(crate) clock: u32,
    pub(crate) payload_type: u8,
}

impl Target {
    /// For a phone that agreed on this; `None` if we do not know its first codec.
    pub(crate) fn of(terms: &Terms) -> Option<Self> {
        let codec = terms.codecs.first()?;
        let packing = match &codec.kind {
            CodecKind::Pcmu => Packing::Pcmu,
            CodecKind::Pcma => Packing::Pcma,
            CodecKind::G722 => Packing::G722,
            CodecKind::Opus { most, .. } => Packing::Opus(most.and_then(bitrate)),
            CodecKind::Other { .. } => return None,
        };
        Some(Self {
            packing,
            frame: saying::frame(&codec.kind, terms.ptime),
            clock: codec::clock_per_ms(&codec.kind),
            payload_type: codec.to_peer,
        })
    }

    /// Units of a timestamp that a packet lasts.
    pub(crate) fn units(&self) -> u32 {
        self.frame.as_millis() as u32 * self.clock
    }
}

fn bitrate(most: u32) -> Option<u32> {
    let usual = most >= 32_000;
    let [.., least] = BITRATES;
    (!usual).then(|| BITRATES.into_iter().find(|rate| *rate <= most).unwrap_or(least))
}

impl Packing {
    fn kind(self) -> CodecKind {
        match self {
            Self::Pcmu => CodecKind::Pcmu,
            Self::Pcma => CodecKind::Pcma,
            Self::G722 => CodecKind::G722,
            Self::Opus(most) => CodecKind::Opus { stereo: false, fec: false, most },
        }
    }

    /// Bytes that a millisecond takes, about.
    fn per_ms(self) -> usize {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8,
            Self::Opus(_) => 5,
        }
    }
}

/// The sound.
#[derive(Debug)]
pub(crate) struct Reel {
    /// Until all of it is packed.
    press: Option<Press>,
    blocks: Vec<Block>,
    made: u32,
    /// How many packets there are to be.
    whole: u32,
    /// How many go round: the last one too, if it is full.
    round: u32,
    frame: Duration,
    /// Who hears it.
    pub(crate) listeners: u32,
    /// When somebody last did.
    pub(crate) used_at: Moment,
    crowd: Crowd,
    /// Bytes of its blocks.
    packed: usize,
}

/// Those who hear it together, as music.
#[derive(Debug, Default)]
struct Crowd {
    listeners: u32,
    /// Which packet was heard when.
    at: Moment,
    place: u32,
}

/// What packs it.
#[derive(Debug)]
struct Press {
    samples: Samples,
    taken: usize,
    resampler: Option<Resampler>,
    encoder: Encoder,
    packing: Packing,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// Room to work in.
#[derive(Debug)]
pub(crate) struct Room {
    wide: Vec<i16>,
    narrow: Vec<i16>,
    filter: Vec<f32>,
    payload: [u8; LONGEST_PAYLOAD],
}

impl Default for Room {
    fn default() -> Self {
        let (wide, narrow, filter) = (Vec::new(), Vec::new(), Vec::new());
        Self { wide, narrow, filter, payload: [0; LONGEST_PAYLOAD] }
    }
}

impl Reel {
    /// Of samples, for this target. `None`: there are none.
    pub(crate) fn new(now: Moment, samples: Samples, target: &Target) -> Option<Self> {
        let kind = target.packing.kind();
        let rate = codec::rate_of(&kind)?.min(Rate::Wide);
        let a_frame = target.frame.as_millis() as usize * Rate::Wide.per_ms();
        let whole = u32::try_from(samples.len().div_ceil(a_frame)).ok().filter(|all| *all > 0)?;
        let round = u32::try_from(samples.len() / a_frame).unwrap_or(whole).max(1);
        let resampler = Resampler::new(Rate::Wide, rate);
        let encoder = Encoder::new(&kind, rate)?;
        let press = Press { samples, taken: 0, resampler, encoder, packing: target.packing };
        Some(Self {
            press: Some(press),
            blocks: Vec::with_capacity(whole.div_ceil(A_BLOCK) as usize),
            made: 0,
            whole,
            round,
            frame: target.frame,
            listeners: 0,
            used_at: now,
            crowd: Crowd::default(),
            packed: 0,
        })
    }

    /// How many packets it has when it is played once.
    pub(crate) fn whole(&self) -> u32 {
        self.whole
    }

    /// How many it has when its end goes over into its beginning.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.packed + self.press.as_ref().map_or(0, |press| size_of_val(&*press.samples))
    }

    /// Whether that packet would have to be made first.
    pub(crate) fn is_new(&self, place: u32) -> bool {
        place >= self.made && self.made < self.whole
    }

    /// One of its packets; the one that is next to be made, if it is none of those that are.
    pub(crate) fn packet(&mut self, place: u32, room: &mut Room) -> &[u8] {
        let place = match (place < self.made, self.made < self.whole) {
            (true, _) => place,
            (false, true) => {
                self.make(room);
                self.made - 1
            }
            (false, false) => self.made - 1,
        };
        let block = self.blocks.get((place / A_BLOCK) as usize);
        block.map_or(&[], |block| block.packet((place % A_BLOCK) as usize))
    }

    fn make(&mut self, room: &mut Room) {
        let ms = self.frame.as_millis() as usize;
        let Some(press) = &mut self.press else { return };
        if self.made.is_multiple_of(A_BLOCK) {
            let left = (self.whole - self.made).min(A_BLOCK) as usize;
            let bytes = Vec::with_capacity(left * ms * press.packing.per_ms());
            self.packed += bytes.capacity();
            self.blocks.push(Block { bytes, ends: Vec::with_capacity(left) });
        }
        let len = press.make(ms, room);
        if let Some(block) = self.blocks.last_mut() {
            block.bytes.extend_from_slice(room.payload.get(..len).unwrap_or_default());
            block.ends.push(block.bytes.len() as u32);
        }
        self.made += 1;
        if self.made == self.whole {
            self.press = None;
        }
    }

    /// One more hears it as music; returns from which packet on.
    pub(crate) fn join(&mut self, now: Moment) -> u32 {
        if self.crowd.listeners == 0 {
            // It goes on where it was when the last one left.
            self.crowd.at = now;
        }
        self.crowd.listeners += 1;
        self.nearest(self.place_at(now))
    }

    /// The packet from which somebody can go on who was there in other packets: none is made before
    /// those before it.
    pub(crate) fn nearest(&self, place: u32) -> u32 {
        place.min(self.made)
    }

    /// Which packet is heard now, as music.
    fn place_at(&self, now: Moment) -> u32 {
        let since = now.since(self.crowd.at).as_micros() / self.frame.as_micros().max(1);
        let place = (u128::from(self.crowd.place) + since) % u128::from(self.round);
        place as u32
    }

    /// One hears it as music no more.
    pub(crate) fn leave(&mut self, now: Moment) {
        self.crowd.listeners = self.crowd.listeners.saturating_sub(1);
        if self.crowd.listeners == 0 {
            (self.crowd.place, self.crowd.at) = (self.place_at(now), now);
        }
    }
}

impl Press {
    /// Packs what comes next; behind the end is silence.
    fn make(&mut self, ms: usize, room: &mut Room) -> usize {
        let wanted = ms * Rate::Wide.per_ms();
        let rest = self.samples.get(self.taken..).unwrap_or_default();
        let Room { wide, narrow, filter, payload } = room;
        wide.clear();
        wide.extend_from_slice(rest.get(..wanted).unwrap_or(rest));
        wide.resize(wanted, 0);
        self.taken += wanted;
        match &mut self.resampler {
            None => self.encoder.encode(wide, payload),
            Some(resampler) => {
                narrow.resize(wanted, 0);
                let len = resampler.run(wide, narrow, filter);
                self.encoder.encode(narrow.get(..len).unwrap_or_default(), payload)
            }
        }
    }
}

impl Block {
    fn packet(&self, place: usize) -> &[u8] {
        let from = place.checked_sub(1).and_then(|before| self.ends.get(before));
        let (from, to) = (from.copied().unwrap_or(0), self.ends.get(place).copied().unwrap_or(0));
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }
}
