//! What one phone is played: where it is in which clip, and when the next packet leaves.
//!
//! Two clips at most: what is played once goes before, what is played for ever goes on behind it.
//! Packets leave on a grid that all listeners share, so that a thread wakes up for many at once, and
//! not for all.

use std::time::Duration;

use pbx::media::{Clip, Often, PlayEnd, PlayId};
use pbx::moment::Moment;

use crate::packet::{Fit, Packet};
use crate::play::booth::{self, Booth, Opened, ReelId};
use crate::play::reel::Target;
use crate::transcode::key::Passed;
use crate::transcode::outgoing::{HEAD, Marker, Outgoing};
use crate::transcode::saying::Said;

/// Packets leave at moments that are so far apart.
const GRID_US: u64 = 2_500;
/// Those who begin at the same time begin at so many moments.
const SHARES: u64 = 8;
/// How often it is looked whether a sound has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A sound that has not come for so long is missing.
const WAIT_FOR: Duration = Duration::from_secs(2);
/// Whoever is so far behind begins anew instead of catching up.
const BEHIND: Duration = Duration::from_millis(200);

/// One phone's.
#[derive(Debug, Default)]
pub(crate) struct Playback {
    front: Option<Playing>,
    back: Option<Playing>,
    target: Option<Target>,
    /// Whether the next packet is the first after something else.
    begins: Begins,
    /// Its own share of the grid: those who begin together do not send together.
    spread: Duration,
    ended: Vec<(PlayId, PlayEnd)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Begins {
    #[default]
    Anew,
    No,
}

/// One clip.
#[derive(Debug)]
struct Playing {
    play: PlayId,
    clip: Clip,
    often: Often,
    stage: Stage,
    next_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// For its sound; it is to go on after so long.
    Waits { since: Moment, changes: u64, played: Duration },
    /// The packet that is next, and how many there are.
    Plays { reel: ReelId, place: u32, length: u32 },
}

/// Whose numbers the packets have.
pub(crate) enum Line<'a> {
    /// Our stream's.
    Own(&'a mut Outgoing),
    /// Those of the stream that is passed on, and gives way.
    Passed(&'a mut Passed),
}

/// Whether something else has the line just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Free,
    Taken,
}

impl Playback {
    /// Of the phone with this number among those of its thread.
    pub(crate) fn new(number: usize) -> Self {
        let spread = Duration::from_micros((number as u64 % SHARES) * GRID_US);
        Self { spread, ..Self::default() }
    }

    /// A clip is to be played, in packets like these.
    pub(crate) fn play(
        &mut self,
        now: Moment,
        booth: &mut Booth,
        (play, clip, often): (PlayId, Clip, Often),
        target: Option<Target>,
    ) {
        self.retarget(now, booth, target);
        let stage = Stage::Waits { since: now, changes: booth.changes(), played: Duration::ZERO };
        let mut playing = Playing { play, clip, often, stage, next_at: on_grid(now) };
        match self.target {
            Some(target) => playing.open(now + self.spread, booth, &target),
            None => return self.ended.push((play, PlayEnd::Missing)),
        }
        let before = match often {
            Often::Once => self.front.replace(playing),
            Often::Forever => self.back.replace(playing),
        };
        if let Some(before) = before {
            self.end(now, booth, before, PlayEnd::Stopped);
        }
    }

    /// A clip is not to be played any more.
    pub(crate) fn hush(&mut self, now: Moment, booth: &mut Booth, play: PlayId) {
        for place in [&mut self.front, &mut self.back] {
            if let Some(playing) = place.take_if(|playing| playing.play == play) {
                playing.close(now, booth);
                self.ended.push((play, PlayEnd::Stopped));
            }
        }
    }

    /// Nothing is played any more.
    pub(crate) fn stop(&mut self, now: Moment, booth: &mut Booth) {
        for playing in [self.front.take(), self.back.take()].into_iter().flatten() {
            self.end(now, booth, playing, PlayEnd::Stopped);
        }
    }

