//! How well a peer is heard: packets, loss and jitter, and nothing that was not measured.
//!
//! RFC 3550 §6.4.1 and appendices A.1, A.3 and A.8.

use std::time::Duration;

use pbx::media::Heard;
use pbx::moment::Moment;

use crate::rtp::Header;

/// A jump ahead by fewer packets is loss, and one back by fewer is lateness (A.1).
const MAX_DROPOUT: u16 = 3_000;
const MAX_MISORDER: u16 = 100;
/// What codecs with dynamic payload types count in (RFC 3551 §4, RFC 7587 §4.1).
const CLOCKS: [u32; 7] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 90_000];
/// How long a stream is watched before its clock is told from its pace.
const PACE_OVER: Duration = Duration::from_secs(1);

/// What one peer's packets amount to.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    packets: u64,
    bytes: u64,
    run: Option<Run>,
    /// Expected and received in runs that are over.
    expected_before: u64,
    received_before: u64,
    jitter: Jitter,
    /// Expected and received when it was last reported.
    reported: (u64, u64),
}

/// What a receiver report says of a stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reception {
    pub(crate) ssrc: u32,
    /// Since the last report, in 256ths.
    pub(crate) fraction: u8,
    pub(crate) lost: i32,
    pub(crate) highest: u32,
    pub(crate) jitter: Duration,
}

/// A stretch of one stream in which sequence numbers rise without a jump.
#[derive(Debug, Clone, Copy)]
struct Run {
    ssrc: u32,
    first: u64,
    highest: u64,
    received: u64,
    /// The packet that would confirm a jump (A.1's `bad_seq`).
    after_jump: Option<u16>,
}

impl Measure {
    /// A packet of the peer was believed.
    pub(crate) fn handle_packet(&mut self, now: Moment, header: &Header) {
        self.packets += 1;
        self.bytes += header.payload_len as u64;
        let goes_on = self.run.as_mut().is_some_and(|run| run.takes(header));
        if !goes_on && let Some(over) = self.run.replace(Run::new(header)) {
            self.expected_before += over.expected();
            self.received_before += over.received;
            self.jitter.last = None;
        }
        self.jitter.handle_packet(now, header);
    }

    fn totals(&self) -> (u64, u64) {
        let (expected, received) = match &self.run {
            Some(run) => (run.expected(), run.received),
            None => (0, 0),
        };
        (self.expected_before + expected, self.received_before + received)
    }

    /// What is to be reported now; `None` while nothing came.
    pub(crate) fn report(&mut self) -> Option<Reception> {
        let run = self.run?;
        let (expected, received) = self.totals();
        let (expected_then, received_then) = self.reported;
        self.reported = (expected, received);
        let expected_since = expected.saturating_sub(expected_then);
        let lost_since = expected_since.saturating_sub(received.saturating_sub(received_then));
        let fraction = (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255);
        Some(Reception {
            ssrc: run.ssrc,
            fraction: fraction as u8,
            lost: i32::try_from(expected.cast_signed() - received.cast_signed())
                .unwrap_or(i32::MAX),
            // A run's numbers begin one turn of the sequence above zero.
            highest: (run.highest as u32).wrapping_sub(1 << 16),
            jitter: self.jitter().unwrap_or_default(),
        })
    }

    /// The payload type that came last.
    pub(crate) fn payload_type(&self) -> Option<u8> {
        self.jitter.last.map(|last| last.payload_type)
    }

    /// Interarrival jitter.
    pub(crate) fn jitter(&self) -> Option<Duration> {
        self.jitter.micros.map(|micros| Duration::from_micros(micros as u64))
    }

    /// What was measured.
    pub(crate) fn heard(&self, strangers: u64) -> Heard {
        let (expected, received) = self.totals();
        Heard {
            packets: self.packets,
            bytes: self.bytes,
            lost: (self.packets > 0).then(|| expected.saturating_sub(received)),
            jitter_ms: self.jitter.milliseconds(),
            strangers,
            ..Heard::default()
        }
    }
}

