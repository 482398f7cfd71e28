//! All that is said to one phone: what is passed on to it, and what we make ourselves.

use std::time::Duration;

use pbx::media::{Clip, Digit, Often, PlayEnd, PlayId, Reception, Terms};
use pbx::moment::Moment;

use crate::digits::event::{PAYLOAD, Phase, Said as Spelled};
use crate::packet::{Fit, Packet};
use crate::play::booth::Booth;
use crate::play::playback::{Line, Playback, Turn};
use crate::play::reel::Target;
use crate::rtp::Header;
use crate::transcode::conversion::{Aloud, Conversion};
use crate::transcode::key::{Keys, Passed};
use crate::transcode::outgoing::{HEAD, Marker, Outgoing};
use crate::transcode::route::{Fate, Route};
use crate::transcode::saying::Said;

/// Sound gives way to an event that has not ended, for so long after its last packet.
const EVENT_HOLDS: Duration = Duration::from_millis(100);

/// One side's.
#[derive(Debug)]
pub(crate) struct Mouth {
    pub(crate) outgoing: Outgoing,
    /// What our reports call us (RFC 7022 §4.2: another for each call).
    name: String,
    conversion: Option<Box<Conversion>>,
    events: Option<u8>,
    /// What lengths of events count in, a second: the speaker's, and the listener's.
    events_clocks: (u32, u32),
    event: Option<Event>,
    /// What is passed on to it.
    passed: Option<Passed>,
    keys: Option<Box<Keys>>,
    playback: Option<Box<Playback>>,
}

/// A digit that passes through.
#[derive(Debug, Clone, Copy)]
struct Event {
    /// The speaker's timestamp, which is the digit's name.
    theirs: u32,
    /// Ours.
    ours: u32,
    holds_until: Moment,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// It goes, as it is now.
    Now,
    /// What is made of it goes later, or never.
    Later,
    /// Nobody could make anything of it.
    Never,
}

impl Mouth {
    /// With a stream and a name of these random numbers.
    pub(crate) fn new(random: [u64; 3]) -> Self {
        let [stream, one, other] = random;
        Self {
            outgoing: Outgoing::new(stream),
            name: format!("{one:016x}{:08x}", other >> 32),
            conversion: None,
            events: None,
            events_clocks: (8_000, 8_000),
            event: None,
            passed: None,
            keys: None,
            playback: None,
        }
    }

    /// What our reports call us.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The peer reported which share of our packets is lost.
    pub(crate) fn handle_loss(&mut self, percent: u8) {
        if let Some(conversion) = &mut self.conversion {
            conversion.handle_loss(percent);
        }
    }

    /// What both sides agreed on is known, or has changed. A conversion that is still right goes on.
    pub(crate) fn agree(
        &mut self,
        change: Change,
        route: Option<&Route>,
        from: &Terms,
        to: &Terms,
    ) {
        self.events = to.events;
        self.events_clocks = (from.events_clock.max(1), to.events_clock);
        if change == Change::Terms {
            self.keys = None;
        }
        let needed = to.reception == Reception::Wanted && route.is_some_and(Route::converts);
        if !needed {
            self.conversion = None;
        } else if change == Change::Terms || self.conversion.is_none() {
            self.conversion = Conversion::between(from, to).map(Box::new);
        }
    }

    /// Nobody speaks to this phone any more.
    pub(crate) fn fall_silent(&mut self) {
        (self.conversion, self.event, self.passed) = (None, None, None);
    }

    /// Whether sound is made here.
    pub(crate) fn converts(&self) -> bool {
        self.conversion.is_some()
    }

