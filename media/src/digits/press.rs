//! Pressing keys for somebody: one after the other, each long enough, with a pause between.
//!
//! RFC 4733 §2.5.1: a packet every 20 ms, the last of them three times.

use std::collections::VecDeque;
use std::time::Duration;

use pbx::media::Digit;
use pbx::moment::Moment;

use crate::digits::event::Phase;

/// Keys that wait; more are not taken.
const MOST: usize = 32;
pub(crate) const STEP: Duration = Duration::from_millis(20);
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(8);
/// Between two keys (Q.24 wants 40 ms).
const PAUSE: Duration = Duration::from_millis(60);
/// How often an end is told.
const ENDS: u8 = 3;

/// The keys of one phone.
#[derive(Debug, Default)]
pub(crate) struct Press {
    waiting: VecDeque<(Digit, Duration)>,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Up,
    /// For so long so far; the next step is due then.
    Down {
        digit: Digit,
        wanted: Duration,
        long: Duration,
        next_at: Moment,
    },
    Ending {
        digit: Digit,
        long: Duration,
        left: u8,
        next_at: Moment,
    },
    Pause {
        until: Moment,
    },
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) digit: Digit,
    /// Including this step.
    pub(crate) long: Duration,
    pub(crate) phase: Phase,
    /// Whether it only says again what was said.
    pub(crate) again: Again,
}

/// Whether something was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    Yes,
}

impl Press {
    /// A key is to be pressed.
    pub(crate) fn press(&mut self, now: Moment, digit: Digit, long: Duration) {
        let wanted = long.clamp(SHORTEST, LONGEST);
        match self.state {
            State::Up => {
                self.state = State::Down { digit, wanted, long: Duration::ZERO, next_at: now };
            }
            State::Down { .. } | State::Ending { .. } | State::Pause { .. } => {
                if self.waiting.len() < MOST {
                    self.waiting.push_back((digit, wanted));
                }
            }
        }
    }

    /// Whether the line is taken.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state, State::Down { .. } | State::Ending { .. })
    }

    /// When the next step is due.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Up => None,
            State::Down { next_at, .. } | State::Ending { next_at, .. } => Some(next_at),
            State::Pause { until } => Some(until),
        }
    }

    /// What is to be sent now.
    pub(crate) fn handle_deadline(&mut self, now: Moment) -> Option<Step> {
        self.deadline().filter(|at| *at <= now)?;
        let next_at = now + STEP;
        match self.state {
            State::Up => None,
            State::Down { digit, wanted, long, .. } => {
                let long = long + STEP;
                let (phase, state) = match long >= wanted {
                    true => (Phase::Ended, State::Ending { digit, long, left: ENDS - 1, next_at }),
                    false => (Phase::Down, State::Down { digit, wanted, long, next_at }),
                };
                self.state = state;
                Some(Step { digit, long, phase, again: Again::No })
            }
            State::Ending { digit, long, left, .. } => {
                self.state = match left - 1 {
                    0 => State::Pause { until: now + PAUSE },
                    left => State::Ending { digit, long, left, next_at },
                };
                Some(Step { digit, long, phase: Phase::Ended, again: Again::Yes })
            }
            State::Pause { .. } => {
                self.state = State::Up;
                let (digit, long) = self.waiting.pop_front()?;
                self.press(now, digit, long);
                self.handle_deadline(now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_each_other_with_a_pause_and_each_end_is_told_three_times() {
        let mut press = Press::default();
        let begin = Moment::from_secs(9);
        let digit = |key| Digit::from_key(key).unwrap();
        press.press(begin, digit('1'), Duration::from_millis(100));
        press.press(begin, digit('2'), Duration::ZERO);
        let mut steps = Vec::new();
        while let Some(at) = press.deadline() {
            steps.extend(press.handle_deadline(at).map(|step| (at.since(begin).as_millis(), step)));
        }
        let short: Vec<_> = steps
            .iter()
            .map(|(at, step)| (*at, step.digit.key(), step.long.as_millis(), step.phase))
            .collect();
        use Phase::{Down, Ended};
        let expected = [
            (0, '1', 20, Down),
            (20, '1', 40, Down),
            (40, '1', 60, Down),
            (60, '1', 80, Down),
            (80, '1', 100, Ended),
            (100, '1', 100, Ended),
            (120, '1', 100, Ended),
            (180, '2', 20, Down),
            (200, '2', 40, Ended),
            (220, '2', 40, Ended),
            (240, '2', 40, Ended),
        ];
        assert_eq!(short, expected);
        assert!(!press.is_down());
    }

    #[test]
    fn only_so_many_keys_wait() {
        let mut press = Press::default();
        let digit = Digit::from_key('7').unwrap();
        for _ in 0..1_000 {
            press.press(Moment::EPOCH, digit, Duration::from_secs(600));
        }
        assert_eq!(press.waiting.len(), MOST);
        assert!(press.waiting.iter().all(|(_, long)| *long == LONGEST));
    }
}
