//! Opening what comes from a peer, and nothing that anybody else wrote.
//!
//! RFC 3711 §3.3 and §3.4. A packet shows 16 bits of its index. For a stream that is known the rest
//! follows (§3.3.1); of one that is not, several guesses are tried: its first packets may have been
//! lost, and after a restart of ours it may have turned often. A wrong guess costs a tag, and never
//! lets a wrong packet through.

use std::time::Duration;

use pbx::media::Key;
use pbx::moment::Moment;

use super::Refused;
use super::context::Context;
use super::head::{Head, reporter};
use super::transform::Place;
use super::window::Window;

/// How long packets on their way under a key that was replaced are still taken.
const FORMER_FOR: Duration = Duration::from_secs(2);
/// A stream that nobody has heard yet is searched for up to this turn (nine hours of sound) …
const TURNS: u32 = 24;
/// … for so many packets, as each costs as many tags: whoever has no key may fill our ports.
const SEARCHES: u8 = 100;
/// What is opened slowly is copied; a longer packet is refused meanwhile.
const LONGEST: usize = 2_048;

/// What was opened with one key, and for a while with the one before it.
pub(crate) struct Receiver {
    current: Context<Heard>,
    /// Boxed, as few keys ever have one.
    former: Option<Box<Former>>,
    searches: u8,
}

struct Former {
    context: Context<Heard>,
    until: Moment,
}

/// A stream that was opened.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    sound: Window,
    reports: Window,
}

impl Receiver {
    /// `None` if the key is not as long as its suite says.
    pub(crate) fn new(key: &Key) -> Option<Self> {
        Some(Self { current: Context::new(key)?, former: None, searches: SEARCHES })
    }

    /// The peer seals with another key from now on; with the same nothing begins anew, and one that
    /// comes back is known still.
    pub(crate) fn rekey(&mut self, now: Moment, key: &Key) -> Option<()> {
        if self.current.is_of(key) {
            return Some(());
        }
        let next = match self.former.take() {
            Some(former) if former.context.is_of(key) => former.context,
            Some(_) | None => Context::new(key)?,
        };
        let context = std::mem::replace(&mut self.current, next);
        self.former = Some(Box::new(Former { context, until: now + FORMER_FOR }));
        self.searches = SEARCHES;
        Some(())
    }

    /// Opens a sound packet; how long it is now. One that is refused may be destroyed.
    pub(crate) fn open_sound(&mut self, now: Moment, packet: &mut [u8]) -> Result<usize, Refused> {
        let head = Head::read(packet)?;
        self.forget_former(now);
        match (self.current.stream(head.ssrc), &self.former) {
            (Some(heard), None) => {
                let index = heard.sound.index_of(head.sequence, 0).ok_or(Refused::Replayed)?;
                self.current.open(head, index, packet)
            }
            (Some(_), Some(_)) | (None, _) => self.open_slowly(head, packet),
        }
    }

    /// With all guesses and keys there are; each needs the packet as it came.
    fn open_slowly(&mut self, head: Head, packet: &mut [u8]) -> Result<usize, Refused> {
        let mut copy = [0; LONGEST];
        let copy = copy.get_mut(..packet.len()).ok_or(Refused::Malformed)?;
        copy.copy_from_slice(packet);
        let mut verdict = Refused::Forged;
        for index in self.guesses(head).into_iter().flatten() {
            packet.copy_from_slice(copy);
            match self.current.open(head, index, packet) {
                Err(refused) => verdict = verdict.or(refused),
                opened => return opened,
            }
        }
        if let Some(Former { context, .. }) = self.former.as_deref_mut() {
            let known = context.stream(head.ssrc).map(|heard| heard.sound);
            let index = known.unwrap_or_default().index_of(head.sequence, 0);
            packet.copy_from_slice(copy);
            match index.map(|index| context.open(head, index, packet)) {
                Some(Err(refused)) => verdict = verdict.or(refused),
                Some(opened) => return opened,
                None => {}
            }
        }
        self.search(head, packet, copy).ok_or(verdict)
    }