    /// A packet of the speaker's, with what its route says of it.
    pub(crate) fn speak(
        &mut self,
        now: Moment,
        fate: Fate,
        header: &Header,
        packet: &mut Packet<'_>,
    ) -> Spoken {
        if self.plays() {
            return self.give_way(header);
        }
        if let Fate::Pass(number) | Fate::PassEvent(number) = fate {
            if let Some(second) = packet.bytes_mut().get_mut(1) {
                *second = (*second & 0x80) | number;
            }
            if let Fate::PassEvent(_) = fate {
                self.count_anew(header, packet);
            }
            return self.pass(now, header, packet);
        }
        let Some(conversion) = &mut self.conversion else { return Spoken::Never };
        let payload = header.payload(packet.bytes());
        match fate {
            Fate::Convert(codec) => conversion.handle_sound(now, header, codec, payload),
            Fate::Noise => conversion.handle_noise(now, header, payload),
            Fate::Event => {
                conversion.handle_other(now, header);
                return self.pass_event(now, header, packet);
            }
            Fate::Tone => conversion.handle_other(now, header),
            Fate::Pass(_) | Fate::PassEvent(_) | Fate::Drop => return Spoken::Never,
        }
        Spoken::Later
    }

    /// The events of a packet that is passed on get lengths in the listener's clock. The packet's
    /// timestamp is the stream's, which both phones count alike.
    fn count_anew(&self, header: &Header, packet: &mut Packet<'_>) {
        let payload = header.payload_range(packet.bytes());
        let events = packet.bytes_mut().get_mut(payload).unwrap_or_default();
        for event in events.chunks_exact_mut(PAYLOAD) {
            if let Some(said) = Spelled::read(event) {
                event.copy_from_slice(&Spelled { long: self.long(said), ..said }.bytes());
            }
        }
    }

    /// How long an event is in the listener's clock; one that is too long for that (§2.5.1.3) stops
    /// growing.
    fn long(&self, said: Spelled) -> u16 {
        let (spoken, heard) = self.events_clocks;
        let long = u64::from(said.long) * u64::from(heard) / u64::from(spoken);
        u16::try_from(long).unwrap_or(u16::MAX)
    }

    /// A packet is passed on, unless a key is down.
    fn pass(&mut self, now: Moment, header: &Header, packet: &mut Packet<'_>) -> Spoken {
        let passed = match &mut self.passed {
            Some(passed) if passed.is(header) => passed,
            other => other.insert(Passed::begin(now, header)),
        };
        if self.keys.as_ref().is_some_and(|keys| keys.holds()) {
            passed.hold(now, header);
            return Spoken::Later;
        }
        passed.pass(now, header, packet);
        Spoken::Now
    }

    /// What we play is heard instead of a packet.
    fn give_way(&mut self, header: &Header) -> Spoken {
        let passed = self.passed.as_mut().filter(|passed| passed.is(header));
        if let (Some(passed), None) = (passed, &self.conversion) {
            passed.skip();
        }
        Spoken::Later
    }

    /// Whether what we play is heard, and nothing that is passed on.
    pub(crate) fn plays(&self) -> bool {
        self.playback.as_ref().is_some_and(|playback| playback.is_heard())
    }

    /// Whether its sound is a stream of our own just now.
    pub(crate) fn makes_sound(&self) -> bool {
        self.converts() || (self.plays() && self.passed.is_none())
    }

    /// The phone is to hear a clip.
    pub(crate) fn play(
        &mut self,
        now: Moment,
        booth: &mut Booth,
        (number, terms): (usize, &Terms),
        wished: (PlayId, Clip, Often),
    ) {
        let playback = self.playback.get_or_insert_with(|| Box::new(Playback::new(number)));
        playback.play(now, booth, wished, Target::of(terms));
    }

    /// It is not to hear it any more.
    pub(crate) fn hush(&mut self, now: Moment, booth: &mut Booth, play: PlayId) {
        if let Some(playback) = &mut self.playback {
            playback.hush(now, booth, play);
        }
    }

    /// It hears nothing of ours any more.
    pub(crate) fn stop(&mut self, now: Moment, booth: &mut Booth) {
        if let Some(playback) = &mut self.playback {
            playback.stop(now, booth);
        }
    }

    /// It wants other packets from now on.
    pub(crate) fn retarget(&mut self, now: Moment, booth: &mut Booth, terms: &Terms) {
        if let Some(playback) = &mut self.playback {
            playback.retarget(now, booth, Target::of(terms));
        }
    }

