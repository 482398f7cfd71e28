//! What is listened for in what one phone sends: events always, tones if somebody asks.

use pbx::media::{Digit, Terms, Tones};
use pbx::moment::Moment;

use crate::codec::resample::Resampler;
use crate::codec::{self, Decoder, LONGEST, Rate};
use crate::digits::event::Events;
use crate::digits::tone::Finder;
use crate::rtp::Header;

/// One phone's.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// The payload type of its events, and units of their lengths in a millisecond.
    events_are: Option<(u8, u32)>,
    events: Events,
    listener: Option<Box<Listener>>,
}

/// Unpacks its sound for nothing else but to find tones.
#[derive(Debug)]
struct Listener {
    codecs: Vec<(u8, Decoder, Option<Resampler>)>,
    finder: Finder,
    newest: Option<(u32, u16)>,
    unpacked: Vec<i16>,
    narrow: Vec<i16>,
    room: Vec<f32>,
}

impl Ear {
    /// What was agreed on with the phone.
    pub(crate) fn agree(&mut self, terms: &Terms) {
        let clock = terms.codecs.first().map_or(8, |codec| codec::clock_per_ms(&codec.kind));
        self.events_are = terms.events.map(|number| (number, clock));
        if self.listener.is_some() {
            self.listener = Some(Box::new(Listener::new(terms)));
        }
    }

    /// Whether tones are to be found.
    pub(crate) fn listen(&mut self, tones: Tones, terms: Option<&Terms>) {
        match (tones, terms) {
            (Tones::Heard, Some(terms)) if self.listener.is_none() => {
                self.listener = Some(Box::new(Listener::new(terms)));
            }
            (Tones::Heard, _) => {}
            (Tones::Ignored, _) => self.listener = None,
        }
    }

    /// Whether a packet of this payload type is to be [heard](Self::handle_packet).
    pub(crate) fn cares(&self, payload_type: u8) -> bool {
        self.listener.is_some() || self.events_are.is_some_and(|(known, _)| known == payload_type)
    }

    /// A packet came. Tells of the keys that were let go, and for how many milliseconds they were down.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        header: &Header,
        payload: &[u8],
        mut told: impl FnMut(Digit, u32),
    ) {
        match (self.events_are, &mut self.listener) {
            (Some((number, clock)), _) if number == header.payload_type => {
                if let Some((digit, long)) = self.events.handle_packet(now, header, payload) {
                    told(digit, long / clock);
                }
            }
            (_, Some(listener)) => listener.handle_packet(header, payload, told),
            (_, None) => {}
        }
    }

    /// Time has passed.
    pub(crate) fn look(&mut self, now: Moment) -> Option<(Digit, u32)> {
        let (_, clock) = self.events_are?;
        self.events.look(now).map(|(digit, long)| (digit, long / clock))
    }
}

impl Listener {
    fn new(terms: &Terms) -> Self {
        let codec = |codec: &pbx::media::Codec| {
            let decoder = Decoder::new(&codec.kind, Rate::Narrow)?;
            let resampler = Resampler::new(decoder.rate(), Rate::Narrow);
            Some((codec.from_peer, decoder, resampler))
        };
        Self {
            codecs: terms.codecs.iter().filter_map(codec).collect(),
            finder: Finder::default(),
            newest: None,
            unpacked: vec![0; LONGEST],
            narrow: vec![0; LONGEST],
            room: Vec::with_capacity(LONGEST * 2),
        }
    }

    fn handle_packet(&mut self, header: &Header, payload: &[u8], told: impl FnMut(Digit, u32)) {
        let late = |(ssrc, sequence)| {
            ssrc == header.ssrc && (header.sequence.wrapping_sub(sequence) as i16) <= 0
        };
        if self.newest.is_some_and(late) {
            return;
        }
        let number = header.payload_type;
        let known = self.codecs.iter_mut().find(|(known, ..)| *known == number);
        let Some((_, decoder, resampler)) = known else { return };
        self.newest = Some((header.ssrc, header.sequence));
        let count = decoder.decode(payload, &mut self.unpacked);
        let unpacked = self.unpacked.get(..count).unwrap_or_default();
        match resampler {
            None => self.finder.handle_sound(unpacked, told),
            Some(resampler) => {
                let count = resampler.run(unpacked, &mut self.narrow, &mut self.room);
                self.finder.handle_sound(self.narrow.get(..count).unwrap_or_default(), told);
            }
        }
    }
}
