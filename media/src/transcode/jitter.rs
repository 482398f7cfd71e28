//! Packets come unevenly and out of order; sound must go on evenly. Here they wait, no longer than needed.
//!
//! Only where sound is unpacked; what is relayed waits nowhere. How long is waited follows how late
//! packets were of late (RFC 3550 §6.4.1 has the idea of transit times): 20 ms at least, 200 at most.
//! A pause of the speaker is the time to begin anew with the right wait.

use std::time::Duration;

use pbx::moment::Moment;

/// How many packets can wait: 200 ms of the shortest frames in use, and strays.
const ROOM: usize = 64;
/// Memory that a place has from the beginning; longer payloads take it once.
const PAYLOAD: usize = 256;
const SHORTEST_US: i64 = 20_000;
const LONGEST_US: i64 = 200_000;
/// What a packet may come later than the latest of late before it is missed.
const SPARE_US: i64 = 5_000;
/// A gap of timestamps up to this is filled with silence; a longer one was a pause.
const GAP_US: i64 = 200_000;
/// After so many frames that had to be made up in a row the speaker has paused.
const STARVES_FOR: u8 = 3;
/// Silence goes on for so long when nothing comes any more.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// Too much must wait for so many frames before some of it is squeezed out.
const CALM: u8 = 50;
/// A piece of a pause whose end is not known.
const PAUSE: Pulled<'static> = Pulled::Silence { long_us: 10_000 };
/// A jump of sequence numbers that is a new stream (RFC 3550 A.1).
const JUMP: i64 = 3_000;

/// What one packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Sound in the codec of this number.
    Sound { codec: u8 },
    /// How silence sounds (RFC 3389).
    Noise,
    /// Of no concern here, but its sequence number is not missing.
    Nothing,
}

/// Where a packet belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// Units of the timestamp in a millisecond.
    pub(crate) clock: u32,
    /// How long its sound is; zero if it has none.
    pub(crate) long_us: u32,
}

