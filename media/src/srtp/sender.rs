//! Sealing what goes to a peer.
//!
//! RFC 3711 §3.3 and §3.4. What we seal is somebody else's stream, with its losses, doubles and jumps;
//! but one index must never be sealed twice with different contents (§9.1), so a double is refused,
//! and a stream that jumps back goes on where it was, with its numbers shifted.

use pbx::media::Key;

use super::Refused;
use super::context::Context;
use super::head::{Head, reporter};
use super::transform::Place;
use super::window::Window;

/// So many packets in a row that seem to have been sent before are a source that began anew (another
/// phone with the same SSRC, after a transfer), and no double.
const ANEW_AFTER: u8 = 8;
/// An index of a report has 31 bits.
const MOST_REPORTS: u64 = 1 << 31;

/// What was sealed with one key.
pub(crate) struct Sender {
    context: Context<Sent>,
    /// One count for the reports of all streams: it need only rise.
    reports: u64,
}

/// A stream that is sealed.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    window: Window,
    /// Added to the numbers that come.
    shift: u16,
    astray: Astray,
}

/// Packets in a row that seem to have been sent before.
#[derive(Debug, Clone, Copy, Default)]
struct Astray {
    next: u16,
    count: u8,
}

impl Sender {
    /// `None` if the key is not as long as its suite says.
    pub(crate) fn new(key: &Key) -> Option<Self> {
        Some(Self { context: Context::new(key)?, reports: 0 })
    }

    /// Seals with another key from now on; with the same nothing begins anew. Streams go on where
    /// they were (RFC 3711 §3.3.1: "MUST NOT be reset to zero").
    pub(crate) fn rekey(&mut self, key: &Key) -> Option<()> {
        if self.context.is_of(key) {
            return Some(());
        }
        let mut context = Context::new(key)?;
        for (ssrc, sent) in self.context.streams() {
            let sent = Sent { window: sent.window.closed(), ..*sent };
            context.add(*ssrc, sent).ok()?;
        }
        self.context = context;
        Some(())
    }

    /// Seals the sound packet of `len` bytes that begins `room`; how long it is now.
    pub(crate) fn seal_sound(&mut self, room: &mut [u8], len: usize) -> Result<usize, Refused> {
        let packet = room.get_mut(..len).ok_or(Refused::Malformed)?;
        let Head { sequence, ssrc, len: head } = Head::read(packet)?;
        if self.context.stream(ssrc).is_none() {
            self.context.add(ssrc, Sent::default())?;
        }
        let sent = self.context.stream(ssrc).ok_or(Refused::Exhausted)?;
        let index = sent.index_of(sequence)?;
        sent.window.take(index);
        if let Some(number) = packet.get_mut(2..4) {
            number.copy_from_slice(&(index as u16).to_be_bytes());
        }
        self.context.sound.seal_sound(Place { ssrc, index }, head, room, len)
    }

    /// Seals the report of `len` bytes that begins `room`; how long it is now.
    pub(crate) fn seal_report(&mut self, room: &mut [u8], len: usize) -> Result<usize, Refused> {
        let ssrc = reporter(room.get(..len).ok_or(Refused::Malformed)?)?;
        self.reports = (self.reports + 1 < MOST_REPORTS)
            .then_some(self.reports + 1)
            .ok_or(Refused::Exhausted)?;
        self.context.reports.seal_report(Place { ssrc, index: self.reports }, room, len)
    }
}

impl Sent {
    fn index_of(&mut self, sequence: u16) -> Result<u64, Refused> {
        let index = self.window.index_of(sequence.wrapping_add(self.shift), 0);
        if let Some(index) = index.filter(|index| self.window.is_new(*index)) {
            self.astray.count = 0;
            return Ok(index);
        }
        let Astray { next, count } = self.astray;
        let count = if count > 0 && next == sequence { count + 1 } else { 1 };
        self.astray = Astray { next: sequence.wrapping_add(1), count };
        let latest = self.window.latest().ok_or(Refused::Replayed)?;
        if count < ANEW_AFTER {
            return Err(Refused::Replayed);
        }
        self.astray.count = 0;
        let next = (latest as u16).wrapping_add(1);
        self.shift = next.wrapping_sub(sequence);
        self.window.index_of(next, 0).ok_or(Refused::Exhausted)
    }
}
