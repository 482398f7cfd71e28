//! A recording as everybody can hear it: a WAV file whose left channel is who called, and whose right
//! one is who was called.
//!
//! Done when the call is over, by whoever has time. Memory is bounded whatever the length: two seconds of
//! sound are kept. What was paused is left out, and so is the time that it took.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use pbx::media::{Channel, CodecKind, Recording};
use pbx::moment::Moment;

use super::log::{Entries, Entry, Kind, Place, read_codecs};
use super::timeline::Timeline;
use super::track::Track;
use crate::codec::{self, Rate};
use crate::rtp::Datagram;

/// The head of a WAV file: RIFF, `fmt ` and `data`.
const WAV_HEAD: u32 = 44;
/// Both channels' samples of one moment.
const BYTES_A_PAIR: u32 = 4;
/// Nothing that lies so far back can change any more.
const HELD_US: i64 = 2_000_000;
/// How much is handed on at once.
const PIECE: usize = 64 * 1024;
/// A call without anything in its file but its beginning.
const SHORTEST_US: i64 = 20_000;

/// Why a recording cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The files cannot be read, or what is made of them cannot be taken.
    #[error(transparent)]
    File(#[from] io::Error),
    /// They are none of ours, or end before they begin.
    #[error("there is no recording in these files")]
    Nothing,
}

/// A recording that was looked through, and can be [rendered](Self::render).
#[derive(Debug)]
pub struct Rendering {
    /// Whose it is.
    pub recording: Recording,
    /// When it began.
    pub began_at: Moment,
    /// When it ended.
    pub ended_at: Moment,
    /// How long it is without its pauses.
    pub lasts_for: Duration,
    /// How many samples a second its WAV file has.
    pub rate: Rate,
    /// Packets that were not kept because the disk was too slow.
    pub lost: u64,
    parts: Vec<PathBuf>,
}

impl Rendering {
    /// Looks through a recording's parts, in their order.
    ///
    /// # Errors
    /// If they cannot be read, or there is nothing in them.
    pub fn open(parts: Vec<PathBuf>) -> Result<Self, Failure> {
        let mut seen = Seen::default();
        each(&parts, |entry| {
            seen.look(&entry);
            Ok(())
        })?;
        let (Some((recording, began_at)), Some(ended_at)) = (seen.about, seen.ended_at) else {
            return Err(Failure::Nothing);
        };
        let lasts_us = seen.clock.at_us(ended_at).max(SHORTEST_US);
        Ok(Self {
            recording,
            began_at,
            ended_at,
            lasts_for: Duration::from_micros(lasts_us.unsigned_abs()),
            rate: if seen.is_wide { Rate::Wide } else { Rate::Narrow },
            lost: seen.lost,
            parts,
        })
    }

    fn pairs(&self) -> u32 {
        let most = u64::from((u32::MAX - WAV_HEAD) / BYTES_A_PAIR);
        let pairs = self.lasts_for.as_millis() as u64 * self.rate.per_ms() as u64;
        u32::try_from(pairs.min(most)).unwrap_or(u32::MAX / 8)
    }

    /// Renders it, a piece at a time. Returns how many packets were in a codec that we only pass on.
    ///
    /// # Errors
    /// If a file cannot be read, or `to` takes no more.
    pub fn render(&self, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> Result<u64, Failure> {
        let pairs = self.pairs();
        to(&head(self.rate, pairs * BYTES_A_PAIR))?;
        let mut scene = Scene::new(self.rate, i64::from(pairs));
        each(&self.parts, |entry| {
            scene.handle(&entry);
            while let Some(piece) = scene.next_piece() {
                to(piece)?;
            }
            Ok(())
        })?;
        scene.finish();
        while let Some(piece) = scene.next_piece() {
            to(piece)?;
        }
        Ok(scene.tracks.values().map(|track| track.strange).sum())
    }
}

/// A track: which leg's, and what of it. One leg may be heard on both sides: what its phone says, and what
/// it hears.
type Which = (u16, u8);

fn which(place: &Place) -> Which {
    let ear = match place.channel {
        Channel::Left => 0,
        Channel::Right => 1,
    };
    (place.leg, ear)
}

/// Goes through all entries of all parts.
fn each(
    parts: &[PathBuf],
    mut act: impl FnMut(Entry<'_>) -> io::Result<()>,
) -> Result<(), Failure> {
    for part in parts {
        let Some(mut entries) = Entries::open(BufReader::with_capacity(PIECE, File::open(part)?))?
        else {
            continue;
        };
        while let Some(entry) = entries.next()? {
            act(entry)?;
        }
    }
    Ok(())
}

/// What time it is in a recording: pauses take none.
#[derive(Debug, Default)]
struct PausedClock {
    began_at: Option<Moment>,
    paused_at: Option<Moment>,
    left_out_us: i64,
}

/// Whether the clock stopped, or went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Stopped,
    WentOn,
    None,
}

impl PausedClock {
    fn handle(&mut self, entry: &Entry<'_>) -> Turn {
        let at = entry.place.at;
        self.began_at.get_or_insert(at);
        match entry.kind {
            Kind::Pause => match self.paused_at {
                None => {
                    self.paused_at = Some(at);
                    Turn::Stopped
                }
                Some(_) => Turn::None,
            },
            // A new process that goes on with it says whether it pauses.
            Kind::Resume | Kind::About => match self.paused_at.take() {
                Some(paused_at) => {
                    self.left_out_us += (at - paused_at).as_micros() as i64;
                    Turn::WentOn
                }
                None => Turn::None,
            },
            Kind::Terms | Kind::Packet | Kind::Lost | Kind::Closed => Turn::None,
        }
    }

