//! A key pressed by us, in packets of the stream that the phone hears anyway.
//!
//! RFC 4733 §2.4: events belong to the stream of the sound. Where we make that ourselves they are among
//! its packets; where it is another phone's, its packets give way while the key is down, and their
//! numbers move so that none is missing and none is there twice.

use std::time::Duration;

use pbx::media::{Digit, Terms};
use pbx::moment::Moment;

use crate::codec::{self, Encoder, LONGEST_PAYLOAD, Rate};
use crate::digits::event::{PAYLOAD, Said};
use crate::digits::press::{Again, Press, STEP, Step};
use crate::digits::tone;
use crate::packet::{Fit, Packet};
use crate::rtp::Header;
use crate::transcode::outgoing::{self, HEAD, Marker, Outgoing};

/// How loud an event is told to be (RFC 4733 §2.3.3), in dB below full scale.
const VOLUME: u8 = 10;
/// A stream that was heard within so long goes on.
const GOES_ON: Duration = Duration::from_millis(300);

/// The keys that are pressed for one phone.
#[derive(Debug)]
pub(crate) struct Keys {
    press: Press,
    manner: Manner,
    clock: u32,
    /// What lengths of events count in, a millisecond.
    lengths: u32,
    line: Line,
    /// The timestamp of the key that is down.
    began: u32,
}

/// How the phone hears them.
#[derive(Debug)]
enum Manner {
    Events { number: u8 },
    Tones { encoder: Encoder, rate: Rate, number: u8 },
}

/// In whose stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The one that we make.
    Own,
    /// The one that is passed on.
    Passed,
}

/// The stream of another phone that is passed on to this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    ssrc: u32,
    /// The last that went.
    sequence: u16,
    timestamp: u32,
    at: Moment,
    /// What is added to its sequence numbers.
    moved: u16,
    /// And to its timestamps.
    shifted: u32,
    /// What was last was ours, so many units long, so many in a millisecond.
    played: Option<(u32, u32)>,
}

impl Passed {
    /// From its first packet on.
    pub(crate) fn begin(now: Moment, header: &Header) -> Self {
        let Header { ssrc, sequence, timestamp, .. } = *header;
        Self { ssrc, sequence, timestamp, at: now, moved: 0, shifted: 0, played: None }
    }

    /// Whether it is this one that a packet belongs to.
    pub(crate) fn is(&self, header: &Header) -> bool {
        self.ssrc == header.ssrc
    }

    /// A packet goes on.
    pub(crate) fn pass(&mut self, now: Moment, header: &Header, packet: &mut Packet<'_>) {
        let timestamp = self.timestamp_of(now, header, packet);
        let sequence = header.sequence.wrapping_add(self.moved);
        if self.moved != 0
            && let Some(place) = packet.bytes_mut().get_mut(2..4)
        {
            place.copy_from_slice(&sequence.to_be_bytes());
        }
        if (sequence.wrapping_sub(self.sequence) as i16) >= 0 {
            (self.sequence, self.timestamp, self.at) = (sequence, timestamp, now);
        }
    }

    /// A packet's timestamp, as the phone sees it: after something of ours it goes on from there,
    /// whether its sender counted meanwhile or not.
    fn timestamp_of(&mut self, now: Moment, header: &Header, packet: &mut Packet<'_>) -> u32 {
        if let Some((long, clock)) = self.played.take() {
            let end = self.timestamp.wrapping_add(long);
            let latest = self.timestamp_at(now + GOES_ON, clock);
            let room = latest.wrapping_sub(end) as i32;
            let ahead = header.timestamp.wrapping_add(self.shifted).wrapping_sub(end) as i32;
            if !(0..=room.max(0)).contains(&ahead) {
                let due = self.timestamp_at(now, clock);
                let later = (due.wrapping_sub(end) as i32).max(0) as u32;
                self.shifted = end.wrapping_add(later).wrapping_sub(header.timestamp);
            }
            if let Some(second) = packet.bytes_mut().get_mut(1) {
                *second |= 0x80;
            }
        }
        let timestamp = header.timestamp.wrapping_add(self.shifted);
        if self.shifted != 0
            && let Some(place) = packet.bytes_mut().get_mut(4..8)
        {
            place.copy_from_slice(&timestamp.to_be_bytes());
        }
        timestamp
    }

    /// A packet gives way to what we play, whose numbers go on without it.
    pub(crate) fn skip(&mut self) {
        self.moved = self.moved.wrapping_sub(1);
    }

    /// Writes the head of a packet of ours, which lasts so long and belongs to this moment.
    pub(crate) fn play(
        &mut self,
        at: Moment,
        kind: (u8, Marker),
        (clock, long): (u32, u32),
        packet: &mut Packet<'_>,
    ) -> Fit {
        let before = self.played.map_or(long, |(long, _)| long);
        let due = self.timestamp_at(at, clock);
        let ahead = (due.wrapping_sub(self.timestamp) as i32).max(before as i32) as u32;
        (self.timestamp, self.at) = (self.timestamp.wrapping_add(ahead), at);
        self.played = Some((long, clock));
        let len = packet.len().saturating_sub(HEAD);
        self.write(packet, kind, self.timestamp, len)
    }

