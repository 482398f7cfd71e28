//! Answering an INVITE: repeat our refusal until the caller's ACK shows that it arrived.
//!
//! RFC 3261 §17.2.1, with the Accepted state of RFC 6026 §7.1.

use bytes::Bytes;

use super::timers::{GIVE_UP_AFTER, Repeat, T4, TRYING_AFTER, earlier};
use crate::flow::Delivery;
use crate::moment::Moment;

/// The answering side of one INVITE.
#[derive(Debug)]
pub(super) struct InviteServer {
    delivery: Delivery,
    state: State,
}

/// What the owner of the machine must now do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put this response on the wire.
    Send(Bytes),
    /// Answer this request with 100: nobody has said anything yet.
    SayTrying(Bytes),
    /// No ACK came: tell the call that its caller is gone.
    NeverAcknowledged,
}

/// What an ACK that belongs to this INVITE acknowledges.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acknowledged {
    /// Our refusal, now or before: nobody else need know.
    Refusal,
    /// The 2xx: the dialog's.
    Answer,
}

/// Proceeding is split in two: only the first half waits for its 100.
#[derive(Debug)]
enum State {
    Unanswered { request: Bytes, trying_at: Moment },
    Proceeding { last: Bytes },
    Completed { refusal: Bytes, repeat: Option<Repeat>, give_up_at: Moment }, // Timers G and H
    Confirmed { ends_at: Moment },                                            // Timer I
    Accepted { ends_at: Moment },                                             // Timer L
    Terminated,
}

impl InviteServer {
    /// Starts answering an INVITE that came in over `delivery`.
    pub(super) fn new(now: Moment, delivery: Delivery, request: Bytes) -> Self {
        let state = State::Unanswered { request, trying_at: now + TRYING_AFTER };
        Self { delivery, state }
    }