    /// The phone wants other packets from now on: what is played goes on in those.
    pub(crate) fn retarget(&mut self, now: Moment, booth: &mut Booth, target: Option<Target>) {
        if self.target == target {
            return;
        }
        let frame = self.target.map_or(Duration::ZERO, |target| target.frame);
        self.target = target;
        for playing in [&mut self.front, &mut self.back].into_iter().flatten() {
            if let Stage::Plays { place, .. } = playing.stage {
                playing.close(now, booth);
                let changes = booth.changes().wrapping_sub(1);
                playing.stage = Stage::Waits { since: now, changes, played: frame * place };
                playing.next_at = on_grid(now.max(playing.next_at));
            }
        }
    }

    /// Whether anything is played, or about to be.
    pub(crate) fn is_busy(&self) -> bool {
        self.front.is_some() || self.back.is_some()
    }

    /// Whether packets of it leave: until a sound has come, what is passed on is heard.
    pub(crate) fn is_heard(&self) -> bool {
        let plays = |playing: &Playing| matches!(playing.stage, Stage::Plays { .. });
        self.front.iter().chain(&self.back).any(plays)
    }

    /// What is over since this was asked last.
    pub(crate) fn poll_ended(&mut self) -> Option<(PlayId, PlayEnd)> {
        self.ended.pop()
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let waits = |playing: &&Playing| matches!(playing.stage, Stage::Waits { .. });
        let front = self.front.as_ref().map(|playing| playing.next_at);
        let back = self.back.as_ref();
        // What is behind rests, unless it must still see whether its sound has come.
        let rests = self.front.as_ref().is_some_and(|front| !waits(&front));
        let back = back.filter(|back| !rests || waits(back)).map(|playing| playing.next_at);
        front.into_iter().chain(back).min()
    }

    /// Does what is due, and writes the next packet, if it is time.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        booth: &mut Booth,
        (line, turn): (Line<'_>, Turn),
        packet: &mut Packet<'_>,
    ) -> Said {
        let Some(target) = self.target else {
            self.give_up(now, booth);
            return Said::Nothing;
        };
        self.look(now, booth, &target);
        let playing = match (&mut self.front, &mut self.back) {
            (Some(front), _) if front.plays() => front,
            (_, Some(back)) if back.plays() => back,
            _ => return Said::Nothing,
        };
        let Stage::Plays { reel, place, length } = playing.stage else { return Said::Nothing };
        if playing.next_at > now {
            return Said::Nothing;
        }
        if place >= length && playing.often == Often::Once {
            self.finish(now, booth);
            // What lies behind it goes on without a gap.
            return match self.back.as_ref().is_some_and(Playing::plays) {
                true => self.handle_deadline(now, booth, (line, turn), packet),
                false => Said::Nothing,
            };
        }
        let at = playing.next_at;
        let place = place % length.max(1);
        playing.stage = Stage::Plays { reel, place: place + 1, length };
        let at = if now.since(at) > BEHIND { on_grid(now) } else { at };
        playing.next_at = at + target.frame;
        let said = match turn {
            Turn::Free => {
                let payload = booth.packet(reel, place);
                match write(payload, (at, &target, self.begins), line, packet) {
                    Fit::Fits => Said::Something,
                    Fit::TooLong => Said::Nothing,
                }
            }
            Turn::Taken => Said::Nothing,
        };
        if said == Said::Something {
            self.begins = Begins::No;
        }
        said
    }

    /// Sees whether sounds have come that are waited for.
    fn look(&mut self, now: Moment, booth: &mut Booth, target: &Target) {
        for place in [&mut self.front, &mut self.back] {
            let Some(playing) = place else { continue };
            let Stage::Waits { since, changes, .. } = playing.stage else { continue };
            if playing.next_at > now {
                continue;
            }
            if changes != booth.changes() {
                playing.open(now, booth, target);
            }
            if matches!(playing.stage, Stage::Waits { .. }) {
                playing.next_at = now + LOOK_EVERY;
                if now.since(since) >= WAIT_FOR || playing.is_absent() {
                    self.ended.push((playing.play, PlayEnd::Missing));
                    *place = None;
                }
            }
        }
    }