    /// A packet gives way: the next one has its number.
    pub(crate) fn hold(&mut self, now: Moment, header: &Header) {
        self.moved = self.moved.wrapping_sub(1);
        (self.timestamp, self.at) = (header.timestamp.wrapping_add(self.shifted), now);
    }

    fn timestamp_at(&self, now: Moment, clock: u32) -> u32 {
        let since = now.since(self.at).as_micros() as u64 * u64::from(clock) / 1_000;
        self.timestamp.wrapping_add(since as u32)
    }

    fn write(
        &mut self,
        packet: &mut Packet<'_>,
        kind: (u8, Marker),
        timestamp: u32,
        len: usize,
    ) -> Fit {
        self.sequence = self.sequence.wrapping_add(1);
        self.moved = self.moved.wrapping_add(1);
        match outgoing::write_head(packet, kind, (self.ssrc, self.sequence), timestamp) {
            Fit::Fits => packet.set_len(HEAD + len),
            Fit::TooLong => Fit::TooLong,
        }
    }
}

impl Keys {
    /// For a phone with these terms; `None` if it can hear no keys.
    pub(crate) fn new(terms: &Terms) -> Option<Self> {
        let codec = terms.codecs.first()?;
        let manner = match terms.events {
            Some(number) => Manner::Events { number },
            None => {
                let rate = codec::rate_of(&codec.kind)?.min(Rate::Wide);
                let encoder = Encoder::new(&codec.kind, rate)?;
                Manner::Tones { encoder, rate, number: codec.to_peer }
            }
        };
        let clock = codec::clock_per_ms(&codec.kind);
        let lengths = terms.events_clock / 1_000;
        Some(Self { press: Press::default(), manner, clock, lengths, line: Line::Own, began: 0 })
    }

    /// A key is to be pressed.
    pub(crate) fn press(&mut self, now: Moment, digit: Digit, long: Duration) {
        self.press.press(now, digit, long);
    }

    /// Whether sound of our own gives way.
    pub(crate) fn is_down(&self) -> bool {
        self.press.is_down()
    }

    /// Whether the sound that is passed on gives way.
    pub(crate) fn holds(&self) -> bool {
        self.press.is_down() && self.line == Line::Passed
    }

    /// When the next packet is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.press.deadline()
    }

    /// Writes the next packet, if it is time.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        own: &mut Outgoing,
        passed: Option<&mut Passed>,
        packet: &mut Packet<'_>,
    ) -> Option<()> {
        let step = self.press.handle_deadline(now)?;
        let mut passed =
            passed.filter(|passed| self.line == Line::Passed || now.since(passed.at) < GOES_ON);
        let first = step.long == STEP && step.again == Again::No;
        if first {
            let goes_on = passed.is_some();
            self.line = if goes_on { Line::Passed } else { Line::Own };
            self.began = match &passed {
                Some(passed) => passed.timestamp_at(now, self.clock),
                None => {
                    own.resume(now, self.clock);
                    own.timestamp()
                }
            };
        }
        let (number, timestamp, len) = self.payload(step, packet)?;
        let marker = if first { Marker::Set } else { Marker::Clear };
        let fit = match (self.line, &mut passed) {
            (Line::Passed, Some(passed)) => passed.write(packet, (number, marker), timestamp, len),
            (Line::Passed | Line::Own, _) => {
                own.write(packet, (number, marker), Some(timestamp), len)
            }
        };
        (fit == Fit::Fits).then_some(())
    }

    /// Writes what a step says behind the place of the head: the payload type, the timestamp, and
    /// how many bytes.
    fn payload(&mut self, step: Step, packet: &mut Packet<'_>) -> Option<(u8, u32, usize)> {
        let units = |long: Duration, clock| (long.as_millis() as u32).wrapping_mul(clock);
        if packet.set_len(HEAD + LONGEST_PAYLOAD) == Fit::TooLong {
            return None;
        }
        let room = packet.bytes_mut().get_mut(HEAD..)?;
        match &mut self.manner {
            Manner::Events { number } => {
                let long = u16::try_from(units(step.long, self.lengths)).unwrap_or(u16::MAX);
                let (event, phase) = (step.digit.event(), step.phase);
                let said = Said { event, phase, volume: VOLUME, long };
                room.get_mut(..PAYLOAD)?.copy_from_slice(&said.bytes());
                Some((*number, self.began, PAYLOAD))
            }
            Manner::Tones { encoder, rate, number } => {
                if step.again == Again::Yes {
                    return None;
                }
                let before = step.long - STEP;
                let mut sound = [0; 20 * 16];
                let sound = sound.get_mut(..20 * rate.per_ms())?;
                let from = before.as_millis() as usize * rate.per_ms();
                tone::make(step.digit, rate.hertz(), from, sound);
                let len = encoder.encode(sound, room);
                let timestamp = self.began.wrapping_add(units(before, self.clock));
                (len > 0).then_some((*number, timestamp, len))
            }
        }
    }
}
