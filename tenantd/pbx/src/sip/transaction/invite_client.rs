//! Calling somebody: repeat the INVITE until it is heard, and acknowledge each refusal.
//!
//! RFC 3261 §17.1.1, with the Accepted state of RFC 6026 §7.2. How long it may ring is the call's
//! affair, so there is no Timer C.

use bytes::Bytes;

use super::timers::{GIVE_UP_AFTER, REFUSAL_REPEATED_FOR, Repeat, earlier};
use crate::flow::Delivery;
use crate::moment::Moment;

/// The calling side of one INVITE.
#[derive(Debug)]
pub(super) struct InviteClient {
    delivery: Delivery,
    state: State,
}

/// What the owner of the machine must now do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put this on the wire.
    Send(Bytes),
    /// Nobody answered, or nobody obeyed our CANCEL.
    TimedOut,
}

/// What a response means to the call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Pass it on.
    News,
    /// Pass it on: it is a refusal, and its ACK goes out.
    Refusal(Bytes),
    /// A refusal that was passed on before: only its ACK goes out again.
    RefusalAgain(Bytes),
    /// Nothing.
    Old,
}

#[derive(Debug)]
enum State {
    Calling { request: Bytes, repeat: Option<Repeat>, give_up_at: Moment }, // Timers A and B
    Proceeding { request: Bytes, give_up_at: Option<Moment> },
    Completed { ack: Bytes, ends_at: Moment }, // Timer D
    Accepted { ends_at: Moment },              // Timer M
    Terminated,
}

impl InviteClient {
    /// Starts when the INVITE is first sent over `delivery`.
    pub(super) fn new(now: Moment, delivery: Delivery, request: Bytes) -> Self {
        let state = State::Calling {
            request,
            repeat: Repeat::first(now, delivery),
            give_up_at: now + GIVE_UP_AFTER,
        };
        Self { delivery, state }
    }