/// What is to be heard next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pulled<'a> {
    /// Nobody speaks, and nothing is to be sent.
    Nothing,
    /// Nobody speaks for so long.
    Silence { long_us: u32 },
    /// From now on silence sounds so.
    Noise(&'a [u8]),
    /// This.
    Sound { codec: u8, payload: &'a [u8] },
    /// Something that was lost, so long; the packet after it may hold a copy.
    Lost { long_us: u32, next: Option<&'a [u8]> },
}

/// One stream's waiting packets.
#[derive(Debug)]
pub(crate) struct Jitter {
    kept: Vec<Kept>,
    stream: Option<Stream>,
    state: State,
    lateness: Lateness,
    /// How many frames in a row were pulled while too much waited.
    crowded: u8,
}

#[derive(Debug)]
struct Kept {
    /// Which packet lies here, if any.
    sequence: Option<i64>,
    content: Content,
    at: i64,
    long_us: u32,
    payload: Vec<u8>,
}

/// The stream that is heard, with numbers that do not turn over.
#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: u32,
    clock: i64,
    /// The newest.
    sequence: i64,
    timestamp: i64,
    /// The next to be heard.
    next: i64,
    /// Where its sound should begin.
    expected: i64,
    long_us: u32,
    heard_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing ever came, or nothing for long.
    Idle,
    /// The first packets are let wait until then.
    Waiting { until: Moment },
    /// Frames are pulled; so many were made up since the last that came.
    Playing { starved: u8 },
    /// The speaker has paused.
    Paused,
}

impl Default for Jitter {
    fn default() -> Self {
        let empty = || Kept {
            sequence: None,
            content: Content::Nothing,
            at: 0,
            long_us: 0,
            payload: Vec::with_capacity(PAYLOAD),
        };
        Self {
            kept: std::iter::repeat_with(empty).take(ROOM).collect(),
            stream: None,
            state: State::Idle,
            lateness: Lateness::default(),
            crowded: 0,
        }
    }
}

impl Jitter {
    /// A packet came.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        place: Place,
        content: Content,
        payload: &[u8],
    ) {
        let stream = match self.stream.and_then(|stream| stream.follows(place)) {
            Some(stream) => stream,
            None => {
                self.forget();
                Stream::begin(now, place)
            }
        };
        let sequence = stream.number(place.sequence);
        let at = stream.position(place.timestamp);
        self.lateness.handle_packet(now, at * 1_000 / stream.clock);
        let mut stream = Stream {
            sequence: stream.sequence.max(sequence),
            timestamp: stream.timestamp.max(at),
            heard_at: now,
            ..stream
        };
        if sequence < stream.next {
            // Its turn was before: it is of no use any more.
            self.stream = Some(stream);
            return;
        }
        if sequence >= stream.next + ROOM as i64 {
            self.forget();
            (stream.next, stream.expected) = (sequence, at);
        }
        if place.long_us > 0 {
            stream.long_us = place.long_us;
        }
        let kept = &mut self.kept[slot(sequence)];
        kept.sequence = Some(sequence);
        (kept.content, kept.at, kept.long_us) = (content, at, place.long_us);
        kept.payload.clear();
        kept.payload.extend_from_slice(payload);
        self.state = match (self.state, content) {
            (State::Idle | State::Paused, Content::Sound { .. }) => {
                // What is left from before the pause is too late by now.
                (stream.next, stream.expected) = (sequence, at);
                State::Waiting { until: now + self.lateness.wait() }
            }
            (state @ (State::Idle | State::Paused), Content::Noise | Content::Nothing) => state,
            (state @ (State::Waiting { .. } | State::Playing { .. }), _) => state,
        };
        self.stream = Some(stream);
    }

    /// When a stream that has begun is to be heard.
    pub(crate) fn begins_at(&self) -> Option<Moment> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Idle | State::Playing { .. } | State::Paused => None,
        }
    }

    /// The next piece.
    pub(crate) fn pull(&mut self, now: Moment) -> Pulled<'_> {
        let Some(stream) = &mut self.stream else { return Pulled::Nothing };
        let mut starved = match self.state {
            State::Idle => return Pulled::Nothing,
            State::Waiting { until } if now < until => return PAUSE,
            State::Waiting { .. } => 0,
            State::Playing { starved } => starved,
            State::Paused if now.since(stream.heard_at) >= SILENT_FOR => {
                self.state = State::Idle;
                return Pulled::Nothing;
            }
            State::Paused => return PAUSE,
        };
        while stream.next <= stream.sequence {
            let here = slot(stream.next);
            let is_here = |kept: &Kept| kept.sequence == Some(stream.next);
            if !self.kept.get(here).is_some_and(is_here) {
                if starved < STARVES_FOR && stream.waiting_us() < self.lateness.wait_us() {
                    // Packets were later than this of late: it may still come.
                    self.state = State::Playing { starved: starved + 1 };
                    return Pulled::Lost { long_us: stream.long_us, next: None };
                }
                stream.next += 1;
                stream.expected += i64::from(stream.long_us) * stream.clock / 1_000;
                if starved > 0 {
                    // A frame was made up for it already.
                    starved -= 1;
                    continue;
                }
                self.state = State::Playing { starved };
                let (next, long_us) = (stream.next, stream.long_us);
                let after = self.kept.get(slot(next)).filter(|kept| kept.sequence == Some(next));
                let after = after.filter(|kept| matches!(kept.content, Content::Sound { .. }));
                return Pulled::Lost { long_us, next: after.map(|kept| &*kept.payload) };
            }
            let kept = &mut self.kept[here];
            let gap_us = (kept.at - stream.expected) * 1_000 / stream.clock;
            if matches!(kept.content, Content::Sound { .. })
                && (SHORTEST_US / 2..=GAP_US).contains(&gap_us)
            {
                let long_us = SHORTEST_US.min(gap_us);
                stream.expected += long_us * stream.clock / 1_000;
                self.state = State::Playing { starved: 0 };
                return Pulled::Silence { long_us: long_us as u32 };
            }
            stream.next += 1;
            kept.sequence = None;
            match kept.content {
                Content::Nothing => {}
                Content::Noise => {
                    stream.expected = kept.at;
                    self.state = match stream.next > stream.sequence {
                        true => State::Paused,
                        false => State::Playing { starved: 0 },
                    };
                    return Pulled::Noise(&self.kept[here].payload);
                }
                Content::Sound { codec } => {
                    stream.expected = kept.at + i64::from(kept.long_us) * stream.clock / 1_000;
                    self.state = State::Playing { starved: 0 };
                    return Pulled::Sound { codec, payload: &self.kept[here].payload };
                }
            }
        }
        if starved >= STARVES_FOR {
            self.state = State::Paused;
            return PAUSE;
        }
        self.state = State::Playing { starved: starved + 1 };
        Pulled::Lost { long_us: stream.long_us, next: None }
    }

    /// Whether so much waits that the next two frames should be heard in the time of one. Asked
    /// once a frame.
    pub(crate) fn is_crowded(&mut self) -> bool {
        let Some(stream) = &self.stream else { return false };
        let waiting_us =
            (stream.timestamp - stream.expected) * 1_000 / stream.clock + i64::from(stream.long_us);
        let wanted_us = self.lateness.wait().as_micros() as i64 + i64::from(stream.long_us);
        self.crowded = match waiting_us > wanted_us {
            true => self.crowded.saturating_add(1),
            false => 0,
        };
        let crowded = self.crowded >= CALM || waiting_us > LONGEST_US + i64::from(stream.long_us);
        if crowded {
            self.crowded = 0;
        }
        crowded
    }

    /// What waits is not heard, and what comes next is another stream.
    pub(crate) fn forget(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.sequence = None);
        self.stream = None;
        self.state = State::Idle;
        self.lateness = Lateness::default();
        self.crowded = 0;
    }
}

