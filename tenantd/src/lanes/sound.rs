//! Which lane a call's sound is reported to: media knows calls, not lanes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pbx::id::CallId;
use pbx::media::{Event, Wish};

use super::inbox::Report;
use super::{LaneId, Lanes};
use crate::metrics::{Count, Tally};

/// Calls with sound: as many as there are sides, which media bounds by its ports and queues.
#[derive(Debug)]
pub struct Sounds {
    lanes: Arc<Lanes>,
    tally: Arc<Tally>,
    homes: Mutex<HashMap<CallId, Home>>,
}

/// A call's lane, for as long as a side of it is open.
#[derive(Debug)]
struct Home {
    lane: LaneId,
    sides: u32,
}

impl Sounds {
    /// No sound yet.
    pub fn new(lanes: Arc<Lanes>, tally: Arc<Tally>) -> Self {
        Self { lanes, tally, homes: Mutex::default() }
    }

    /// A lane is about to wish these.
    pub fn expect(&self, lane: LaneId, wishes: &[Wish]) {
        for wish in wishes {
            match wish {
                Wish::Open { side, .. } => {
                    let mut homes = self.homes();
                    homes.entry(side.call).or_insert(Home { lane, sides: 0 }).sides += 1;
                }
                Wish::Aim { .. }
                | Wish::Agree { .. }
                | Wish::Join { .. }
                | Wish::Press { .. }
                | Wish::Listen { .. }
                | Wish::Record { .. }
                | Wish::Pause { .. }
                | Wish::Resume { .. }
                | Wish::Mix { .. }
                | Wish::Cue { .. }
                | Wish::Play { .. }
                | Wish::Hush { .. }
                | Wish::Close { .. } => {}
            }
        }
    }

    /// Tells the call's lane what happened. Called by media's threads; never waits.
    pub fn report(&self, event: Event) {
        let Some(lane) = self.home_for(&event) else { return };
        let Some(post) = self.lanes.post(lane) else { return };
        if !post.report(Report::Media(event)) {
            self.tally.count(Count::ReportsLost);
        }
        post.wake();
    }

    /// Calls with sound.
    pub fn len(&self) -> usize {
        self.homes().len()
    }

    /// Whether there is no sound at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn home_for(&self, event: &Event) -> Option<LaneId> {
        let call = event.side().call;
        let mut homes = self.homes();
        let home = homes.get_mut(&call)?;
        let lane = home.lane;
        match event {
            Event::Opened { .. }
            | Event::Latched { .. }
            | Event::Quiet { .. }
            | Event::OneWay { .. }
            | Event::Speaking { .. }
            | Event::Silent { .. }
            | Event::Digit { .. }
            | Event::Played { .. }
            | Event::Unrecorded { .. } => {}
            Event::NoPorts { .. } | Event::Closed { .. } => {
                home.sides = home.sides.saturating_sub(1);
                if home.sides == 0 {
                    homes.remove(&call);
                }
            }
        }
        Some(lane)
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<CallId, Home>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use pbx::media::{Heard, Side};
    use uuid::Uuid;

    use super::*;
    use crate::lanes::inbox::{Inbox, inbox};
    use crate::metrics::Metrics;

    #[test]
    fn a_calls_sound_is_reported_to_its_lane_until_its_last_side_is_closed() {
        let (inboxes, posts): (Vec<Inbox>, Vec<_>) = (0..2).map(|_| inbox().unwrap()).unzip();
        let sounds = Sounds::new(Arc::new(Lanes::new(posts)), Metrics::new().tally());
        for leg in [0, 1] {
            sounds.expect(LaneId(1), &[open(leg)]);
        }

        sounds.report(Event::Opened { side: side(0), port: 4_000 });
        sounds.report(Event::NoPorts { side: side(1) });
        sounds.report(Event::Closed { side: side(0), heard: Heard::default() });
        sounds.report(Event::Opened { side: side(0), port: 4_000 });

        assert!(inboxes[0].next_report().is_none());
        let reports = std::iter::from_fn(|| inboxes[1].next_report()).count();
        assert_eq!((reports, sounds.len()), (3, 0));
    }

    fn side(leg: u16) -> Side {
        Side { call: CallId(Uuid::from_u128(1)), leg }
    }

    fn open(leg: u16) -> Wish {
        Wish::Open { side: side(leg), local: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None }
    }
}