    /// What is played no more.
    pub(crate) fn poll_ended(&mut self) -> Option<(PlayId, PlayEnd)> {
        let playback = self.playback.as_mut()?;
        let ended = playback.poll_ended();
        if ended.is_none() && !playback.is_busy() {
            self.playback = None;
        }
        ended
    }

    /// The phone is to hear a key.
    pub(crate) fn press(&mut self, now: Moment, terms: &Terms, digit: Digit, long: Duration) {
        if self.keys.is_none() {
            self.keys = Keys::new(terms).map(Box::new);
        }
        if let Some(keys) = &mut self.keys {
            keys.press(now, digit, long);
        }
    }

    /// RFC 4733 §2.5: the packets of an event share a timestamp, and its length grows.
    fn pass_event(&mut self, now: Moment, header: &Header, packet: &mut Packet<'_>) -> Spoken {
        let (Some(number), Some(conversion)) = (self.events, &self.conversion) else {
            return Spoken::Never;
        };
        let Some(said) = Spelled::read(header.payload(packet.bytes())) else {
            return Spoken::Never;
        };
        let ours = conversion.listeners_clock();
        let long = self.long(said);
        let known = self.event.filter(|event| event.theirs == header.timestamp);
        let (marker, timestamp) = match known {
            Some(event) => (Marker::Clear, event.ours),
            None => {
                self.outgoing.resume(now, ours);
                (Marker::Set, self.outgoing.timestamp())
            }
        };
        let holds_until = match said.phase {
            Phase::Ended => now,
            Phase::Down => now + EVENT_HOLDS,
        };
        self.event = Some(Event { theirs: header.timestamp, ours: timestamp, holds_until });
        if packet.set_len(HEAD + PAYLOAD) == Fit::TooLong {
            return Spoken::Never;
        }
        if let Some(room) = packet.bytes_mut().get_mut(HEAD..) {
            room.copy_from_slice(&Spelled { long, ..said }.bytes());
        }
        match self.outgoing.write(packet, (number, marker), Some(timestamp), PAYLOAD) {
            Fit::Fits => Spoken::Now,
            Fit::TooLong => Spoken::Never,
        }
    }

    /// When the next packet is to be made.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let sounds_at = self.conversion.as_ref().and_then(|conversion| conversion.deadline());
        let keys_at = self.keys.as_ref().and_then(|keys| keys.deadline());
        let plays_at = self.playback.as_ref().and_then(|playback| playback.deadline());
        sounds_at.into_iter().chain(keys_at).chain(plays_at).min()
    }

    /// Makes the next packet, if it is time.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        booth: &mut Booth,
        packet: &mut Packet<'_>,
    ) -> Said {
        let mut is_down = false;
        if let Some(keys) = &mut self.keys {
            let passed = self.passed.as_mut().filter(|_| self.conversion.is_none());
            if keys.handle_deadline(now, &mut self.outgoing, passed, packet).is_some() {
                return Said::Something;
            }
            is_down = keys.is_down();
        }
        if let Some(playback) = &mut self.playback {
            let turn = if is_down { Turn::Taken } else { Turn::Free };
            let line = match (&self.conversion, &mut self.passed) {
                (None, Some(passed)) => Line::Passed(passed),
                (Some(_), _) | (None, None) => Line::Own(&mut self.outgoing),
            };
            if playback.handle_deadline(now, booth, (line, turn), packet) == Said::Something {
                return Said::Something;
            }
        }
        if self.plays() {
            if let Some(conversion) = &mut self.conversion {
                conversion.interrupt();
            }
            return Said::Nothing;
        }
        let Some(conversion) = &mut self.conversion else { return Said::Nothing };
        let aloud = match self.event {
            Some(event) if now < event.holds_until => Aloud::No,
            Some(_) | None if is_down => Aloud::No,
            Some(_) | None => Aloud::Yes,
        };
        conversion.handle_deadline(now, aloud, &mut self.outgoing, packet)
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// What a side agreed on.
    Terms,
    /// Nothing of that: the sides were joined again.
    Join,
}
