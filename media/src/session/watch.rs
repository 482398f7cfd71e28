//! Sound that goes one way only: somebody speaks, and nothing ever comes back.
//!
//! Usually a router or a firewall in the way. A phone that is silent on purpose (a hold) is not told
//! from one that cannot be heard here, but by the call, which knows what was agreed on.

use std::time::Duration;

use pbx::media::Event;
use pbx::moment::Moment;

use crate::end::End;
use crate::session::{Sessions, Slot};

/// Silent for so long; with the looks before and after, a second apart, it is noticed within five.
const SILENT_FOR: Duration = Duration::from_secs(3);
/// Who was heard within so long is heard.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);

/// Since when a side has had reason to be heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// There is nothing to wait for, or it was told.
    #[default]
    Idle,
    /// Signalling spoke of it, since the last look.
    Asked,
    /// Since then.
    Since(Moment),
}

impl End {
    /// Whether it is silent although it should not be.
    fn is_silent(&self, now: Moment) -> bool {
        let Watch::Since(since) = self.speech.watch else { return false };
        let heard = self.stream.heard_at().is_some_and(|at| at >= since);
        self.stream.is_wanted() && !heard && now.since(since) >= SILENT_FOR
    }

    fn is_heard(&self, now: Moment) -> bool {
        let heard = self.stream.heard_at().is_some_and(|at| now.since(at) < HEARD_WITHIN);
        self.stream.is_wanted() && heard
    }
}

impl Sessions {
    /// Finds the sides that hear and are not heard.
    pub(super) fn look_for_one_way(&mut self, now: Moment) {
        for end in self.ends.iter_mut().flatten() {
            if end.speech.watch == Watch::Asked {
                end.speech.watch = Watch::Since(now);
            }
        }
        for index in 0..self.ends.len() {
            let Some(Some(end)) = self.ends.get(index) else { continue };
            let Some(joined) = end.joined.filter(|_| end.is_silent(now)) else { continue };
            let Some(Some(other)) = self.ends.get(joined.index()) else { continue };
            if !other.is_heard(now) {
                continue;
            }
            if let Some(Some(end)) = self.ends.get_mut(index) {
                end.speech.watch = Watch::Idle;
                self.events.push_back(Event::OneWay { side: end.side });
            }
        }
    }

    /// Signalling spoke of a side: both have reason to be heard from now on.
    pub(super) fn watch(&mut self, slot: Slot) {
        let joined = self.end(slot).and_then(|end| end.joined);
        let Some(joined) = joined else { return };
        for slot in [slot, joined] {
            if let Some(end) = self.end(slot) {
                end.speech.watch = Watch::Asked;
            }
        }
    }
}