    /// Under the key of now: what is known, else what the former key knew, else the first turns.
    fn guesses(&mut self, head: Head) -> [Option<u64>; 3] {
        if let Some(heard) = self.current.stream(head.ssrc) {
            return [heard.sound.index_of(head.sequence, 0), None, None];
        }
        let before = self.former.as_mut().and_then(|former| former.context.stream(head.ssrc));
        let before = before.and_then(|heard| heard.sound.index_of(head.sequence, 0));
        let first = Window::default();
        let [zero, one] = [0, 1].map(|turn| first.index_of(head.sequence, turn));
        [before.filter(|before| Some(*before) != zero && Some(*before) != one), zero, one]
    }

    /// A key that has opened nothing yet may be older than we are.
    fn search(&mut self, head: Head, packet: &mut [u8], copy: &[u8]) -> Option<usize> {
        if !self.current.streams().is_empty() {
            return None;
        }
        self.searches = self.searches.checked_sub(1)?;
        let turns = (2..TURNS).filter_map(|turn| Window::default().index_of(head.sequence, turn));
        for index in turns {
            packet.copy_from_slice(copy);
            if let Ok(len) = self.current.open(head, index, packet) {
                return Some(len);
            }
        }
        None
    }

    /// Opens a report; how long it is now. One that is refused may be destroyed.
    pub(crate) fn open_report(&mut self, now: Moment, report: &mut [u8]) -> Result<usize, Refused> {
        let ssrc = reporter(report)?;
        self.forget_former(now);
        let Some(Former { context, .. }) = self.former.as_deref_mut() else {
            return self.current.open_report(ssrc, report);
        };
        let mut copy = [0; LONGEST];
        let copy = copy.get_mut(..report.len()).ok_or(Refused::Malformed)?;
        copy.copy_from_slice(report);
        self.current.open_report(ssrc, report).or_else(|refused| {
            report.copy_from_slice(copy);
            context.open_report(ssrc, report).map_err(|other| refused.or(other))
        })
    }

    fn forget_former(&mut self, now: Moment) {
        self.former.take_if(|former| former.until <= now);
    }
}

impl Context<Heard> {
    /// The stream becomes known only by a packet whose tag is right.
    fn open(&mut self, head: Head, index: u64, packet: &mut [u8]) -> Result<usize, Refused> {
        let Head { ssrc, len, .. } = head;
        let known = self.stream(ssrc).map(|heard| heard.sound);
        if known.is_some_and(|window| !window.is_new(index)) {
            return Err(Refused::Replayed);
        }
        let opened = self.sound.open_sound(Place { ssrc, index }, len, packet)?;
        self.known(ssrc)?.sound.take(index);
        Ok(opened)
    }

    fn open_report(&mut self, ssrc: u32, report: &mut [u8]) -> Result<usize, Refused> {
        let index = self.reports.report_index(report)?;
        let known = self.stream(ssrc).map(|heard| heard.reports);
        if known.is_some_and(|window| !window.is_new(index)) {
            return Err(Refused::Replayed);
        }
        let opened = self.reports.open_report(ssrc, report)?;
        self.known(ssrc)?.reports.take(index);
        Ok(opened)
    }

    fn known(&mut self, ssrc: u32) -> Result<&mut Heard, Refused> {
        match self.stream(ssrc) {
            Some(_) => {}
            None => drop(self.add(ssrc, Heard::default())?),
        }
        self.stream(ssrc).ok_or(Refused::Exhausted)
    }
}

impl Refused {
    /// Of two reasons the one that says more: a tag that is right under one key or guess is the peer's.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Replayed, _) | (_, Self::Replayed) => Self::Replayed,
            (Self::Exhausted, _) | (_, Self::Exhausted) => Self::Exhausted,
            (Self::Malformed | Self::Forged, other) => other,
        }
    }
}