    /// The INVITE, as long as it has no final response.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match &self.state {
            State::Calling { request, .. } | State::Proceeding { request, .. } => Some(request),
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => None,
        }
    }

    /// Whether somebody has heard the INVITE but not yet decided: then it can be cancelled (§9.1).
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// A response came that is no refusal.
    pub(super) fn handle_response(&mut self, now: Moment, status: u16) -> Heard {
        match (&mut self.state, status) {
            (State::Calling { request, .. }, ..=199) => {
                let request = std::mem::take(request);
                self.state = State::Proceeding { request, give_up_at: None };
                Heard::News
            }
            (State::Proceeding { .. }, ..=199) => Heard::News,
            (State::Calling { .. } | State::Proceeding { .. }, 200..=299) => {
                self.state = State::Accepted { ends_at: now + GIVE_UP_AFTER };
                Heard::News
            }
            // Each is passed on: the ACK to the first may be lost, or another fork answered too.
            (State::Accepted { .. }, 200..=299) => Heard::News,
            (State::Calling { .. } | State::Proceeding { .. } | State::Accepted { .. }, _)
            | (State::Completed { .. } | State::Terminated, _) => Heard::Old,
        }
    }

    /// A refusal came; `ack` acknowledges it.
    pub(super) fn handle_refusal(&mut self, now: Moment, ack: Bytes) -> Heard {
        match &self.state {
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = match self.delivery {
                    Delivery::Unreliable => {
                        State::Completed { ack: ack.clone(), ends_at: now + REFUSAL_REPEATED_FOR }
                    }
                    Delivery::Reliable => State::Terminated,
                };
                Heard::Refusal(ack)
            }
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => {
                self.handle_repeated_refusal()
            }
        }
    }

    /// A refusal came after the first final response.
    pub(super) fn handle_repeated_refusal(&self) -> Heard {
        match &self.state {
            State::Completed { ack, .. } => Heard::RefusalAgain(ack.clone()),
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Accepted { .. }
            | State::Terminated => Heard::Old,
        }
    }

    /// A CANCEL was sent: who does not obey it in 64 × T1 never will (§9.1).
    pub(super) fn handle_cancel(&mut self, now: Moment) {
        match &mut self.state {
            State::Proceeding { give_up_at, .. } => {
                give_up_at.get_or_insert(now + GIVE_UP_AFTER);
            }
            State::Calling { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// A deadline has come.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match &mut self.state {
            State::Calling { request, repeat: Some(repeat), give_up_at } if now < *give_up_at => {
                *repeat = repeat.doubled(now);
                Some(Step::Send(request.clone()))
            }
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                Some(Step::TimedOut)
            }
            State::Completed { .. } | State::Accepted { .. } => {
                self.state = State::Terminated;
                None
            }
            State::Terminated => None,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Calling { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
            State::Proceeding { give_up_at, .. } => *give_up_at,
            State::Completed { ends_at, .. } | State::Accepted { ends_at } => Some(*ends_at),
            State::Terminated => None,
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
    fn repeats_twice_as_slowly_each_time_and_gives_up_after_32_s() {
        let mut transaction = calling(Delivery::Unreliable);
        assert_eq!(
            run_to_the_end(&mut transaction),
            (vec![500, 1_500, 3_500, 7_500, 15_500, 31_500], Some((32_000, Step::TimedOut)))
        );
        assert!(transaction.is_terminated());
    }

    #[test]
    fn over_tcp_it_only_waits() {
        let mut transaction = calling(Delivery::Reliable);
        assert_eq!(run_to_the_end(&mut transaction), (vec![], Some((32_000, Step::TimedOut))));
    }

    #[test]
    fn falls_silent_once_it_is_heard_and_then_rings_without_end() {
        let mut transaction = calling(Delivery::Unreliable);
        assert_eq!(transaction.handle_response(START, 100), Heard::News);
        assert_eq!(transaction.handle_response(START, 180), Heard::News);
        assert_eq!(transaction.deadline(), None);
        assert!(transaction.request().is_some());
    }

    #[test]
    fn acknowledges_each_repeat_of_a_refusal_for_32_s_but_passes_it_on_once() {
        let mut transaction = calling(Delivery::Unreliable);
        assert_eq!(transaction.handle_refusal(START, ack()), Heard::Refusal(ack()));
        assert_eq!(transaction.handle_repeated_refusal(), Heard::RefusalAgain(ack()));
        assert_eq!(transaction.handle_response(START, 200), Heard::Old);
        assert_eq!(transaction.deadline(), Some(START + Duration::from_secs(32)));
        assert_eq!(run_to_the_end(&mut transaction), (vec![], None));
        assert!(transaction.is_terminated());
        assert_eq!(transaction.handle_repeated_refusal(), Heard::Old);
    }

    #[test]
    fn over_tcp_a_refusal_ends_it_at_once() {
        let mut transaction = calling(Delivery::Reliable);
        assert_eq!(transaction.handle_refusal(START, ack()), Heard::Refusal(ack()));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn passes_every_2xx_on_for_32_s() {
        for delivery in [Delivery::Unreliable, Delivery::Reliable] {
            let mut transaction = calling(delivery);
            assert_eq!(transaction.handle_response(START, 200), Heard::News);
            assert_eq!(transaction.handle_response(START, 200), Heard::News);
            assert_eq!(transaction.handle_response(START, 180), Heard::Old);
            assert_eq!(transaction.handle_refusal(START, ack()), Heard::Old);
            assert_eq!(transaction.deadline(), Some(START + Duration::from_secs(32)));
            assert_eq!(run_to_the_end(&mut transaction), (vec![], None));
        }
    }

    #[test]
    fn gives_up_32_s_after_a_cancel_that_nobody_obeyed() {
        let mut transaction = calling(Delivery::Unreliable);
        let _ = transaction.handle_response(START, 180);
        let cancelled_at = START + Duration::from_secs(20);
        transaction.handle_cancel(cancelled_at);
        transaction.handle_cancel(cancelled_at + Duration::from_secs(5));
        let _ = transaction.handle_response(cancelled_at, 180);
        assert_eq!(run_to_the_end(&mut transaction), (vec![], Some((52_000, Step::TimedOut))));
    }

    #[test]
    fn a_2xx_that_crossed_the_cancel_is_passed_on() {
        let mut transaction = calling(Delivery::Unreliable);
        let _ = transaction.handle_response(START, 180);
        transaction.handle_cancel(START);
        assert_eq!(transaction.handle_response(START, 200), Heard::News);
    }

    fn calling(delivery: Delivery) -> InviteClient {
        InviteClient::new(START, delivery, Bytes::from_static(b"INVITE"))
    }

    fn ack() -> Bytes {
        Bytes::from_static(b"ACK")
    }

    /// Jumps from deadline to deadline: the millisecond of each send, and the last other step.
    fn run_to_the_end(transaction: &mut InviteClient) -> (Vec<u128>, Option<(u128, Step)>) {
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
