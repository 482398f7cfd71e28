//! Live boards, for whoever looks: each tenant's newest picture, and word when there is a newer one.
//!
//! A tenant that lives on another node is seen as long as somebody looks (`away`).

mod away;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use pbx::board::{Board, Change, What};
use pbx::id::TenantId;
use tokio::sync::watch;

pub use away::{Seen, Sight};

use self::away::Away;

/// All tenants' boards. A clone shows the same ones.
///
/// There is a board for each tenant that has shown something or been looked at.
#[derive(Debug, Clone, Default)]
pub struct Boards {
    tenants: Arc<Mutex<BTreeMap<TenantId, watch::Sender<Arc<Board>>>>>,
    away: Arc<Away>,
}

impl Boards {
    /// A tenant's board as it is now.
    pub fn now(&self, tenant: TenantId) -> Arc<Board> {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).map(|board| board.borrow().clone()).unwrap_or_default()
    }

    /// A tenant's board from now on. Whoever asks must have checked who may see it.
    pub fn watch(&self, tenant: TenantId) -> watch::Receiver<Arc<Board>> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant).or_default().subscribe()
    }

    /// Takes changes over, in order; those who watch a tenant hear of its changes once.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mut by_tenant = BTreeMap::<TenantId, Vec<What>>::new();
        for Change { tenant, what } in changes {
            by_tenant.entry(tenant).or_default().push(what);
        }
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, changes) in by_tenant {
            let board = tenants.entry(tenant).or_default();
            board.send_modify(|board| {
                // It is copied only if somebody still looks at the picture before.
                let board = Arc::make_mut(board);
                changes.into_iter().for_each(|what| board.apply(what));
            });
            let nothing_left = board.borrow().is_empty();
            if nothing_left && board.is_closed() {
                tenants.remove(&tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

    use pbx::board::Phone;
    use pbx::flow::{Path, Peer};
    use pbx::id::{BindingId, NodeId};
    use pbx::moment::Moment;
    use uuid::Uuid;

    use super::*;

    const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));

    #[test]
    fn who_watches_a_tenant_hears_of_its_changes_and_of_no_others() {
        let boards = Boards::default();
        let (mut ours, theirs) = (boards.watch(tenant(1)), boards.watch(tenant(2)));
        boards.apply([phone(1, 10), phone(1, 11)]);
        assert!(ours.has_changed().unwrap() && !theirs.has_changed().unwrap());
        assert_eq!(ours.borrow_and_update().phones.len(), 2);
        assert_eq!(theirs.borrow().phones.len(), 0);
    }

    #[test]
    fn an_old_picture_does_not_change_under_who_looks_at_it() {
        let boards = Boards::default();
        boards.apply([phone(1, 10)]);
        let before = boards.now(tenant(1));
        boards.apply([Change { tenant: tenant(1), what: What::PhoneGone(binding(10)) }]);
        assert_eq!((before.phones.len(), boards.now(tenant(1)).phones.len()), (1, 0));
    }

    #[test]
    fn a_tenant_that_left_is_forgotten_once_nobody_watches() {
        let boards = Boards::default();
        let watcher = boards.watch(tenant(1));
        let cleared = || Change { tenant: tenant(1), what: What::Cleared };
        boards.apply([phone(1, 10), cleared()]);
        assert_eq!(boards.tenants.lock().unwrap().len(), 1);
        drop(watcher);
        boards.apply([cleared()]);
        assert!(boards.tenants.lock().unwrap().is_empty());
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn binding(number: u128) -> BindingId {
        BindingId(Uuid::from_u128(number))
    }

    fn phone(of: u128, number: u128) -> Change {
        let phone = Phone {
            extension: "101".into(),
            user_agent: "".into(),
            path: Peer::from(&Path::udp(NodeId(1), NOBODY, NOBODY)),
            expires_at: Moment::EPOCH,
            trouble: None,
        };
        Change { tenant: tenant(of), what: What::Phone(binding(number), Box::new(phone)) }
    }
}
