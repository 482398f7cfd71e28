//! The one clock: wall time that never goes backwards while the process lives.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pbx::moment::Moment;

/// Wall time at the start, and what has passed since: setting the system's clock moves no timer.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_at: Moment,
    started: Instant,
}

impl Clock {
    /// Reads the wall clock, once.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: Moment::EPOCH + since_epoch, started: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.started_at + self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_wall_clock_and_never_goes_back() {
        let clock = Clock::start();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.as_secs().abs_diff(wall) <= 1);
        assert!(second >= first);
    }
}