impl Run {
    fn new(header: &Header) -> Self {
        // One turn of the sequence above zero, so that a late packet can lie below the first.
        let first = u64::from(header.sequence) + (1 << 16);
        Self { ssrc: header.ssrc, first, highest: first, received: 1, after_jump: None }
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    /// Counts a packet, or says that another run begins with it.
    fn takes(&mut self, header: &Header) -> bool {
        if header.ssrc != self.ssrc {
            return false;
        }
        let ahead = header.sequence.wrapping_sub(self.highest as u16);
        match ahead {
            0..MAX_DROPOUT => {
                self.highest += u64::from(ahead);
                self.received += 1;
                self.after_jump = None;
            }
            _ if ahead.wrapping_neg() <= MAX_MISORDER => {
                let at = self.highest - u64::from(ahead.wrapping_neg());
                self.first = self.first.min(at);
                self.received += 1;
            }
            // Two in a row after a jump: the sender began anew. One alone is not counted.
            _ if self.after_jump == Some(header.sequence) => return false,
            _ => self.after_jump = Some(header.sequence.wrapping_add(1)),
        }
        true
    }
}

/// Interarrival jitter (A.8), kept in microseconds: clocks may change with the codec.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<Last>,
    pace: Option<Pace>,
    micros: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at: Moment,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
}

/// Tells the clock of a dynamic payload type from how fast its timestamps rise.
#[derive(Debug, Clone, Copy)]
struct Pace {
    payload_type: u8,
    since: Moment,
    from: u32,
    clock: Option<u32>,
}

impl Jitter {
    fn handle_packet(&mut self, now: Moment, header: &Header) {
        let Header { payload_type, sequence, timestamp, .. } = *header;
        let here = Last { at: now, payload_type, sequence, timestamp };
        let Some(last) = self.last.replace(here) else { return };
        // Another codec, an event (its packets share a timestamp) or a packet out of order says
        // nothing about how evenly packets arrive.
        let next = sequence.wrapping_sub(last.sequence);
        if payload_type != last.payload_type || timestamp == last.timestamp || next >= MAX_DROPOUT {
            return;
        }
        let clock = header.static_clock().or_else(|| self.paced_clock(now, header));
        let Some(clock) = clock else { return };
        let sent_after = f64::from(timestamp.wrapping_sub(last.timestamp) as i32);
        let sent_after = sent_after * 1e6 / f64::from(clock);
        let came_after = now.since(last.at).as_secs_f64() * 1e6;
        let deviation = (came_after - sent_after).abs();
        // A pause that its timestamps do not tell is the sender's, not the network's.
        if deviation > 2e6 {
            return;
        }
        let before = self.micros.unwrap_or(0.0);
        self.micros = Some(before + (deviation - before) / 16.0);
    }

    fn paced_clock(&mut self, now: Moment, header: &Header) -> Option<u32> {
        let Header { payload_type, timestamp, .. } = *header;
        let pace = match &mut self.pace {
            Some(pace) if pace.payload_type == payload_type => pace,
            other => other.insert(Pace { payload_type, since: now, from: timestamp, clock: None }),
        };
        let took = now.since(pace.since);
        if pace.clock.is_none() && took >= PACE_OVER {
            let rate = f64::from(timestamp.wrapping_sub(pace.from)) / took.as_secs_f64();
            let near = |clock: &&u32| (rate / f64::from(**clock) - 1.0).abs() < 0.04;
            pace.clock = CLOCKS.iter().find(near).copied();
            if pace.clock.is_none() {
                *pace = Pace { payload_type, since: now, from: timestamp, clock: None };
            }
        }
        pace.clock
    }

