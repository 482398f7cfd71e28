//! Sound goes before all else that runs on the machine, where the kernel allows it: who wakes up late for
//! a packet is heard.
//!
//! sched(7), `SCHED_RR`. A thread that is busy nearly all the time would leave nothing for others,
//! signalling among them: it takes its turn like them until it is less busy.

#![deny(clippy::undocumented_unsafe_blocks)]

use std::io;
use std::time::Duration;

use nix::libc;
use nix::time::{ClockId, clock_gettime};
use pbx::moment::Moment;

/// How often a thread sees how busy it was.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Out of a hundred: a thread that is busier steps back,
const BUSY: u128 = 75;
/// and one that is less busy goes first again.
const AT_EASE: u128 = 50;
/// The lowest there is: any goes before all that have none.
const PRIORITY: libc::c_int = 1;

/// When threads of sound run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Before all else, where that is allowed.
    #[default]
    Realtime,
    /// When it is their turn.
    Normal,
}

/// What a thread of sound knows of its own precedence.
#[derive(Debug)]
pub(crate) struct Precedence {
    state: State,
    looked_at: Moment,
    /// The thread's CPU time then.
    used: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was not wanted, or is not allowed.
    None,
    First,
    /// It was too busy.
    Back,
}

impl Precedence {
    /// Of the present thread; beside it why it has none, where it was wanted.
    pub(crate) fn claim(now: Moment, wanted: Scheduling) -> (Self, Option<io::Error>) {
        let claimed = match wanted {
            Scheduling::Realtime => schedule(Scheduling::Realtime).map(|()| State::First),
            Scheduling::Normal => Ok(State::None),
        };
        let used = used();
        match claimed {
            Ok(state) => (Self { state, looked_at: now, used }, None),
            Err(error) => (Self { state: State::None, looked_at: now, used }, Some(error)),
        }
    }

    /// Whether this thread goes before others just now.
    pub(crate) fn goes_first(&self) -> bool {
        self.state == State::First
    }

    /// Steps back, or forward again, if it is time to look.
    pub(crate) fn look(&mut self, now: Moment) {
        let passed = now.since(self.looked_at);
        if self.state == State::None || passed < LOOK_EVERY {
            return;
        }
        let used = used();
        let next = self.state.after(used.saturating_sub(self.used), passed);
        (self.looked_at, self.used) = (now, used);
        let scheduled = match (self.state, next) {
            (State::First, State::Back) => schedule(Scheduling::Normal),
            (State::Back, State::First) => schedule(Scheduling::Realtime),
            _ => return,
        };
        match scheduled {
            Ok(()) => self.state = next,
            Err(error) => tracing::debug!(%error, "a thread of sound stays as it is"),
        }
    }
}

impl State {
    /// After it was busy for so much of what has passed.
    fn after(self, busy: Duration, passed: Duration) -> Self {
        let share = busy.as_micros() * 100 / passed.as_micros().max(1);
        match self {
            Self::First if share > BUSY => Self::Back,
            Self::Back if share < AT_EASE => Self::First,
            same => same,
        }
    }
}

/// How long the present thread has run.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Has the present thread run so, and nothing that it starts.
fn schedule(when: Scheduling) -> io::Result<()> {
    let (policy, priority) = match when {
        Scheduling::Realtime => (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, PRIORITY),
        Scheduling::Normal => (libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0),
    };
    let priority = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads `priority`, which lives until it has; 0 is the present thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_thread_that_is_busy_nearly_all_the_time_steps_back_until_it_is_at_ease() {
        let mut state = State::First;
        for (busy_ms, then) in [
            (740, State::First),
            (760, State::Back),
            (600, State::Back),
            (510, State::Back),
            (490, State::First),
            (700, State::First),
        ] {
            state = state.after(Duration::from_millis(busy_ms), SECOND);
            assert_eq!(state, then, "busy for {busy_ms} ms");
        }
        assert_eq!(State::None.after(SECOND, SECOND), State::None);
    }

    #[test]
    fn the_kernel_is_told_and_a_thread_that_may_not_runs_all_the_same() {
        let told = std::thread::spawn(|| {
            // SAFETY: it takes a number and gives one.
            let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
            let now = Moment::from_secs(1);
            let (mut first, refused) = Precedence::claim(now, Scheduling::Realtime);
            if let Some(error) = refused {
                eprintln!("SKIPPED: nothing may go first here: {error}");
                return (policy(), first.goes_first()) == (libc::SCHED_OTHER, false);
            }
            let claimed = (policy(), first.goes_first()) == (libc::SCHED_RR, true);
            while used() < LOOK_EVERY * 4 / 5 {
                std::hint::black_box(&first);
            }
            first.look(now + LOOK_EVERY / 2);
            let too_early = first.goes_first();
            first.look(now + LOOK_EVERY);
            let back = (policy(), first.goes_first()) == (libc::SCHED_OTHER, false);
            first.look(now + LOOK_EVERY * 3);
            let again = (policy(), first.goes_first()) == (libc::SCHED_RR, true);
            claimed && too_early && back && again
        });
        assert!(told.join().unwrap());
    }
}
