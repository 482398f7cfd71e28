//! Shows tenants of ours to those who look at them at another node, and asks other nodes for theirs.
//!
//! Whoever is looked at elsewhere is asked for once a second, and shown for as long as that goes on:
//! so neither side is left with anything when the other dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pbx::board::{Board, What};
use pbx::id::{NodeId, TenantId};
use tokio::time::{Instant, MissedTickBehavior, interval};
use web::boards::Boards;

use super::EVERY;
use crate::net::link::frame::Frame;
use crate::net::link::{Links, Unsent};

/// Tenants that are shown to a node, of all nodes; a further one is not shown, as if we were away.
const MOST: usize = 4_096;

/// Whoever does not ask again within this time looks no more.
const WATCHES_FOR: Duration = Duration::from_secs(4);

/// How often homes are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Changes in a frame: even long ones fit.
const CHANGES: usize = 64;

/// Nodes at which somebody looks at a tenant of ours.
#[derive(Debug, Default)]
pub struct Watchers(Mutex<BTreeMap<(TenantId, NodeId), Watcher>>);

#[derive(Debug)]
struct Watcher {
    until: Instant,
    /// What it sees; `None`: it must be told all.
    sees: Option<Arc<Board>>,
    answer: Answer,
}

/// Whether it must hear that we are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Owed,
    Given,
}

impl Watchers {
    /// A node asks to be shown a tenant, of which it sees so much.
    pub fn watch(&self, now: Instant, tenant: TenantId, node: NodeId, seen: u32) {
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + WATCHES_FOR;
        if let Some(watcher) = watchers.get_mut(&(tenant, node)) {
            let right = |sees: &Arc<Board>| u32::try_from(sees.len()).is_ok_and(|len| len == seen);
            // What was lost on the way, or shown before it was wiped away there, is told again.
            watcher.sees = watcher.sees.take().filter(right);
            (watcher.until, watcher.answer) = (until, Answer::Owed);
        } else if watchers.len() < MOST {
            watchers.insert((tenant, node), Watcher { until, sees: None, answer: Answer::Owed });
        }
    }

    /// What each of them must be told by now, as frames of at most a few changes.
    fn tell(
        &self,
        now: Instant,
        boards: &Boards,
        send: impl Fn(NodeId, Frame) -> Result<(), Unsent>,
    ) {
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, watcher| watcher.until > now);
        for ((tenant, node), watcher) in watchers.iter_mut() {
            let board = boards.now(*tenant);
            let told = watcher
                .news(&board)
                .into_iter()
                .try_for_each(|changes| send(*node, Frame::Show { tenant: *tenant, changes }));
            watcher.sees = told.is_ok().then_some(board);
        }
    }
}

impl Watcher {
    fn news(&mut self, board: &Arc<Board>) -> Vec<Vec<What>> {
        let answer = std::mem::replace(&mut self.answer, Answer::Given);
        let changes = match &self.sees {
            Some(sees) if Arc::ptr_eq(sees, board) => vec![],
            Some(sees) => board.changes_since(sees),
            None => {
                [What::Cleared].into_iter().chain(board.changes_since(&Board::default())).collect()
            }
        };
        match (changes.is_empty(), answer) {
            (true, Answer::Given) => vec![],
            (true, Answer::Owed) => vec![vec![]],
            (false, _) => changes.chunks(CHANGES).map(<[What]>::to_vec).collect(),
        }
    }
}

/// Shows and asks across links, for as long as it is let.
pub async fn across(links: Arc<Links>) {
    let boards = links.boards().clone();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked_at = None::<Instant>;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = boards.looked() => asked_at = None,
        }
        let now = Instant::now();
        if asked_at.is_none_or(|at| now - at >= ASK_EVERY) {
            asked_at = Some(now);
            for (tenant, seen) in boards.looked_at() {
                let seen = u32::try_from(seen).unwrap_or(u32::MAX);
                links.send_all(&Frame::Watch { tenant, seen });
            }
        }
        links.watchers().tell(now, &boards, |node, frame| links.send(node, frame));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use pbx::board::{Change, Phone};
    use pbx::id::BindingId;
    use pbx::moment::Moment;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_watches_is_told_all_and_then_what_changes() {
        let rig = Rig::new();
        rig.show(1..=200);
        rig.watchers.watch(rig.now, tenant(), NodeId(2), 0);
        assert_eq!(rig.told(0), 201, "cleared first, then each phone");
        assert_eq!(rig.frames.borrow().len(), 4, "in frames of 64");
        assert_eq!(rig.told(0), 0);
        assert_eq!(rig.frames.borrow().len(), 0, "nothing is said of nothing");
        rig.show(201..=201);
        assert_eq!(rig.told(0), 1);
        rig.watchers.watch(rig.now, tenant(), NodeId(2), 201);
        assert_eq!(rig.told(0), 0);
        assert_eq!(rig.frames.borrow().len(), 1, "but that we are there");
        assert_eq!(rig.told(5), 0);
        rig.show(202..=202);
        assert_eq!(rig.told(5), 0, "nobody looks any more");
    }

    #[test]
    fn who_sees_less_than_was_told_is_told_again() {
        let rig = Rig::new();
        rig.show(1..=3);
        rig.watchers.watch(rig.now, tenant(), NodeId(2), 0);
        assert_eq!(rig.told(0), 4);
        rig.watchers.watch(rig.now, tenant(), NodeId(2), 2);
        assert_eq!(rig.told(0), 4);
    }

    #[test]
    fn more_watchers_than_there_is_room_for_are_not_shown_anything() {
        let rig = Rig::new();
        for number in 0..=MOST {
            let tenant = TenantId(Uuid::from_u128(number as u128));
            rig.watchers.watch(rig.now, tenant, NodeId(2), 0);
        }
        assert_eq!(rig.watchers.0.lock().unwrap().len(), MOST);
    }

    struct Rig {
        boards: Boards,
        watchers: Watchers,
        now: Instant,
        frames: RefCell<Vec<Frame>>,
    }

    impl Rig {
        fn new() -> Self {
            let (boards, watchers) = (Boards::default(), Watchers::default());
            Self { boards, watchers, now: Instant::now(), frames: RefCell::default() }
        }

        fn show(&self, phones: impl Iterator<Item = u128>) {
            self.boards.apply(phones.map(|number| {
                let phone = Phone {
                    extension: "101".into(),
                    user_agent: "".into(),
                    path: "udp 192.0.2.1:5060".parse().unwrap(),
                    expires_at: Moment::EPOCH,
                    trouble: None,
                };
                let what = What::Phone(BindingId(Uuid::from_u128(number)), Box::new(phone));
                Change { tenant: tenant(), what }
            }));
        }

        /// How many changes are told after so many seconds.
        fn told(&self, seconds: u64) -> usize {
            self.frames.borrow_mut().clear();
            let now = self.now + Duration::from_secs(seconds);
            self.watchers.tell(now, &self.boards, |_, frame| {
                self.frames.borrow_mut().push(frame);
                Ok(())
            });
            let frames = self.frames.borrow();
            let changes = frames.iter().map(|frame| match frame {
                Frame::Show { changes, .. } => changes.len(),
                other => panic!("{other:?}"),
            });
            changes.sum()
        }
    }

    fn tenant() -> TenantId {
        TenantId(Uuid::from_u128(7))
    }
}