    fn milliseconds(&self) -> Option<f32> {
        self.micros.map(|micros| (micros / 1e3) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds packets of one codec, given as (arrival in ms, sequence, timestamp).
    fn measure(payload_type: u8, packets: &[(u64, u16, u32)]) -> Heard {
        let mut measure = Measure::default();
        for (ms, sequence, timestamp) in packets.iter().copied() {
            let header = Header { payload_type, sequence, timestamp, ssrc: 7, payload_len: 160 };
            measure.handle_packet(Moment::from_millis(ms), &header);
        }
        measure.heard(0)
    }

    /// Every 20 ms, 160 units of a clock of 8 kHz times `factor`.
    fn even(count: u16, first: u16, factor: u32) -> Vec<(u64, u16, u32)> {
        let packet = |n: u16| {
            (u64::from(n) * 20, first.wrapping_add(n), u32::from(n).wrapping_mul(160 * factor))
        };
        (0..count).map(packet).collect()
    }

    #[test]
    fn says_nothing_of_what_was_not_measured() {
        assert_eq!(Measure::default().heard(3), Heard { strangers: 3, ..Heard::default() });
        let one = measure(0, &even(1, 9, 1));
        assert_eq!((one.packets, one.bytes, one.lost, one.jitter_ms), (1, 160, Some(0), None));
    }

    #[test]
    fn counts_what_was_lost_across_the_turn_of_the_sequence() {
        let mut packets = even(200, 65_500, 1);
        packets.remove(150);
        packets.remove(36);
        packets.remove(30);
        assert_eq!(measure(0, &packets).lost, Some(3));
        assert_eq!(measure(0, &even(200, 65_500, 1)).lost, Some(0));
    }

    #[test]
    fn a_late_or_doubled_packet_is_not_lost_and_hides_no_more_than_itself() {
        let mut packets = even(50, 10, 1);
        packets.swap(20, 24);
        packets.swap(0, 1);
        assert_eq!(measure(0, &packets).lost, Some(0));
        packets.insert(30, packets[29]);
        assert_eq!(measure(0, &packets).lost, Some(0));
    }

    #[test]
    fn a_sender_that_begins_anew_has_not_lost_what_lies_between() {
        let mut packets = even(50, 10, 1);
        packets.extend(even(50, 40_000, 1));
        packets.remove(80);
        packets.remove(70);
        let heard = measure(0, &packets);
        assert_eq!((heard.packets, heard.lost), (98, Some(2)));
        packets.truncate(50);
        packets.insert(20, (410, 60_000, 5));
        assert_eq!(measure(0, &packets).lost, Some(0), "one astray packet is no new beginning");
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_a_shaken_one_has_what_shakes_it() {
        assert_eq!(measure(8, &even(100, 1, 1)).jitter_ms, Some(0.0));
        let mut packets = even(400, 1, 1);
        for (n, packet) in packets.iter_mut().enumerate() {
            packet.0 += if n % 2 == 0 { 0 } else { 8 };
        }
        let jitter = measure(8, &packets).jitter_ms.unwrap();
        assert!((jitter - 8.0).abs() < 0.1, "{jitter}");
    }

    #[test]
    fn learns_the_clock_of_a_dynamic_codec_or_stays_silent() {
        let mut opus = even(200, 1, 6);
        for (n, packet) in opus.iter_mut().enumerate() {
            packet.0 += if n % 2 == 0 { 0 } else { 8 };
        }
        let jitter = measure(96, &opus).jitter_ms.unwrap();
        assert!((jitter - 8.0).abs() < 0.4, "{jitter}");
        assert_eq!(measure(96, &even(20, 1, 6)).jitter_ms, None, "too short to tell");
        let odd: Vec<_> =
            even(200, 1, 1).into_iter().map(|(at, s, t)| (at, s, t * 5 / 4)).collect();
        assert_eq!(measure(96, &odd).jitter_ms, None, "10 kHz is no codec's clock");
    }

    #[test]
    fn digits_within_a_stream_are_no_jitter() {
        let mut measure = Measure::default();
        for n in 0..100_u16 {
            let (payload_type, timestamp) = match n {
                40..50 => (101, 40 * 160),
                _ => (0, u32::from(n) * 160),
            };
            let header = Header { payload_type, sequence: n, timestamp, ssrc: 7, payload_len: 160 };
            measure.handle_packet(Moment::from_millis(u64::from(n) * 20), &header);
        }
        assert_eq!(measure.heard(0).jitter_ms, Some(0.0));
    }
}