    fn at_us(&self, at: Moment) -> i64 {
        let at = self.paused_at.map_or(at, |paused_at| at.min(paused_at));
        let since = self.began_at.map_or(0, |began_at| (at - began_at).as_micros() as i64);
        since - self.left_out_us
    }
}

/// What the first look finds out.
#[derive(Debug, Default)]
struct Seen {
    about: Option<(Recording, Moment)>,
    ended_at: Option<Moment>,
    clock: PausedClock,
    codecs: BTreeMap<Which, Vec<(u8, CodecKind)>>,
    is_wide: bool,
    lost: u64,
}

impl Seen {
    fn look(&mut self, entry: &Entry<'_>) {
        self.clock.handle(entry);
        self.ended_at = self.ended_at.max(Some(entry.place.at));
        match entry.kind {
            Kind::About if self.about.is_none() => {
                let recording = Recording::from_bytes(entry.body);
                self.about = recording.map(|recording| (recording, entry.place.at));
            }
            Kind::Terms => {
                self.codecs.insert(which(&entry.place), read_codecs(entry.body));
            }
            Kind::Packet if !self.is_wide => self.is_wide = self.is_wide(entry),
            Kind::Lost => {
                let count = entry.body.first_chunk().map_or(0, |count| u32::from_be_bytes(*count));
                self.lost += u64::from(count);
            }
            Kind::About | Kind::Packet | Kind::Pause | Kind::Resume | Kind::Closed => {}
        }
    }

    fn is_wide(&self, entry: &Entry<'_>) -> bool {
        let Datagram::Rtp(header) = Datagram::read(entry.body) else { return false };
        let wide = |kind: &CodecKind| codec::rate_of(kind) > Some(Rate::Narrow);
        match self.codecs.get(&which(&entry.place)) {
            Some(codecs) => {
                codecs.iter().any(|(number, kind)| *number == header.payload_type && wide(kind))
            }
            None => header.payload_type == 9,
        }
    }
}

/// Everything while it is rendered.
struct Scene {
    rate: Rate,
    clock: PausedClock,
    tracks: BTreeMap<Which, Track>,
    timeline: Timeline,
    /// How many pairs there shall be.
    pairs: i64,
    /// How many pairs can change no more.
    settled: i64,
    /// Room for a piece.
    piece: Vec<u8>,
}

impl Scene {
    fn new(rate: Rate, pairs: i64) -> Self {
        let (tracks, timeline) = (BTreeMap::new(), Timeline::default());
        let (clock, piece) = (PausedClock::default(), Vec::with_capacity(PIECE));
        Self { rate, clock, tracks, timeline, pairs, settled: 0, piece }
    }

    fn handle(&mut self, entry: &Entry<'_>) {
        let turn = self.clock.handle(entry);
        let now_us = self.clock.at_us(entry.place.at);
        let Self { tracks, timeline, rate, .. } = self;
        match turn {
            // The streams' own clocks go on while ours stands still.
            Turn::Stopped | Turn::WentOn => {
                tracks.values_mut().for_each(|track| track.flush(timeline));
            }
            Turn::None => {}
        }
        let (which, channel) = (which(&entry.place), entry.place.channel);
        match entry.kind {
            Kind::Terms => {
                let track = tracks.entry(which).or_insert_with(|| Track::new(channel, *rate));
                track.agree(read_codecs(entry.body));
            }
            Kind::Packet => {
                let track = tracks.entry(which).or_insert_with(|| Track::new(channel, *rate));
                track.handle_packet(now_us, entry.body, timeline);
            }
            Kind::Closed => {
                if let Some(track) = tracks.get_mut(&which) {
                    track.flush(timeline);
                }
            }
            Kind::About | Kind::Pause | Kind::Resume | Kind::Lost => {}
        }
        tracks.values_mut().for_each(|track| track.advance(now_us, timeline));
        let settled = (now_us - HELD_US) * self.rate.per_ms() as i64 / 1_000;
        self.settled = settled.min(self.pairs);
    }

    /// The next of what can be handed on: a whole piece, but for the last.
    fn next_piece(&mut self) -> Option<&[u8]> {
        let whole = PIECE as i64 / i64::from(BYTES_A_PAIR);
        let first = self.timeline.first();
        let long = match self.settled - first {
            long if long >= whole => whole,
            long if long > 0 && self.settled == self.pairs => long,
            _ => return None,
        };
        self.piece.clear();
        self.timeline.take(first + long, &mut self.piece);
        Some(&self.piece)
    }

    fn finish(&mut self) {
        let Self { tracks, timeline, .. } = self;
        tracks.values_mut().for_each(|track| track.flush(timeline));
        self.settled = self.pairs;
    }
}

/// What a WAV file begins with: 16 bits a sample, two channels.
fn head(rate: Rate, data: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(WAV_HEAD as usize);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(&(data + WAV_HEAD - 8).to_le_bytes());
    head.extend_from_slice(b"WAVEfmt ");
    head.extend_from_slice(&16_u32.to_le_bytes());
    head.extend_from_slice(&1_u16.to_le_bytes());
    head.extend_from_slice(&2_u16.to_le_bytes());
    head.extend_from_slice(&rate.hertz().to_le_bytes());
    head.extend_from_slice(&(rate.hertz() * BYTES_A_PAIR).to_le_bytes());
    head.extend_from_slice(&(BYTES_A_PAIR as u16).to_le_bytes());
    head.extend_from_slice(&16_u16.to_le_bytes());
    head.extend_from_slice(b"data");
    head.extend_from_slice(&data.to_le_bytes());
    head
}
