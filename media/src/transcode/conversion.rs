//! One phone's sound for another that does not know its codec: unpacked, brought to the right rate, packed.
//!
//! The speaker's packets wait in the jitter buffer; the listener's leave evenly, as long as its
//! description wants them (`ptime`, RFC 8866 §6.4), whatever the speaker's are.

use std::time::Duration;

use pbx::media::Terms;
use pbx::moment::Moment;

use crate::packet::Packet;
use crate::rtp::Header;
use crate::transcode::hearing::{Filled, Hearing};
use crate::transcode::outgoing::Outgoing;
use crate::transcode::route;
use crate::transcode::saying::{Said, Saying};

/// Whoever is so far behind begins anew instead of catching up.
const BEHIND: Duration = Duration::from_millis(200);

/// One direction.
#[derive(Debug)]
pub(crate) struct Conversion {
    speaker: Hearing,
    listener: Saying,
    /// When the next frame leaves.
    next_at: Option<Moment>,
}

/// Whether what is said is sent, or something else has the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aloud {
    Yes,
    No,
}

impl Conversion {
    /// From one side's codecs to the other's first. `None` if we do not know that.
    pub(crate) fn between(from: &Terms, to: &Terms) -> Option<Self> {
        let rate = route::rate_between(from, &to.codecs.first()?.kind);
        let (speaker, listener) = (Hearing::new(from, rate), Saying::new(to, rate)?);
        Some(Self { speaker, listener, next_at: None })
    }

    /// A packet of the speaker's came, in its codec of this place.
    pub(crate) fn handle_sound(&mut self, now: Moment, header: &Header, codec: u8, payload: &[u8]) {
        self.speaker.handle_sound(now, header, codec, payload);
        self.begin();
    }

    /// The speaker's silence sounds so.
    pub(crate) fn handle_noise(&mut self, now: Moment, header: &Header, payload: &[u8]) {
        self.speaker.handle_noise(now, header, payload);
        self.begin();
    }

    /// A packet came that is heard by other ways: it is not missing.
    pub(crate) fn handle_other(&mut self, now: Moment, header: &Header) {
        self.speaker.handle_other(now, header);
        self.begin();
    }

    fn begin(&mut self) {
        if self.next_at.is_none() {
            self.next_at = self.speaker.begins_at();
        }
    }

    /// Something else is heard instead: what was said until now is not heard later.
    pub(crate) fn interrupt(&mut self) {
        self.next_at = None;
        self.listener.pause();
        self.speaker.end();
    }

    /// Units of a millisecond, the listener's.
    pub(crate) fn listeners_clock(&self) -> u32 {
        self.listener.clock()
    }

    /// The listener reported which share of our packets is lost.
    pub(crate) fn handle_loss(&mut self, percent: u8) {
        self.listener.handle_loss(percent);
    }

    /// When the next packet is to be made.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.next_at
    }

    /// Makes the next packet, if it is time; `aloud` says whether it is to be sent, or gives way.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        aloud: Aloud,
        outgoing: &mut Outgoing,
        packet: &mut Packet<'_>,
    ) -> Said {
        let Some(at) = self.next_at.filter(|at| *at <= now) else { return Said::Nothing };
        let at = if now.since(at) > BEHIND { now } else { at };
        let (frame, samples) = (self.listener.frame(), self.listener.samples());
        if self.speaker.fill(now, samples) == Filled::Nothing {
            self.interrupt();
            return Said::Nothing;
        }
        self.next_at = Some(at + frame);
        outgoing.resume(at, self.listener.clock());
        let said = match aloud {
            Aloud::Yes => self.listener.say(self.speaker.samples(samples), outgoing, packet),
            Aloud::No => Said::Nothing,
        };
        self.speaker.pass(samples);
        outgoing.advance(frame);
        said
    }
}
