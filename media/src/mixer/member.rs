//! One member of a conference: what it says, and how it is to hear the others.

use pbx::media::{CodecKind, Part, Side, Terms};
use pbx::moment::Moment;

use crate::codec;
use crate::rtp::Header;
use crate::session::Slot;
use crate::transcode::hearing::{Filled, Hearing};
use crate::transcode::outgoing::Marker;

use super::cue::{Left, Playing};
use super::level::{self, Gate, Heard};
use super::limit::Limiter;
use super::voice::{Shape, Voice};
use super::{FRAME, RATE};

/// The payload type of comfort noise where none was spoken of (RFC 3551 §6).
const NOISE: u8 = 13;
/// Who stopped speaking while others go on hears the common packets again after so many ticks.
pub(super) const CALM: u32 = 100;

/// One phone's part.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) side: Side,
    pub(super) slot: Slot,
    pub(super) part: Part,
    /// Whether the others know that it is there.
    pub(super) announced: Announced,
    pub(super) line: Option<Box<Line>>,
    pub(super) gate: Gate,
    /// Whether what it says is in this tick's sum.
    pub(super) heard: Heard,
    /// What it says in this tick.
    pub(super) said: Box<[i16; FRAME]>,
    pub(super) playing: Option<Playing>,
    pub(super) hears: Hears,
    /// Of its next packet.
    pub(super) marker: Marker,
}

/// Whether a member's coming was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    No,
    Yes,
}

/// Which packets a member hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// None yet.
    Nothing,
    /// Those that all hear who say nothing.
    Common,
    /// Its own, because it is in the sum, or was until so many ticks ago.
    Own { calm: u32 },
}

/// What was agreed on with a member.
#[derive(Debug)]
pub(super) struct Line {
    hearing: Hearing,
    /// Payload types of its codecs, in order.
    codecs: Vec<u8>,
    noise: u8,
    events: Option<u8>,
    /// Microseconds that unpacking 20 ms takes, more or less.
    pub(super) price_us: u32,
    pub(super) shape: Shape,
    /// Units of a millisecond in packets for it.
    pub(super) clock: u32,
    pub(super) payload_type: u8,
    /// Made when it is needed first.
    pub(super) voice: Option<Box<Voice>>,
    /// What it hears, while that is its own.
    mix: Box<[i16; FRAME]>,
    limiter: Limiter,
}

impl Member {
    /// One that waits.
    pub(super) fn new(side: Side, slot: Slot) -> Self {
        Self {
            side,
            slot,
            part: Part::Waits,
            announced: Announced::No,
            line: None,
            gate: Gate::default(),
            heard: Heard::No,
            said: Box::new([0; FRAME]),
            playing: None,
            hears: Hears::Nothing,
            marker: Marker::Set,
        }
    }

    /// What was agreed on with it is known, or has changed.
    pub(super) fn agree(&mut self, terms: &Terms) {
        self.be_told_nothing();
        self.line = Shape::of(terms).map(|shape| Box::new(Line::new(terms, shape)));
    }

    /// How it takes part from now on.
    pub(super) fn take_part(&mut self, part: Part) {
        self.part = part;
        if part == Part::Away {
            self.be_told_nothing();
        }
        if let Some(line) = &mut self.line {
            // What it said before is of no use later.
            line.hearing.forget();
        }
    }

    fn be_told_nothing(&mut self) {
        (self.hears, self.marker) = (Hears::Nothing, Marker::Set);
    }

    /// A packet of it came.
    pub(super) fn handle_packet(&mut self, now: Moment, header: &Header, payload: &[u8]) {
        let (Part::Speaks, Some(line)) = (self.part, &mut self.line) else { return };
        let number = header.payload_type;
        if let Some(codec) = line.codecs.iter().position(|known| *known == number) {
            line.hearing.handle_sound(now, header, codec as u8, payload);
        } else if line.events == Some(number) {
            line.hearing.handle_other(now, header);
        } else if line.noise == number {
            line.hearing.handle_noise(now, header, payload);
        }
    }

    /// Takes what it says in this tick. Returns how many microseconds that took, more or less.
    pub(super) fn speak(&mut self, now: Moment) -> u32 {
        self.heard = Heard::No;
        let (Part::Speaks, Some(line)) = (self.part, &mut self.line) else {
            self.gate.handle_nothing();
            return 0;
        };
        if line.hearing.fill(now, FRAME) == Filled::Nothing {
            self.gate.handle_nothing();
            return 0;
        }
        for (said, sample) in self.said.iter_mut().zip(line.hearing.samples(FRAME)) {
            *said = *sample;
        }
        line.hearing.pass(FRAME);
        self.heard = self.gate.handle_frame(level::power(&self.said[..]));
        line.price_us
    }

    /// Whether it must hear what nobody else does.
    pub(super) fn differs(&self) -> bool {
        self.heard == Heard::Yes || self.playing.is_some() || self.part == Part::Waits
    }

    /// Packs the sum for it alone: without what it says, and with its own cue.
    pub(super) fn hear_own(&mut self, sum: &[i32; FRAME], tick: u32) {
        let Some(line) = &mut self.line else { return };
        let Line { mix, limiter, voice, shape, .. } = &mut **line;
        let mut own = match self.part {
            Part::Waits | Part::Away => [0; FRAME],
            Part::Speaks | Part::Listens => *sum,
        };
        if self.heard == Heard::Yes {
            own.iter_mut().zip(&self.said[..]).for_each(|(sum, said)| *sum -= i32::from(*said));
        }
        if let Some(playing) = &mut self.playing
            && playing.add_to(&mut own) == Left::Nothing
        {
            self.playing = None;
        }
        limiter.run(&own, &mut mix[..]);
        if let Some(voice) = voice {
            voice.take(&mix[..], tick, shape);
        }
    }
}

impl Line {
    fn new(terms: &Terms, shape: Shape) -> Self {
        let first = terms.codecs.first();
        Self {
            hearing: Hearing::new(terms, RATE),
            codecs: terms.codecs.iter().map(|codec| codec.from_peer).collect(),
            noise: terms.comfort_noise.unwrap_or(NOISE),
            events: terms.events,
            price_us: match shape.kind {
                CodecKind::Opus { .. } => 40,
                CodecKind::G722 => 15,
                CodecKind::Pcmu | CodecKind::Pcma | CodecKind::Other { .. } => 10,
            },
            clock: codec::clock_per_ms(&shape.kind),
            payload_type: first.map_or(0, |codec| codec.to_peer),
            shape,
            voice: None,
            mix: Box::new([0; FRAME]),
            limiter: Limiter::default(),
        }
    }

    /// Its own encoder begins; those packets were heard before.
    pub(super) fn begin_own(&mut self, before: Option<&Voice>, limiter: Limiter) {
        self.limiter = limiter;
        if self.voice.is_none() {
            self.voice = Voice::new(&self.shape.kind).map(Box::new);
        }
        if let Some(voice) = &mut self.voice {
            match before {
                Some(before) => voice.follow(before),
                None => voice.begin_anew(),
            }
        }
    }
}