fn slot(sequence: i64) -> usize {
    sequence.rem_euclid(ROOM as i64) as usize
}

impl Stream {
    fn begin(now: Moment, place: Place) -> Self {
        let (sequence, timestamp) = (i64::from(place.sequence), i64::from(place.timestamp));
        Self {
            ssrc: place.ssrc,
            clock: i64::from(place.clock),
            sequence,
            timestamp,
            next: sequence,
            expected: timestamp,
            long_us: if place.long_us > 0 { place.long_us } else { 20_000 },
            heard_at: now,
        }
    }

    /// Unless the packet is another stream's.
    fn follows(self, place: Place) -> Option<Self> {
        let same = self.ssrc == place.ssrc && self.clock == i64::from(place.clock);
        let near = (self.number(place.sequence) - self.sequence).abs() < JUMP;
        let soon = (self.position(place.timestamp) - self.timestamp).abs() < self.clock * 3_600_000;
        (same && near && soon).then_some(self)
    }

    /// How much sound lies between what is heard next and the end of the newest.
    fn waiting_us(&self) -> i64 {
        (self.timestamp - self.expected) * 1_000 / self.clock + i64::from(self.long_us)
    }

    fn number(&self, sequence: u16) -> i64 {
        let ahead = sequence.wrapping_sub(self.sequence as u16) as i16;
        self.sequence + i64::from(ahead)
    }

    fn position(&self, timestamp: u32) -> i64 {
        let ahead = timestamp.wrapping_sub(self.timestamp as u32) as i32;
        self.timestamp + i64::from(ahead)
    }
}

/// How much later than the fastest packets the slow ones come.
#[derive(Debug, Default)]
struct Lateness {
    /// The shortest transit, of unknown origin.
    fastest: Option<i64>,
    peak: i64,
}

impl Lateness {
    /// A packet came whose sound belongs at `media_us`.
    fn handle_packet(&mut self, now: Moment, media_us: i64) {
        let transit = now.as_micros() as i64 - media_us;
        // It rises by 1 ms a second, faster than any two clocks part.
        let fastest = self.fastest.map_or(transit, |fastest| transit.min(fastest + 20));
        self.fastest = Some(fastest);
        let late = transit - fastest;
        // Up at once, down by half in 14 s.
        self.peak = late.max(self.peak - (self.peak - late) / 1_024);
    }

    /// How long a packet is let wait.
    fn wait(&self) -> Duration {
        Duration::from_micros(self.wait_us().unsigned_abs())
    }

    fn wait_us(&self) -> i64 {
        (self.peak + SPARE_US).clamp(SHORTEST_US, LONGEST_US)
    }
}
