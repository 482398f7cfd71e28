//! What time it is: the epoch read once, and then a clock that never jumps.

use std::time::{Instant, SystemTime};

use pbx::moment::Moment;

/// One for all workers, as they share the ports that rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Moment,
    started: Instant,
}

impl Clock {
    /// Reads the epoch.
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let base = Moment::EPOCH + epoch.unwrap_or_default();
        Self { base, started: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Moment {
        self.base + self.started.elapsed()
    }
}
