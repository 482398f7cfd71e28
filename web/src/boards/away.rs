//! Boards of tenants that live on another node: who is looked at here, and whether their home is
//! heard.
//!
//! Whoever looks says so; the link asks the home as long as somebody does, and brings what it shows.
//! A home that is not heard is said to be away, instead of showing an old picture.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pbx::board::{Board, Change, What};
use pbx::id::TenantId;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::Boards;

/// Tenants of other nodes that are looked at here at once; a further one is said to be away.
const LOOKS: usize = 1_000;

/// How long somebody looks who does not look again: a page asks every two seconds.
const LOOKS_FOR: Duration = Duration::from_secs(10);

/// A home that has said nothing for so long cannot be reached: it says something each second.
const SILENT_FOR: Duration = Duration::from_secs(3);

/// How long the first look waits for the home.
const WAIT_FOR: Duration = Duration::from_secs(1);

/// A board, and how true it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What is seen.
    pub board: Arc<Board>,
    /// Whether that is what is.
    pub sight: Sight,
}

/// Whether a board shows what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It does.
    Clear,
    /// The tenant's home cannot be reached from here.
    Lost,
}

/// Whether a tenant lives on this node.
type IsHere = dyn Fn(TenantId) -> bool + Send + Sync;

/// Those that are looked at, and live elsewhere.
#[derive(Default)]
pub(super) struct Away {
    /// `None`: there are no other nodes.
    is_here: Option<Box<IsHere>>,
    looks: Mutex<BTreeMap<TenantId, Look>>,
    looked: Notify,
    heard: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    looked_at: Instant,
    heard_at: Option<Instant>,
}

impl Look {
    fn sight(self) -> Sight {
        match self.heard_at.is_some_and(|at| at.elapsed() < SILENT_FOR) {
            true => Sight::Clear,
            false => Sight::Lost,
        }
    }
}

impl Away {
    fn is_here(&self, tenant: TenantId) -> bool {
        self.is_here.as_ref().is_none_or(|is_here| is_here(tenant))
    }

    fn looks(&self) -> MutexGuard<'_, BTreeMap<TenantId, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Away").field("looks", &self.looks).finish_non_exhaustive()
    }
}

impl Boards {
    /// Boards of a node that has peers: `is_here` knows which tenants live on it.
    pub fn among_nodes(is_here: impl Fn(TenantId) -> bool + Send + Sync + 'static) -> Self {
        let away = Away { is_here: Some(Box::new(is_here)), ..Away::default() };
        Self { away: Arc::new(away), ..Self::default() }
    }

    /// A tenant's board, wherever it lives; the first look waits a moment for what its home says.
    pub async fn look(&self, tenant: TenantId) -> Seen {
        if self.away.is_here(tenant) {
            return Seen { board: self.now(tenant), sight: Sight::Clear };
        }
        let until = Instant::now() + WAIT_FOR;
        let mut sight = self.note_look(tenant);
        while sight == Some(Sight::Lost) {
            let heard = self.away.heard.notified();
            sight = self.away.looks().get(&tenant).map(|look| look.sight());
            if sight == Some(Sight::Lost) && timeout_at(until, heard).await.is_err() {
                break;
            }
        }
        match sight {
            Some(Sight::Clear) => Seen { board: self.now(tenant), sight: Sight::Clear },
            Some(Sight::Lost) | None => Seen { board: Arc::default(), sight: Sight::Lost },
        }
    }

    /// A tenant's board if it is at hand: it lives here, or is being looked at.
    pub fn glance(&self, tenant: TenantId) -> Option<Arc<Board>> {
        let look = || self.away.looks().get(&tenant).copied();
        let known =
            self.away.is_here(tenant) || look().is_some_and(|look| look.sight() == Sight::Clear);
        known.then(|| self.now(tenant))
    }

    /// Waits until somebody looks at a tenant that nobody looked at before.
    pub async fn looked(&self) {
        self.away.looked.notified().await;
    }

    /// The tenants of other nodes that somebody looks at, and how much is seen of each.
    pub fn looked_at(&self) -> Vec<(TenantId, usize)> {
        let mut looks = self.away.looks();
        let over = |look: &Look| look.looked_at.elapsed() >= LOOKS_FOR;
        let gone: Vec<TenantId> =
            looks.iter().filter(|(_, look)| over(look)).map(|(tenant, _)| *tenant).collect();
        for tenant in gone {
            looks.remove(&tenant);
            self.clear(tenant);
        }
        looks.keys().map(|tenant| (*tenant, self.now(*tenant).len())).collect()
    }

