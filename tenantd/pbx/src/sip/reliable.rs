//! "It rings" that must arrive: said again until the caller confirms it, and confirmed in order.
//!
//! RFC 3262. [`Announcements`] is the answering side: one provisional response at a time is under
//! way, the next one waits for its PRACK (§3). [`Sequence`] is the asking side: which of a phone's
//! provisional responses is new and which was heard already (§4).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::cseq::{CSeq, whole};
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::transaction::timers::{GIVE_UP_AFTER, T1};
use crate::moment::Moment;

/// Provisional responses that wait for the one before them; what is more is left out.
const MOST_LATER: usize = 4;
/// Phones that answer one INVITE of ours, behind a proxy that forked it.
const MOST_FORKS: usize = 8;

/// What a provisional response brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brings {
    /// Only the news.
    News,
    /// A session description as well: the 2xx waits until it has arrived (§3).
    Description,
}

/// A provisional response that is not written yet: its RSeq is known when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Its status.
    pub status: u16,
    /// Its description.
    pub body: Option<String>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Send it again.
    Repeat(Bytes),
    /// No PRACK came for 64·T1: refuse the INVITE with a 5xx (§3).
    GiveUp,
}

/// A PRACK that confirms nothing of ours: 481.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmatched;

/// Our provisional responses to one INVITE.
#[derive(Debug, Default)]
pub struct Announcements {
    last: u32,
    open: Option<Announced>,
    later: VecDeque<Later>,
}

#[derive(Debug)]
struct Announced {
    cseq: u32,
    brings: Brings,
    response: Bytes,
    repeat_at: Moment,
    then_after: Duration,
    give_up_at: Moment,
}

impl Announcements {
    /// Whether the next one can be sent, or must wait for a PRACK.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a 2xx must still wait (§3).
    pub fn holds_answer(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.brings == Brings::Description)
    }

    /// Whether a description was sent, or waits for its turn.
    pub fn brings_description(&self) -> bool {
        self.holds_answer() || self.later.iter().any(|later| later.body.is_some())
    }

    /// The RSeq of the next one. The first of all is `first`, which is to be random (§3).
    pub fn number(&mut self, first: u32) -> u32 {
        self.last = match self.last {
            0 => first.clamp(1, u32::MAX >> 1),
            last => last.saturating_add(1),
        };
        self.last
    }

    /// One was sent, numbered with [`Self::number`], in answer to the INVITE with this CSeq.
    pub fn sent(&mut self, now: Moment, cseq: u32, brings: Brings, response: Bytes) {
        self.open = Some(Announced {
            cseq,
            brings,
            response,
            repeat_at: now + T1,
            then_after: T1 * 2,
            give_up_at: now + GIVE_UP_AFTER,
        });
    }

    /// One waits for its turn.
    pub fn keep(&mut self, later: Later) {
        if self.later.len() < MOST_LATER {
            self.later.push_back(later);
        }
    }

    /// A PRACK came: what it confirms (§3).
    pub fn confirm(&mut self, prack: &Message) -> Result<Brings, Unmatched> {
        let rack = RAck::of(prack).ok_or(Unmatched)?;
        let own = |open: &mut Announced| rack.rseq == self.last && rack.cseq == open.cseq;
        self.open.take_if(own).map(|open| open.brings).ok_or(Unmatched)
    }

    /// The next one that waits, once nothing is under way.
    pub fn next_one(&mut self) -> Option<Later> {
        if self.is_open() {
            return None;
        }
        self.later.pop_front()
    }

    /// The INVITE has its final response: nothing is said again.
    pub fn stop(&mut self) {
        self.open = None;
        self.later.clear();
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Option<Moment> {
        self.open.as_ref().map(|open| open.repeat_at.min(open.give_up_at))
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) -> Option<Due> {
        let open = self.open.as_mut()?;
        if open.give_up_at <= now {
            self.stop();
            return Some(Due::GiveUp);
        }
        if now < open.repeat_at {
            return None;
        }
        open.repeat_at = now + open.then_after;
        open.then_after *= 2;
        Some(Due::Repeat(open.response.clone()))
    }
}

/// The RAck header field of a PRACK (§7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RAck {
    rseq: u32,
    cseq: u32,
}

impl RAck {
    fn of(prack: &Message) -> Option<Self> {
        let (rseq, rest) = prack.first(Name::RAck)?.trim().split_once([' ', '\t'])?;
        let cseq = CSeq::parse(rest).ok().filter(|cseq| cseq.method == Method::Invite)?;
        Some(Self { rseq: u32::try_from(whole(rseq)?).ok()?, cseq: cseq.number })
    }
}

/// Which provisional responses a phone, or those behind it, have sent so far.
#[derive(Debug, Default)]
pub struct Sequence {
    by_tag: Vec<(String, u32)>,
}

