//! Answering anything but an INVITE: once, and the same answer again if the question comes again.
//!
//! RFC 3261 §17.2.2, with RFC 4320: 100 only after 3.5 s and then always, no 408, nothing late.

use bytes::Bytes;

use super::timers::{GIVE_UP_AFTER, LATE_TRYING_AFTER};
use crate::flow::Delivery;
use crate::moment::Moment;

/// The answering side of one request.
#[derive(Debug)]
pub(super) struct Server {
    delivery: Delivery,
    state: State,
}

/// What the owner of the machine must now do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put this response on the wire.
    Send(Bytes),
    /// Answer this request with 100: it is about to be asked less often.
    SayTrying(Bytes),
}

#[derive(Debug)]
enum State {
    Trying {
        request: Bytes,
        trying_at: Moment,
    },
    /// The asker gives up at `late_at`: a later answer would only confuse (RFC 4320 §4.2).
    Proceeding {
        last: Bytes,
        late_at: Moment,
    },
    Completed {
        response: Bytes,
        ends_at: Moment,
    }, // Timer J
    Terminated,
}

impl Server {
    /// Starts answering a request that came in over `delivery`.
    pub(super) fn new(now: Moment, delivery: Delivery, request: Bytes) -> Self {
        Self { delivery, state: State::Trying { request, trying_at: now + LATE_TRYING_AFTER } }
    }

    /// Sends a final response, once.
    pub(super) fn respond(&mut self, now: Moment, status: u16, response: Bytes) -> Option<Step> {
        match (&self.state, status) {
            (State::Trying { trying_at, .. }, 100) => {
                if now < *trying_at && self.delivery == Delivery::Unreliable {
                    return None;
                }
                let late_at = *trying_at + (GIVE_UP_AFTER - LATE_TRYING_AFTER);
                self.state = State::Proceeding { last: response.clone(), late_at };
            }
            (State::Trying { .. } | State::Proceeding { .. }, ..=199) => return None,
            (State::Trying { .. } | State::Proceeding { .. }, 408) => {
                self.state = State::Terminated;
                return None;
            }
            (State::Trying { .. } | State::Proceeding { .. }, 200..) => {
                self.state = match self.delivery {
                    Delivery::Unreliable => State::Completed {
                        response: response.clone(),
                        ends_at: now + GIVE_UP_AFTER,
                    },
                    Delivery::Reliable => State::Terminated,
                };
            }
            (State::Completed { .. } | State::Terminated, _) => return None,
        }
        Some(Step::Send(response))
    }

    /// The request came again, so our last response was not heard.
    pub(super) fn handle_repeat(&self) -> Option<Step> {
        match &self.state {
            State::Proceeding { last, .. } => Some(Step::Send(last.clone())),
            State::Completed { response, .. } => Some(Step::Send(response.clone())),
            State::Trying { .. } | State::Terminated => None,
        }
    }

    /// A deadline has come.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match &self.state {
            // The 100 comes back through `respond`, which leaves this state.
            State::Trying { request, .. } => Some(Step::SayTrying(request.clone())),
            State::Proceeding { .. } | State::Completed { .. } => {
                self.state = State::Terminated;
                None
            }
            State::Terminated => None,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Trying { trying_at, .. } => Some(trying_at),
            State::Proceeding { late_at, .. } => Some(late_at),
            State::Completed { ends_at, .. } => Some(ends_at),
            State::Terminated => None,
        }
    }

    /// Whether the asker still waits for its answer.
    pub(super) fn is_unanswered(&self) -> bool {
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
    fn repeats_its_answer_whenever_the_question_is_repeated_for_32_s() {
        let mut transaction = asked(Delivery::Unreliable);
        assert_eq!(transaction.handle_repeat(), None, "nothing to say yet");
        assert_eq!(transaction.respond(START, 200, ok()), Some(Step::Send(ok())));
        assert!(!transaction.is_unanswered());
        assert_eq!(transaction.handle_repeat(), Some(Step::Send(ok())));
        assert_eq!(transaction.respond(START, 500, trying()), None, "the first answer stands");

        let ends_at = transaction.deadline().unwrap();
        assert_eq!(ends_at - START, Duration::from_secs(32));
        assert_eq!(transaction.handle_deadline(ends_at), None);
        assert!(transaction.is_terminated());
        assert_eq!(transaction.handle_repeat(), None);
    }

    #[test]
    fn over_tcp_an_answer_ends_it_at_once() {
        let mut transaction = asked(Delivery::Reliable);
        assert_eq!(transaction.respond(START, 200, ok()), Some(Step::Send(ok())));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn says_100_after_three_and_a_half_seconds_and_not_before() {
        let mut transaction = asked(Delivery::Unreliable);
        assert_eq!(transaction.respond(START, 100, trying()), None);
        let due = transaction.deadline().unwrap();
        assert_eq!(due - START, Duration::from_millis(3_500));
        assert_eq!(transaction.handle_deadline(due), Some(Step::SayTrying(register())));
        assert_eq!(transaction.respond(due, 100, trying()), Some(Step::Send(trying())));
        assert_eq!(transaction.handle_repeat(), Some(Step::Send(trying())));
        assert_eq!(transaction.respond(due, 200, ok()), Some(Step::Send(ok())));
    }

    #[test]
    fn over_tcp_a_100_may_come_at_any_time() {
        let mut transaction = asked(Delivery::Reliable);
        assert_eq!(transaction.respond(START, 100, trying()), Some(Step::Send(trying())));
    }

    #[test]
    fn sends_no_other_provisional_response_and_no_408() {
        let mut transaction = asked(Delivery::Unreliable);
        assert_eq!(transaction.respond(START, 180, trying()), None);
        assert!(!transaction.is_terminated());
        assert_eq!(transaction.respond(START, 408, ok()), None);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn answers_nothing_once_the_asker_has_given_up() {
        let mut transaction = asked(Delivery::Unreliable);
        let due = transaction.deadline().unwrap();
        let _ = transaction.respond(due, 100, trying());
        let late_at = transaction.deadline().unwrap();
        assert_eq!(late_at - START, Duration::from_secs(32));
        assert_eq!(transaction.handle_deadline(late_at), None);
        assert_eq!(transaction.respond(late_at, 200, ok()), None);
        assert!(transaction.is_terminated());
    }

    fn asked(delivery: Delivery) -> Server {
        Server::new(START, delivery, register())
    }

    fn register() -> Bytes {
        Bytes::from_static(b"REGISTER")
    }

    fn trying() -> Bytes {
        Bytes::from_static(b"100")
    }

    fn ok() -> Bytes {
        Bytes::from_static(b"200")
    }
}