    /// What was played once is over.
    fn finish(&mut self, now: Moment, booth: &mut Booth) {
        let Some(front) = self.front.take() else { return };
        let (next_at, target) = (front.next_at, self.target);
        self.end(now, booth, front, PlayEnd::Ended);
        if let (Some(back), Some(target)) = (&mut self.back, target) {
            back.go_on(now, booth, &target, next_at);
        }
    }

    fn give_up(&mut self, now: Moment, booth: &mut Booth) {
        for playing in [self.front.take(), self.back.take()].into_iter().flatten() {
            self.end(now, booth, playing, PlayEnd::Missing);
        }
    }

    fn end(&mut self, now: Moment, booth: &mut Booth, playing: Playing, end: PlayEnd) {
        playing.close(now, booth);
        self.ended.push((playing.play, end));
    }
}

impl Playing {
    fn plays(&self) -> bool {
        matches!(self.stage, Stage::Plays { .. })
    }

    fn is_absent(&self) -> bool {
        matches!(self.stage, Stage::Waits { changes: u64::MAX, .. })
    }

    /// Begins, if its sound is there.
    fn open(&mut self, now: Moment, booth: &mut Booth, target: &Target) {
        let Stage::Waits { since, played, .. } = self.stage else { return };
        self.stage = match booth.open(now, (&self.clip, played), target) {
            Opened::At(reel, place) => {
                let (whole, round) = booth.lengths(reel);
                let length = match self.often {
                    Often::Once => whole,
                    Often::Forever => round,
                };
                self.next_at = on_grid(now);
                Stage::Plays { reel, place, length }
            }
            Opened::Later => Stage::Waits { since, changes: booth.changes(), played },
            Opened::Never => Stage::Waits { since, changes: u64::MAX, played },
        };
    }

    /// What was played before it is over: music is further on than it was.
    fn go_on(&mut self, now: Moment, booth: &mut Booth, target: &Target, next_at: Moment) {
        if let Stage::Plays { .. } = self.stage {
            self.close(now, booth);
            let changes = booth.changes();
            self.stage = Stage::Waits { since: now, changes, played: Duration::ZERO };
            self.open(now, booth, target);
            self.next_at = next_at;
        }
    }

    fn close(&self, now: Moment, booth: &mut Booth) {
        if let Stage::Plays { reel, .. } = self.stage {
            booth.close(now, reel, booth::heard(&self.clip));
        }
    }
}

/// Writes a packet with these contents, which belongs to this moment.
fn write(
    payload: &[u8],
    (at, target, begins): (Moment, &Target, Begins),
    line: Line<'_>,
    packet: &mut Packet<'_>,
) -> Fit {
    if payload.is_empty() || packet.set_len(HEAD + payload.len()) == Fit::TooLong {
        return Fit::TooLong;
    }
    if let Some(room) = packet.bytes_mut().get_mut(HEAD..) {
        room.copy_from_slice(payload);
    }
    let marker = match begins {
        Begins::Anew => Marker::Set,
        Begins::No => Marker::Clear,
    };
    let kind = (target.payload_type, marker);
    match line {
        Line::Own(outgoing) => {
            outgoing.resume(at, target.clock);
            let fit = outgoing.write(packet, kind, None, payload.len());
            outgoing.advance(target.frame);
            fit
        }
        Line::Passed(passed) => passed.play(at, kind, (target.clock, target.units()), packet),
    }
}

/// The next moment of the grid.
fn on_grid(now: Moment) -> Moment {
    let us = now.as_micros();
    now + Duration::from_micros(us.next_multiple_of(GRID_US) - us)
}