    /// Sends a response of the call: provisional ones any number of times, a final one once.
    pub(super) fn respond(&mut self, now: Moment, status: u16, response: Bytes) -> Option<Step> {
        self.state = match &self.state {
            State::Unanswered { .. } | State::Proceeding { .. } => match status {
                ..=199 => State::Proceeding { last: response.clone() },
                200..=299 => State::Accepted { ends_at: now + GIVE_UP_AFTER },
                300.. => State::Completed {
                    refusal: response.clone(),
                    repeat: Repeat::first(now, self.delivery),
                    give_up_at: now + GIVE_UP_AFTER,
                },
            },
            // The call itself repeats its 2xx until the ACK.
            State::Accepted { ends_at } if (200..=299).contains(&status) => {
                State::Accepted { ends_at: *ends_at }
            }
            State::Accepted { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Terminated => return None,
        };
        Some(Step::Send(response))
    }

    /// The caller repeated its INVITE, so it has not heard our last response.
    pub(super) fn handle_repeat(&self) -> Option<Step> {
        match &self.state {
            State::Proceeding { last } => Some(Step::Send(last.clone())),
            State::Completed { refusal, .. } => Some(Step::Send(refusal.clone())),
            State::Unanswered { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => None,
        }
    }

    /// The caller acknowledged.
    pub(super) fn handle_ack(&mut self, now: Moment) -> Acknowledged {
        match self.state {
            State::Completed { .. } => {
                self.state = match self.delivery {
                    Delivery::Unreliable => State::Confirmed { ends_at: now + T4 },
                    Delivery::Reliable => State::Terminated,
                };
                Acknowledged::Refusal
            }
            State::Accepted { .. } => Acknowledged::Answer,
            // Before a final response there is nothing to acknowledge: it is dropped.
            State::Unanswered { .. }
            | State::Proceeding { .. }
            | State::Confirmed { .. }
            | State::Terminated => Acknowledged::Refusal,
        }
    }

    /// A deadline has come.
    pub(super) fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match &mut self.state {
            // The 100 comes back through `respond`, which leaves this state.
            State::Unanswered { request, .. } => Some(Step::SayTrying(request.clone())),
            State::Completed { refusal, repeat: Some(repeat), give_up_at } if now < *give_up_at => {
                *repeat = repeat.doubled_to_t2(now);
                Some(Step::Send(refusal.clone()))
            }
            State::Completed { .. } => {
                self.state = State::Terminated;
                Some(Step::NeverAcknowledged)
            }
            State::Confirmed { .. } | State::Accepted { .. } => {
                self.state = State::Terminated;
                None
            }
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// When [`Self::handle_deadline`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Unanswered { trying_at, .. } => Some(*trying_at),
            State::Completed { repeat, give_up_at, .. } => Some(earlier(*repeat, *give_up_at)),
            State::Confirmed { ends_at } | State::Accepted { ends_at } => Some(*ends_at),
            State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// Whether the caller still waits for a final response.
    pub(super) fn is_unanswered(&self) -> bool {
        match self.state {
            State::Unanswered { .. } | State::Proceeding { .. } => true,
            State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => false,
        }
    }

    /// Whether somebody still waits: the caller for a final response, or we for its ACK.
    pub(super) fn is_unfinished(&self) -> bool {
        match self.state {
            State::Unanswered { .. } | State::Proceeding { .. } | State::Completed { .. } => true,
            State::Confirmed { .. } | State::Accepted { .. } | State::Terminated => false,
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
    fn repeats_a_refusal_ever_slower_until_it_gives_up() {
        let mut transaction = invited(Delivery::Unreliable);
        assert_eq!(transaction.respond(START, 486, busy()), Some(Step::Send(busy())));
        assert!(transaction.is_unfinished());

        let (sent_at, last) = run_to_the_end(&mut transaction);

        assert_eq!(
            sent_at,
            [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
        );
        assert_eq!(last, Some((32_000, Step::NeverAcknowledged)));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn falls_silent_once_acknowledged() {
        let mut transaction = invited(Delivery::Unreliable);
        let _ = transaction.respond(START, 486, busy());
        let acknowledged_at = START + Duration::from_millis(90);

        assert_eq!(transaction.handle_ack(acknowledged_at), Acknowledged::Refusal);

        assert_eq!(transaction.deadline(), Some(acknowledged_at + T4));
        assert_eq!(transaction.handle_repeat(), None);
        assert_eq!(transaction.handle_ack(acknowledged_at), Acknowledged::Refusal);
        assert_eq!(run_to_the_end(&mut transaction), (vec![], None));
        assert!(transaction.is_terminated());
    }

    #[test]
    fn never_repeats_over_tcp() {
        let mut transaction = invited(Delivery::Reliable);
        let _ = transaction.respond(START, 486, busy());

        let (sent_at, last) = run_to_the_end(&mut transaction);

        assert_eq!((sent_at, last), (vec![], Some((32_000, Step::NeverAcknowledged))));
    }

    #[test]
    fn over_tcp_an_ack_ends_it_at_once() {
        let mut transaction = invited(Delivery::Reliable);
        let _ = transaction.respond(START, 486, busy());
        let _ = transaction.handle_ack(START);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn asks_for_a_100_when_nobody_has_spoken_for_200_ms() {
        let mut transaction = invited(Delivery::Unreliable);
        assert_eq!(transaction.handle_repeat(), None);
        let due = transaction.deadline().unwrap();
        assert_eq!(due - START, Duration::from_millis(200));
        assert_eq!(transaction.handle_deadline(START), None);
        assert_eq!(transaction.handle_deadline(due), Some(Step::SayTrying(invite())));
        assert_eq!(transaction.respond(due, 100, trying()), Some(Step::Send(trying())));
        assert_eq!(transaction.deadline(), None);
    }

    #[test]
    fn a_repeated_invite_gets_the_last_response() {
        let mut transaction = invited(Delivery::Unreliable);
        let _ = transaction.respond(START, 100, trying());
        assert_eq!(transaction.handle_repeat(), Some(Step::Send(trying())));
        let _ = transaction.respond(START, 486, busy());
        assert_eq!(transaction.handle_repeat(), Some(Step::Send(busy())));
    }

    #[test]
    fn once_accepted_it_passes_every_2xx_and_absorbs_repeats_for_32_s() {
        let mut transaction = invited(Delivery::Reliable);
        let _ = transaction.respond(START, 200, ok());
        assert_eq!(transaction.handle_repeat(), None);
        assert_eq!(transaction.respond(START, 200, ok()), Some(Step::Send(ok())));
        assert_eq!(transaction.respond(START, 487, busy()), None);
        assert_eq!(transaction.handle_ack(START), Acknowledged::Answer);
        assert_eq!(transaction.deadline(), Some(START + GIVE_UP_AFTER));
        assert!(!transaction.is_unfinished());
        assert_eq!(run_to_the_end(&mut transaction), (vec![], None));
    }

    #[test]
    fn the_first_final_response_stands() {
        let mut transaction = invited(Delivery::Unreliable);
        let _ = transaction.respond(START, 486, busy());
        assert_eq!(transaction.respond(START, 200, ok()), None);
        assert_eq!(transaction.respond(START, 180, trying()), None);
        assert_eq!(transaction.handle_repeat(), Some(Step::Send(busy())));
    }

    #[test]
    fn an_ack_before_any_final_response_changes_nothing() {
        let mut transaction = invited(Delivery::Unreliable);
        let _ = transaction.respond(START, 100, trying());
        let _ = transaction.handle_ack(START);
        assert_eq!(transaction.respond(START, 486, busy()), Some(Step::Send(busy())));
        assert!(!transaction.is_terminated());
    }

    fn invited(delivery: Delivery) -> InviteServer {
        InviteServer::new(START, delivery, invite())
    }

    fn invite() -> Bytes {
        Bytes::from_static(b"INVITE")
    }

    fn trying() -> Bytes {
        Bytes::from_static(b"100")
    }

    fn busy() -> Bytes {
        Bytes::from_static(b"486")
    }

    fn ok() -> Bytes {
        Bytes::from_static(b"200")
    }

    /// Jumps from deadline to deadline: the millisecond of each send, and the last other step.
    fn run_to_the_end(transaction: &mut InviteServer) -> (Vec<u128>, Option<(u128, Step)>) {
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
