//! All members of a conference, and its clock: every 20 ms all are heard, added, and told.
//!
//! Its work is done in pieces, so that packets of other calls have their turn between them, and its
//! packets leave one after the other, not all at once.

use std::time::Duration;

use pbx::media::{Cue, Event, Part, Side, Terms};
use pbx::moment::Moment;

use crate::rtp::Header;
use crate::session::Slot;
use crate::transcode::outgoing::Marker;

use super::cue::{Left, Playing, Sign};
use super::level::{Floor, Heard, Told};
use super::limit::Limiter;
use super::member::{Announced, CALM, Hears, Member};
use super::voice::{Shape, Voice};
use super::{FRAME, TICK};

/// Whoever is so far behind begins anew instead of catching up.
const BEHIND: Duration = Duration::from_millis(200);
/// So many members are told at once; the next ones so much later.
const AT_ONCE: usize = 8;
const APART: Duration = Duration::from_millis(1);

/// One conference.
#[derive(Debug)]
pub(crate) struct Room {
    /// By place.
    members: Vec<Option<Member>>,
    /// For those who hear the same.
    common: Vec<Common>,
    step: Step,
    /// How many ticks there were.
    ticks: u32,
    /// What all say.
    sum: Box<[i32; FRAME]>,
    /// The same as samples.
    mix: Box<[i16; FRAME]>,
    limiter: Limiter,
    /// Whether there is anything in it.
    stir: Stir,
    sign: Option<Playing>,
    next_sign: Option<Sign>,
    floor: Floor,
    speaker: Option<Event>,
}

/// What is packed once for many.
#[derive(Debug)]
struct Common {
    shape: Shape,
    voice: Voice,
    /// In which tick it was packed last.
    packed: Option<u32>,
}

/// Where the clock stands. A tick belongs to `at`, however late its work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nobody is there.
    Empty,
    Waiting {
        at: Moment,
    },
    /// The members before this place were heard.
    Hearing {
        at: Moment,
        place: usize,
    },
    /// The members before this place were told.
    Telling {
        at: Moment,
        place: usize,
    },
}

/// Whether anybody is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stir {
    Sound,
    Silence,
}

/// A packet for a member.
#[derive(Debug)]
pub(crate) struct Packed<'a> {
    pub(crate) slot: Slot,
    pub(crate) payload_type: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) marker: Marker,
    /// When its turn is: packets lie as far apart as their sound is long.
    pub(crate) at: Moment,
    /// Units of its timestamps in a millisecond.
    pub(crate) clock: u32,
    pub(crate) long: Duration,
}

impl Room {
    /// Nobody is there yet.
    pub(crate) fn new() -> Self {
        Self {
            members: Vec::new(),
            common: Vec::new(),
            step: Step::Empty,
            ticks: 0,
            sum: Box::new([0; FRAME]),
            mix: Box::new([0; FRAME]),
            limiter: Limiter::default(),
            stir: Stir::Silence,
            sign: None,
            next_sign: None,
            floor: Floor::default(),
            speaker: None,
        }
    }

