//! Having picked up: say so again until the caller's ACK shows that it heard.
//!
//! RFC 3261 §13.3.1.4: a 2xx to an INVITE is repeated by who answers, not by the transaction, and
//! over every transport, because a hop behind the next one may lose it.

use std::time::Duration;

use bytes::Bytes;

use super::transaction::timers::{GIVE_UP_AFTER, T1, T2};
use crate::moment::Moment;

/// A 2xx on its way, until its ACK comes or 32 s are over. Drop it when the ACK has come.
#[derive(Debug, Clone)]
pub struct Unacknowledged2xx {
    response: Bytes,
    repeat_at: Moment,
    then_after: Duration,
    give_up_at: Moment,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Send it again.
    Repeat(Bytes),
    /// No ACK came: the dialog is established, the session is over (send a BYE).
    GiveUp,
}

impl Unacknowledged2xx {
    /// Starts when the 2xx was first sent.
    pub fn new(now: Moment, response: Bytes) -> Self {
        Self { response, repeat_at: now + T1, then_after: T1 * 2, give_up_at: now + GIVE_UP_AFTER }
    }

    /// The 2xx.
    pub fn response(&self) -> &Bytes {
        &self.response
    }

    /// When [`Self::handle_deadline`] is next due.
    pub fn deadline(&self) -> Moment {
        self.repeat_at.min(self.give_up_at)
    }

    /// A deadline has come.
    pub fn handle_deadline(&mut self, now: Moment) -> Option<Due> {
        if now >= self.give_up_at {
            return Some(Due::GiveUp);
        }
        if now < self.repeat_at {
            return None;
        }
        self.repeat_at = now + self.then_after;
        self.then_after = (self.then_after * 2).min(T2);
        Some(Due::Repeat(self.response.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_ever_slower_and_gives_up_after_32_s() {
        let start = Moment::from_secs(100);
        let mut answer = Unacknowledged2xx::new(start, Bytes::from_static(b"200"));
        let mut sent_at = vec![];
        let gave_up_at = loop {
            let now = answer.deadline();
            match answer.handle_deadline(now) {
                Some(Due::Repeat(_)) => sent_at.push((now - start).as_millis()),
                Some(Due::GiveUp) => break (now - start).as_millis(),
                None => panic!("woken for nothing"),
            }
        };
        assert_eq!(
            sent_at,
            [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
        assert_eq!(gave_up_at, 32_000);
    }

    #[test]
    fn says_nothing_before_its_time() {
        let start = Moment::from_secs(100);
        let mut answer = Unacknowledged2xx::new(start, Bytes::from_static(b"200"));
        assert_eq!(answer.handle_deadline(start + Duration::from_millis(499)), None);
    }
}
