//! Asking anything but an INVITE: repeat the request until somebody answers, then give up.
//!
//! RFC 3261 §17.1.2.

use bytes::Bytes;

use super::timers::{GIVE_UP_AFTER, Repeat, T4, earlier};
use crate::flow::Delivery;
use crate::moment::Moment;

/// The asking side of one request.
#[derive(Debug)]
pub(super) struct Client {
    delivery: Delivery,
    state: State,
}

/// What the owner of the machine must now do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put the request on the wire again.
    Send(Bytes),
    /// Nobody answered.
    TimedOut,
}

/// Whether a response is news to who asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is.
    News,
    /// A repeat.
    Old,
}

#[derive(Debug)]
enum State {
    Trying { request: Bytes, repeat: Option<Repeat>, give_up_at: Moment }, // Timers E and F
    Proceeding { request: Bytes, repeat: Option<Repeat>, give_up_at: Moment },
    Completed { ends_at: Moment }, // Timer K
    Terminated,
}

impl Client {
    /// Starts when the request is first sent over `delivery`.
    pub(super) fn new(now: Moment, delivery: Delivery, request: Bytes) -> Self {
        let state = State::Trying {
            request,
            repeat: Repeat::first(now, delivery),
            give_up_at: now + GIVE_UP_AFTER,
        };
        Self { delivery, state }
    }

    /// A response came.
    pub(super) fn handle_response(&mut self, now: Moment, status: u16) -> Heard {
        match (&mut self.state, status) {
            (State::Trying { request, repeat, give_up_at }, ..=199) => {
                // Timer E runs on as it was set; only the repeats after it are slower.
                self.state = State::Proceeding {
                    request: std::mem::take(request),
                    repeat: *repeat,
                    give_up_at: *give_up_at,
                };
                Heard::News
            }
            (State::Proceeding { .. }, ..=199) => Heard::News,
            (State::Trying { .. } | State::Proceeding { .. }, 200..) => {
                self.state = match self.delivery {
                    Delivery::Unreliable => State::Completed { ends_at: now + T4 },
                    Delivery::Reliable => State::Terminated,
                };
                Heard::News
            }
            (State::Completed { .. } | State::Terminated, _) => Heard::Old,
        }
    }

    /// A deadline has come.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match &mut self.state {
            State::Trying { request, repeat: Some(repeat), give_up_at } if now < *give_up_at => {
                *repeat = repeat.doubled_to_t2(now);
                Some(Step::Send(request.clone()))
            }
            State::Proceeding { request, repeat: Some(repeat), give_up_at }
                if now < *give_up_at =>
            {
                *repeat = Repeat::every_t2(now);
                Some(Step::Send(request.clone()))
            }
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                Some(Step::TimedOut)
            }
            State::Completed { .. } => {
                self.state = State::Terminated;
                None
            }
            State::Terminated => None,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Trying { repeat, give_up_at, .. }
            | State::Proceeding { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
            State::Completed { ends_at } => Some(*ends_at),
            State::Terminated => None,
        }
    }

    /// Whether we still wait for an answer.
    pub(super) fn is_unfinished(&self) -> bool {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => true,
            State::Completed { .. } | State::Terminated => false,
        }
    }

    /// Whether the transaction can be forgotten.
    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Moment = Moment::from_secs(1_000);

    #[test]
    fn repeats_ever_slower_and_gives_up_after_32_s() {
        let mut transaction = asking(Delivery::Unreliable);
        assert_eq!(
            run_to_the_end(&mut transaction),
            (
                vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
                Some((32_000, Step::TimedOut))
            )
        );
        assert!(transaction.is_terminated());
    }

    #[test]
    fn over_tcp_it_only_waits() {
        let mut transaction = asking(Delivery::Reliable);
        assert_eq!(run_to_the_end(&mut transaction), (vec![], Some((32_000, Step::TimedOut))));
    }

    #[test]
    fn a_100_slows_the_repeats_to_every_4_s() {
        let mut transaction = asking(Delivery::Unreliable);
        assert_eq!(transaction.handle_response(START, 100), Heard::News);
        assert_eq!(
            run_to_the_end(&mut transaction),
            (
                vec![500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500],
                Some((32_000, Step::TimedOut))
            )
        );
    }

    #[test]
    fn falls_silent_once_answered_and_absorbs_repeats_for_5_s() {
        let mut transaction = asking(Delivery::Unreliable);
        let at = START + Duration::from_millis(20);
        assert_eq!(transaction.handle_response(at, 200), Heard::News);
        assert!(!transaction.is_unfinished());
        assert_eq!(transaction.handle_response(at, 200), Heard::Old);
        assert_eq!(transaction.handle_response(at, 100), Heard::Old);
        assert_eq!(transaction.deadline(), Some(at + T4));
        assert_eq!(run_to_the_end(&mut transaction), (vec![], None));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn over_tcp_an_answer_ends_it_at_once() {
        let mut transaction = asking(Delivery::Reliable);
        assert_eq!(transaction.handle_response(START, 404), Heard::News);
        assert!(transaction.is_terminated());
    }

    fn asking(delivery: Delivery) -> Client {
        Client::new(START, delivery, Bytes::from_static(b"BYE"))
    }

    /// Jumps from deadline to deadline: the millisecond of each send, and the last other step.
    fn run_to_the_end(transaction: &mut Client) -> (Vec<u128>, Option<(u128, Step)>) {
        let (mut sent_at, mut last) = (vec![], None);
        while let Some(now) = transaction.deadline() {
            match transaction.handle_deadline(now) {
                Some(Step::Send(_)) => sent_at.push((now - START).as_millis()),
                Some(other) => last = Some(((now - START).as_millis(), other)),
                None => {}
            }
        }
        (sent_at, last)
    }
}