    /// A tenant's home shows this, or says by nothing that it is there.
    pub fn hear(&self, tenant: TenantId, changes: Vec<What>) {
        let mut looks = self.away.looks();
        let Some(look) = looks.get_mut(&tenant).filter(|_| !self.away.is_here(tenant)) else {
            return;
        };
        look.heard_at = Some(Instant::now());
        self.apply(changes.into_iter().map(|what| Change { tenant, what }));
        drop(looks);
        self.away.heard.notify_waiters();
    }

    /// A tenant is about to live here: what was seen of it from afar goes.
    pub fn come_home(&self, tenant: TenantId) {
        let mut looks = self.away.looks();
        if looks.remove(&tenant).is_some() {
            self.clear(tenant);
        }
    }

    fn note_look(&self, tenant: TenantId) -> Option<Sight> {
        let mut looks = self.away.looks();
        let now = Instant::now();
        if let Some(look) = looks.get_mut(&tenant) {
            look.looked_at = now;
            return Some(look.sight());
        }
        if looks.len() >= LOOKS {
            return None;
        }
        looks.insert(tenant, Look { looked_at: now, heard_at: None });
        self.away.looked.notify_one();
        Some(Sight::Lost)
    }

    fn clear(&self, tenant: TenantId) {
        self.apply([Change { tenant, what: What::Cleared }]);
    }
}

#[cfg(test)]
mod tests {
    use pbx::board::Phone;
    use pbx::id::BindingId;
    use pbx::moment::Moment;
    use tokio::time::sleep;
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_lives_here_is_seen_at_once() {
        let boards = Boards::among_nodes(|_| true);
        let seen = boards.look(tenant(1)).await;
        assert_eq!(seen.sight, Sight::Clear);
        assert!(boards.looked_at().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_home_shows_is_seen_while_somebody_looks() {
        let boards = Boards::among_nodes(|_| false);
        let (other, looker) = (boards.clone(), boards.clone());
        let looking = tokio::spawn(async move { looker.look(tenant(1)).await });
        other.looked().await;
        assert_eq!(boards.looked_at(), [(tenant(1), 0)]);
        boards.hear(tenant(2), vec![phone(2)]);
        boards.hear(tenant(1), vec![phone(1)]);
        let seen = looking.await.unwrap();
        assert_eq!((seen.sight, seen.board.len()), (Sight::Clear, 1));
        assert!(boards.now(tenant(2)).is_empty(), "nobody looks at it");
        sleep(LOOKS_FOR).await;
        assert!(boards.looked_at().is_empty());
        assert!(boards.now(tenant(1)).is_empty(), "what nobody looks at is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_home_that_falls_silent_is_said_to_be_away() {
        let boards = Boards::among_nodes(|_| false);
        let started = Instant::now();
        assert_eq!(boards.look(tenant(1)).await.sight, Sight::Lost);
        assert!(started.elapsed() <= WAIT_FOR + Duration::from_millis(5));
        boards.hear(tenant(1), vec![phone(1)]);
        assert_eq!(boards.look(tenant(1)).await.sight, Sight::Clear);
        assert!(boards.glance(tenant(1)).is_some());
        sleep(SILENT_FOR).await;
        let seen = boards.look(tenant(1)).await;
        assert_eq!((seen.sight, seen.board.len()), (Sight::Lost, 0));
        assert!(boards.glance(tenant(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_seen_from_afar_is_left_when_a_tenant_comes_here() {
        let boards = Boards::among_nodes(|_| false);
        let _lost = boards.look(tenant(1)).await;
        boards.hear(tenant(1), vec![phone(1)]);
        boards.come_home(tenant(1));
        assert!(boards.now(tenant(1)).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn more_tenants_than_can_be_looked_at_are_said_to_be_away_at_once() {
        let boards = Boards::among_nodes(|_| false);
        for number in 0..LOOKS {
            boards.note_look(tenant(number as u128 + 10));
        }
        let started = Instant::now();
        assert_eq!(boards.look(tenant(1)).await.sight, Sight::Lost);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn phone(number: u128) -> What {
        let phone = Phone {
            extension: "101".into(),
            user_agent: "".into(),
            path: "udp 192.0.2.1:5060".parse().unwrap(),
            expires_at: Moment::EPOCH,
            trouble: None,
        };
        What::Phone(BindingId(Uuid::from_u128(number)), Box::new(phone))
    }
}