impl Sequence {
    /// The RSeq of a response that must be confirmed now; `None` if it need not be, was heard
    /// before, or one before it is missing (§4).
    pub fn take(&mut self, response: &Message) -> Option<u32> {
        let rseq = rseq_of(response)?;
        let tag = response.to().ok()?.tag()?.to_owned();
        let forks = self.by_tag.len();
        match self.by_tag.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, last)) if last.checked_add(1) == Some(rseq) => *last = rseq,
            Some(_) => return None,
            None if forks < MOST_FORKS => self.by_tag.push((tag, rseq)),
            None => return None,
        }
        Some(rseq)
    }
}

/// The number of a provisional response that wants a PRACK.
pub fn rseq_of(response: &Message) -> Option<u32> {
    let wants = response.values(Name::Require).any(|tag| tag.eq_ignore_ascii_case("100rel"));
    let provisional = response.status().is_some_and(|status| (101..200).contains(&status));
    let number = whole(response.first(Name::RSeq)?.trim())?;
    u32::try_from(number).ok().filter(|number| wants && provisional && *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_secs(100);

    fn message(start: &str, tag: &str, headers: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:101@a.test>;tag=1\r\n\
             To: <sip:102@a.test>;tag={tag}\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n{headers}\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn prack(rack: &str) -> Message {
        message("PRACK sip:x SIP/2.0", "2", &format!("RAck: {rack}"))
    }

    fn ringing(tag: &str, rseq: &str) -> Message {
        message("SIP/2.0 180 Ringing", tag, &format!("Require: 100rel\r\nRSeq: {rseq}"))
    }

    fn sent(first: u32, brings: Brings) -> Announcements {
        let mut announcements = Announcements::default();
        assert_eq!(announcements.number(first), first);
        announcements.sent(START, 7, brings, Bytes::from_static(b"180"));
        announcements
    }

    #[test]
    fn is_said_again_ever_slower_until_it_is_confirmed() {
        let mut announcements = sent(5, Brings::News);
        let mut at = vec![];
        while let Some(now) = announcements.deadline() {
            match announcements.handle_deadline(now) {
                Some(Due::Repeat(_)) => at.push((now - START).as_millis()),
                Some(Due::GiveUp) => at.push((now - START).as_millis() + 1),
                None => panic!("woken for nothing"),
            }
        }
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 32_001]);
        let mut announcements = sent(5, Brings::News);
        assert_eq!(announcements.confirm(&prack("5 7 INVITE")), Ok(Brings::News));
        assert_eq!(announcements.deadline(), None);
    }

    #[test]
    fn only_the_very_one_is_confirmed_and_once() {
        let mut announcements = sent(5, Brings::Description);
        for rack in ["4 7 INVITE", "5 8 INVITE", "5 7 UPDATE", "x", "5", "4294967296 7 INVITE"] {
            assert_eq!(announcements.confirm(&prack(rack)), Err(Unmatched), "{rack}");
        }
        assert!(announcements.holds_answer());
        assert_eq!(announcements.confirm(&prack("5\t7   INVITE")), Ok(Brings::Description));
        assert_eq!(announcements.confirm(&prack("5 7 INVITE")), Err(Unmatched));
        assert!(!announcements.holds_answer());
    }

    #[test]
    fn the_next_one_waits_and_is_numbered_one_higher() {
        let mut announcements = sent(5, Brings::News);
        for status in 180..190 {
            announcements.keep(Later { status, body: None });
        }
        assert_eq!(announcements.next_one(), None);
        announcements.confirm(&prack("5 7 INVITE")).unwrap();
        assert_eq!(announcements.next_one().map(|later| later.status), Some(180));
        assert_eq!(announcements.number(99), 6);
        announcements.stop();
        assert_eq!(announcements.next_one(), None);
    }

    #[test]
    fn hears_each_response_once_and_in_order() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(&ringing("a", "9")), Some(9));
        assert_eq!(sequence.take(&ringing("a", "9")), None);
        assert_eq!(sequence.take(&ringing("a", "11")), None, "10 is missing");
        assert_eq!(sequence.take(&ringing("b", "3")), Some(3), "another phone");
        assert_eq!(sequence.take(&ringing("a", "10")), Some(10));
        for number in 0..20 {
            sequence.take(&ringing(&format!("t{number}"), "1"));
        }
        assert_eq!(sequence.by_tag.len(), MOST_FORKS);
    }

    #[test]
    fn what_does_not_ask_for_it_is_not_confirmed() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.take(&ringing("a", "0")), None);
        assert_eq!(sequence.take(&message("SIP/2.0 180 Ringing", "a", "RSeq: 1")), None);
        let answer = message("SIP/2.0 200 OK", "a", "Require: 100rel\r\nRSeq: 1");
        assert_eq!(sequence.take(&answer), None);
    }
}
