//! Carries what switches show to the boards that the portal reads: gathered, and a few times a
//! second, so that neither a busy switch nor a watching page pays for each change.

mod watchers;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pbx::board::{Change, LiveCall, Phone, What};
use pbx::id::{BindingId, CallId, ConferenceId, TenantId};
use tokio::time::{MissedTickBehavior, interval};
use web::boards::Boards;

pub use watchers::{Watchers, across};

use crate::metrics::{Count, Tally};

/// How often a viewer sees changes at most.
const EVERY: Duration = Duration::from_millis(200);

/// Phones and calls that may have changed and not been shown yet. More are shown with their next
/// change, which is counted; it takes a boards' task that stands still.
pub const LIMIT: usize = 1_000_000;

/// What one lane wants to show, of each phone, call and conference only the last.
#[derive(Debug)]
pub struct Gathered {
    tally: Arc<Tally>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<TenantId, Latest>,
    len: usize,
}

#[derive(Debug, Default)]
struct Latest {
    cleared: bool,
    phones: HashMap<BindingId, Option<Box<Phone>>>,
    calls: HashMap<CallId, Option<Box<LiveCall>>>,
    /// Who speaks, or has ceased to.
    speakers: HashMap<ConferenceId, What>,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(tally: Arc<Tally>) -> Self {
        Self { tally, state: Mutex::default() }
    }

    /// Takes in what a turn of the lane shows.
    pub fn gather(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { tenant, what } in changes {
            if state.len >= LIMIT && !matches!(what, What::Cleared) {
                self.tally.count(Count::ShowsLost);
                continue;
            }
            let latest = state.tenants.entry(tenant).or_default();
            let before = latest.len();
            latest.take(what);
            let after = latest.len();
            state.len = (state.len + after).saturating_sub(before);
        }
    }

    /// Phones and calls that wait to be shown.
    pub fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self) -> BTreeMap<TenantId, Latest> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *state).tenants
    }
}

impl Latest {
    fn len(&self) -> usize {
        self.phones.len() + self.calls.len() + self.speakers.len()
    }

    fn take(&mut self, what: What) {
        match what {
            What::Phone(id, phone) => drop(self.phones.insert(id, Some(phone))),
            What::PhoneGone(id) => drop(self.phones.insert(id, None)),
            What::Call(id, call) => drop(self.calls.insert(id, Some(call))),
            What::CallEnded(id) => {
                self.calls.insert(id, None);
                // Who speaks is shown after calls are, and nobody would take it back.
                for (room, what) in &mut self.speakers {
                    if *what == What::Speaks(*room, id) {
                        *what = What::Silent(*room);
                    }
                }
            }
            What::Speaks(room, _) | What::Silent(room) => {
                self.speakers.insert(room, what);
            }
            What::Cleared => *self = Self { cleared: true, ..Self::default() },
        }
    }

    fn into_changes(self) -> impl Iterator<Item = What> {
        let phone = |(id, phone)| match phone {
            Some(phone) => What::Phone(id, phone),
            None => What::PhoneGone(id),
        };
        let call = |(id, call)| match call {
            Some(call) => What::Call(id, call),
            None => What::CallEnded(id),
        };
        let cleared = self.cleared.then_some(What::Cleared);
        let phones = self.phones.into_iter().map(phone);
        let calls = self.calls.into_iter().map(call);
        cleared.into_iter().chain(phones).chain(calls).chain(self.speakers.into_values())
    }
}

/// Shows what lanes have gathered, once.
pub fn show(lanes: &[Arc<Gathered>], boards: &Boards) {
    for gathered in lanes {
        let changes = gathered.take().into_iter().flat_map(|(tenant, latest)| {
            latest.into_changes().map(move |what| Change { tenant, what })
        });
        boards.apply(changes);
    }
}

/// Shows what lanes gather, for as long as it is let.
pub async fn run(lanes: Vec<Arc<Gathered>>, boards: Boards) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        show(&lanes, &boards);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

    use pbx::flow::{Path, Peer};
    use pbx::id::NodeId;
    use pbx::moment::Moment;
    use uuid::Uuid;

    use super::*;
    use crate::metrics::Metrics;

    const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));

    #[test]
    fn of_many_changes_of_one_phone_the_last_is_shown_and_the_viewer_hears_once() {
        let (lane, boards) = (gathered(), Boards::default());
        let mut viewer = boards.watch(tenant());
        lane.gather((0..100).map(|second| phone(1, second)));
        lane.gather([phone(2, 7), gone(2)]);
        assert_eq!(lane.len(), 2);

        show(std::slice::from_ref(&lane), &boards);

        let board = viewer.borrow_and_update().clone();
        assert_eq!(board.phones.len(), 1);
        assert_eq!(board.phones[&binding(1)].expires_at, Moment::from_secs(99));
        assert!(lane.is_empty());
        show(&[lane], &boards);
        assert!(!viewer.has_changed().unwrap());
    }

    #[test]
    fn what_came_before_a_tenant_left_is_not_shown_after() {
        let (lane, boards) = (gathered(), Boards::default());
        lane.gather([phone(1, 1)]);
        show(std::slice::from_ref(&lane), &boards);
        let cleared = Change { tenant: tenant(), what: What::Cleared };
        lane.gather([phone(2, 1), cleared, phone(3, 1)]);
        show(&[lane], &boards);
        assert_eq!(boards.now(tenant()).phones.keys().collect::<Vec<_>>(), [&binding(3)]);
    }

    #[test]
    fn who_spoke_and_left_at_once_is_not_shown_as_speaking() {
        let (lane, boards) = (gathered(), Boards::default());
        let (room, one, two) = (ConferenceId(Uuid::from_u128(1)), call(1), call(2));
        let show = |what| lane.gather([Change { tenant: tenant(), what }]);
        show(What::Speaks(room, one));
        show(What::Speaks(room, two));
        super::show(std::slice::from_ref(&lane), &boards);
        assert_eq!(boards.now(tenant()).speakers.get(&room), Some(&two));
        show(What::Speaks(room, one));
        show(What::CallEnded(one));
        super::show(std::slice::from_ref(&lane), &boards);
        assert!(boards.now(tenant()).speakers.is_empty());
        show(What::Speaks(room, two));
        super::show(std::slice::from_ref(&lane), &boards);
        show(What::Silent(room));
        super::show(&[lane], &boards);
        assert!(boards.now(tenant()).speakers.is_empty());
    }

    fn call(number: u128) -> CallId {
        CallId(Uuid::from_u128(number))
    }

    fn gathered() -> Arc<Gathered> {
        Arc::new(Gathered::new(Metrics::new().tally()))
    }

    fn tenant() -> TenantId {
        TenantId(Uuid::from_u128(7))
    }

    fn binding(number: u128) -> BindingId {
        BindingId(Uuid::from_u128(number))
    }

    fn phone(number: u128, second: u64) -> Change {
        let phone = Phone {
            extension: "101".into(),
            user_agent: "".into(),
            path: Peer::from(&Path::udp(NodeId(1), NOBODY, NOBODY)),
            expires_at: Moment::from_secs(second),
            trouble: None,
        };
        Change { tenant: tenant(), what: What::Phone(binding(number), Box::new(phone)) }
    }

    fn gone(number: u128) -> Change {
        Change { tenant: tenant(), what: What::PhoneGone(binding(number)) }
    }
}