    /// Whether nobody is there any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.iter().all(Option::is_none)
    }

    /// A side comes before the door. Returns its place.
    pub(crate) fn come(&mut self, now: Moment, side: Side, slot: Slot) -> usize {
        let member = Some(Member::new(side, slot));
        if self.step == Step::Empty {
            self.step = Step::Waiting { at: now + TICK };
        }
        match self.members.iter().position(Option::is_none) {
            Some(place) => {
                self.members[place] = member;
                place
            }
            None => {
                self.members.push(member);
                self.members.len() - 1
            }
        }
    }

    /// What was agreed on with a member.
    pub(crate) fn agree(&mut self, place: usize, terms: &Terms) {
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        member.agree(terms);
        if let Some(line) = &member.line
            && self.common.iter().all(|common| common.shape != line.shape)
            && let Some(voice) = Voice::new(&line.shape.kind)
        {
            self.forget_unused();
            let Some(Some(member)) = self.members.get(place) else { return };
            let Some(line) = &member.line else { return };
            self.common.push(Common { shape: line.shape.clone(), voice, packed: None });
        }
    }

    /// How a member takes part from now on.
    pub(crate) fn take_part(&mut self, place: usize, part: Part) {
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        if member.part == part {
            return;
        }
        member.take_part(part);
        if matches!(part, Part::Speaks | Part::Listens) && member.announced == Announced::No {
            member.announced = Announced::Yes;
            self.give(Sign::Entered);
        }
    }

    /// A member is to hear something.
    pub(crate) fn cue(&mut self, place: usize, cue: Cue) {
        if let Some(Some(member)) = self.members.get_mut(place) {
            member.playing = Some(Playing::begin(Sign::Told(cue)));
        }
    }

    /// A member is gone.
    pub(crate) fn leave(&mut self, place: usize) {
        let Some(left) = self.members.get_mut(place).and_then(Option::take) else { return };
        self.floor.handle_left(place);
        if self.is_empty() {
            self.step = Step::Empty;
        } else if left.announced == Announced::Yes {
            self.give(Sign::Left);
        }
    }

    /// Plays something to all; of what waits already, the newest is played.
    fn give(&mut self, sign: Sign) {
        match &self.sign {
            None => self.sign = Some(Playing::begin(sign)),
            Some(playing) if playing.sign == sign => {}
            Some(_) => self.next_sign = Some(sign),
        }
    }

    /// Encoders that nobody hears go.
    fn forget_unused(&mut self) {
        let members = &self.members;
        self.common.retain(|common| {
            let mut lines = members.iter().flatten().filter_map(|member| member.line.as_ref());
            lines.any(|line| line.shape == common.shape)
        });
    }

    /// Whether the others hear what a member says.
    pub(crate) fn may_speak(&self, place: usize) -> bool {
        let member = self.members.get(place).and_then(Option::as_ref);
        member.is_some_and(|member| member.part == Part::Speaks)
    }

    /// A packet of a member's came.
    pub(crate) fn handle_packet(
        &mut self,
        now: Moment,
        place: usize,
        header: &Header,
        payload: &[u8],
    ) {
        if let Some(Some(member)) = self.members.get_mut(place) {
            member.handle_packet(now, header, payload);
        }
    }

    /// Whose voice it is now, or whose it is no more, if that has changed since it was asked last.
    pub(crate) fn poll_speaker(&mut self) -> Option<Event> {
        self.speaker.take()
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.step {
            Step::Empty => None,
            Step::Waiting { at } | Step::Hearing { at, .. } => Some(at),
            Step::Telling { at, place } => Some(at + told_after(place)),
        }
    }

    /// Does what is due: for so many microseconds, more or less, and so many packets. Returns how
    /// many microseconds are left.
    pub(crate) fn handle_deadline(
        &mut self,
        now: Moment,
        mut left_us: u32,
        mut packets: usize,
        mut tell: impl FnMut(&Packed<'_>),
    ) -> u32 {
        while left_us > 0 && packets > 0 && self.deadline().is_some_and(|at| at <= now) {
            let spent_us = match self.step {
                Step::Empty => return left_us,
                Step::Waiting { at } => {
                    let at = if now.since(at) > BEHIND { now } else { at };
                    self.step = Step::Hearing { at, place: 0 };
                    0
                }
                Step::Hearing { at, place } => match self.members.get_mut(place) {
                    Some(member) => {
                        self.step = Step::Hearing { at, place: place + 1 };
                        member.as_mut().map_or(0, |member| member.speak(now))
                    }
                    None => {
                        self.step = Step::Telling { at, place: 0 };
                        self.add(at)
                    }
                },
                Step::Telling { at, place } if place >= self.members.len() => {
                    self.step = Step::Waiting { at: at + TICK };
                    self.ticks = self.ticks.wrapping_add(1);
                    0
                }
                Step::Telling { at, place } => {
                    self.step = Step::Telling { at, place: place + 1 };
                    packets -= 1;
                    self.tell(at, place, &mut tell)
                }
            };
            left_us = left_us.saturating_sub(spent_us);
        }
        left_us
    }

    /// All have been heard: adds what they say, and decides who hears which packets.
    fn add(&mut self, at: Moment) -> u32 {
        self.sum.fill(0);
        self.stir = Stir::Silence;
        let mut heard = 0;
        for member in self.members.iter().flatten().filter(|member| member.heard == Heard::Yes) {
            let pairs = self.sum.iter_mut().zip(&member.said[..]);
            pairs.for_each(|(sum, said)| *sum += i32::from(*said));
            (self.stir, heard) = (Stir::Sound, heard + 1);
        }
        if let Some(sign) = &mut self.sign {
            self.stir = Stir::Sound;
            if sign.add_to(&mut self.sum[..]) == Left::Nothing {
                self.sign = self.next_sign.take().map(Playing::begin);
            }
        }
        let limiter = self.limiter;
        self.limiter.run(&self.sum[..], &mut self.mix[..]);
        let members = self.members.iter().enumerate();
        let gates = members.filter_map(|(place, member)| Some((place, &member.as_ref()?.gate)));
        if let Some(told) = self.floor.handle_tick(at, gates) {
            let (Told::Speaks(place) | Told::Silent(place)) = told;
            let member = self.members.get(place).and_then(Option::as_ref);
            self.speaker = member.map(|Member { side, .. }| match told {
                Told::Speaks(_) => Event::Speaking { side: *side },
                Told::Silent(_) => Event::Silent { side: *side },
            });
        }
        for place in 0..self.members.len() {
            self.choose(place, limiter);
        }
        5 + heard / 4
    }

    /// Decides which packets a member hears.
    fn choose(&mut self, place: usize, limiter: Limiter) {
        let Some(Some(member)) = self.members.get_mut(place) else { return };
        let differs = member.differs();
        let Some(line) = &mut member.line else { return };
        let begins = self.ticks.is_multiple_of(line.shape.ticks);
        member.hears = match member.hears {
            _ if member.part == Part::Away => Hears::Nothing,
            Hears::Nothing if !begins => Hears::Nothing,
            Hears::Nothing if differs => {
                line.begin_own(None, Limiter::default());
                Hears::Own { calm: 0 }
            }
            Hears::Nothing => Hears::Common,
            Hears::Common if differs => {
                let mut common = self.common.iter();
                let before = common.find(|common| common.shape == line.shape);
                line.begin_own(before.map(|common| &common.voice), limiter);
                Hears::Own { calm: 0 }
            }
            Hears::Common => Hears::Common,
            Hears::Own { .. } if differs => Hears::Own { calm: 0 },
            // Another encoder goes on best where nothing is heard.
            Hears::Own { calm } if begins && (self.stir == Stir::Silence || calm >= CALM) => {
                Hears::Common
            }
            Hears::Own { calm } => Hears::Own { calm: calm + 1 },
        };
    }

    /// Packs a tick for one member, and tells it if the packet is full.
    fn tell(&mut self, at: Moment, place: usize, tell: &mut impl FnMut(&Packed<'_>)) -> u32 {
        let Self { members, common, ticks, sum, mix, .. } = self;
        let Some(Some(member)) = members.get_mut(place) else { return 0 };
        let Some(line) = &member.line else { return 0 };
        let tick = *ticks % line.shape.ticks;
        let mut spent_us = 2;
        let payload = match member.hears {
            Hears::Nothing => return 0,
            Hears::Own { .. } => {
                spent_us += line.shape.price_us();
                member.hear_own(sum, tick);
                let line = member.line.as_ref();
                line.and_then(|line| line.voice.as_ref()).map_or(&[][..], |voice| voice.payload())
            }
            Hears::Common => {
                let Some(common) = common.iter_mut().find(|common| common.shape == line.shape)
                else {
                    return 0;
                };
                if common.packed != Some(*ticks) {
                    spent_us += line.shape.price_us();
                    common.voice.take(&mix[..], tick, &line.shape);
                    common.packed = Some(*ticks);
                }
                common.voice.payload()
            }
        };
        let Some(line) = member.line.as_ref().filter(|_| !payload.is_empty()) else {
            return spent_us;
        };
        tell(&Packed {
            slot: member.slot,
            payload_type: line.payload_type,
            payload,
            marker: member.marker,
            at,
            clock: line.clock,
            long: line.shape.long(),
        });
        member.marker = Marker::Clear;
        spent_us
    }
}

/// How long after a tick a place is told.
fn told_after(place: usize) -> Duration {
    APART * u32::try_from(place / AT_ONCE).unwrap_or(0)
}
