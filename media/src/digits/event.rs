//! A key that a phone tells of in packets of their own: one digit a press, whatever is lost on the way.
//!
//! RFC 4733 §2.3 and §2.5: an event's packets share a timestamp, its length grows, and its last packet
//! comes three times.

use std::time::Duration;

use pbx::media::Digit;
use pbx::moment::Moment;

use crate::rtp::Header;

/// An event's payload.
pub(crate) const PAYLOAD: usize = 4;
/// A key whose packets stop without an end is let go.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// What one packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) event: u8,
    pub(crate) phase: Phase,
    pub(crate) volume: u8,
    /// So far, in units of the timestamp.
    pub(crate) long: u16,
}

/// Whether the key is still down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Down,
    Ended,
}

impl Said {
    /// `None` if it is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let [event, volume, l0, l1] = payload.first_chunk::<PAYLOAD>().copied()?;
        let phase = if volume & 0x80 == 0 { Phase::Down } else { Phase::Ended };
        Some(Self { event, phase, volume: volume & 0x3f, long: u16::from_be_bytes([l0, l1]) })
    }

    /// The payload.
    pub(crate) fn bytes(self) -> [u8; PAYLOAD] {
        let ended = match self.phase {
            Phase::Down => 0,
            Phase::Ended => 0x80,
        };
        let [l0, l1] = self.long.to_be_bytes();
        [self.event, ended | self.volume, l0, l1]
    }
}

/// Hears one phone's events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    key: Option<Key>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    ssrc: u32,
    /// Of the press, or of its last piece (§2.5.1.3).
    timestamp: u32,
    digit: Digit,
    /// In units of the timestamp; of the pieces before, and of this one.
    before: u32,
    long: u16,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { heard_at: Moment },
    Told,
}

impl Events {
    /// An event's packet came. Returns a key that is known to be let go, and how long it was held.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        header: &Header,
        payload: &[u8],
    ) -> Option<(Digit, u32)> {
        let said = Said::read(payload)?;
        let digit = Digit::from_event(said.event)?;
        let mut told = None;
        let key = match self.key {
            Some(key) if key.is(header) => key,
            // It is older than what was told: late.
            Some(key) if key.is_before(header) => return None,
            Some(key) if key.goes_on(header, digit) => Key {
                timestamp: header.timestamp,
                before: key.before + u32::from(key.long),
                long: 0,
                ..key
            },
            former => {
                told = former.and_then(Key::let_go);
                Key::press(now, header, digit)
            }
        };
        let mut key = Key { long: key.long.max(said.long), ..key };
        if key.state != State::Told {
            key.state = State::Down { heard_at: now };
            // One at a time: after one whose end was lost, this one's end comes again, or is missed.
            if said.phase == Phase::Ended && told.is_none() {
                told = key.let_go();
                key.state = State::Told;
            }
        }
        self.key = Some(key);
        told
    }

    /// Time has passed. Returns a key whose end was lost.
    pub(crate) fn look(&mut self, now: Moment) -> Option<(Digit, u32)> {
        let key = self.key.as_mut()?;
        match key.state {
            State::Down { heard_at } if now.since(heard_at) >= LOST_AFTER => {
                let told = key.let_go();
                key.state = State::Told;
                told
            }
            State::Down { .. } | State::Told => None,
        }
    }
}

impl Key {
    fn press(now: Moment, header: &Header, digit: Digit) -> Self {
        Self {
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            digit,
            before: 0,
            long: 0,
            state: State::Down { heard_at: now },
        }
    }

    fn is(&self, header: &Header) -> bool {
        self.ssrc == header.ssrc && self.timestamp == header.timestamp
    }

    fn is_before(&self, header: &Header) -> bool {
        self.ssrc == header.ssrc && (header.timestamp.wrapping_sub(self.timestamp) as i32) < 0
    }

    fn goes_on(&self, header: &Header, digit: Digit) -> bool {
        let ends = self.timestamp.wrapping_add(u32::from(self.long));
        let down = matches!(self.state, State::Down { .. });
        down && self.ssrc == header.ssrc && self.digit == digit && ends == header.timestamp
    }

    fn let_go(self) -> Option<(Digit, u32)> {
        let down = matches!(self.state, State::Down { .. });
        down.then_some((self.digit, self.before + u32::from(self.long)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    /// The packets of a press of five units of 160, as they come.
    fn press(
        events: &mut Events,
        event: u8,
        timestamp: u32,
        lost: impl Fn(usize) -> bool,
    ) -> String {
        let mut heard = String::new();
        for n in 0..8_u16 {
            let phase = if n >= 5 { Phase::Ended } else { Phase::Down };
            let said = Said { event, phase, volume: 10, long: (n + 1).min(6) * 160 };
            if lost(usize::from(n)) {
                continue;
            }
            heard.extend(hear(events, NOW, timestamp, said).map(|(digit, _)| digit.key()));
        }
        heard
    }

    fn hear(events: &mut Events, now: Moment, timestamp: u32, said: Said) -> Option<(Digit, u32)> {
        let header =
            Header { payload_type: 101, sequence: 0, timestamp, ssrc: 7, payload_len: PAYLOAD };
        events.handle_packet(now, &header, &said.bytes())
    }

    #[test]
    fn each_press_is_one_digit_whichever_packets_are_lost() {
        for lost in 0..=255_u32 {
            let mut events = Events::default();
            let mut heard = String::new();
            for (n, event) in [1, 1, 11, 0].into_iter().enumerate() {
                let lost = |n: usize| lost != 255 && lost >> n & 1 == 1;
                heard += &press(&mut events, event, n as u32 * 4_000, lost);
            }
            heard.extend(events.look(NOW + Duration::from_secs(1)).map(|(digit, _)| digit.key()));
            assert_eq!(heard, "11#0", "{lost:08b}");
        }
    }

    #[test]
    fn a_late_packet_of_an_earlier_press_is_none() {
        let mut events = Events::default();
        press(&mut events, 1, 4_000, |_| false);
        press(&mut events, 2, 8_000, |_| false);
        let said = Said { event: 1, phase: Phase::Ended, volume: 0, long: 960 };
        assert_eq!(hear(&mut events, NOW, 4_000, said), None);
        assert_eq!(events.look(NOW + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_key_that_is_held_for_longer_than_a_packet_can_say_is_one() {
        let mut events = Events::default();
        let down = |long| Said { event: 5, phase: Phase::Down, volume: 0, long };
        assert_eq!(hear(&mut events, NOW, 100, down(65_520)), None);
        assert_eq!(hear(&mut events, NOW, 100 + 65_520, down(160)), None);
        let ended = Said { phase: Phase::Ended, ..down(480) };
        let told = hear(&mut events, NOW, 100 + 65_520, ended);
        assert_eq!(told.map(|(digit, long)| (digit.key(), long)), Some(('5', 66_000)));
    }

    #[test]
    fn what_is_no_key_is_not_heard() {
        let mut events = Events::default();
        let flash = Said { event: 16, phase: Phase::Ended, volume: 0, long: 800 };
        assert_eq!(hear(&mut events, NOW, 1, flash), None);
        let header =
            Header { payload_type: 101, sequence: 0, timestamp: 1, ssrc: 7, payload_len: 3 };
        assert_eq!(events.handle_packet(NOW, &header, &[1, 2, 3]), None);
    }
}
