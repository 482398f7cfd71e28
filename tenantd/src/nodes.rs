//! This node among others: which tenants are at home here, and under which epoch it writes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pbx::id::{NodeId, TenantId};
use pbx::record::Record;
use store::node::feed::Tenancy;
use store::node::nodes::Myself;
use store::node::{Skipped, Writer, leases, nodes};
use store::{Database, Failure};
use tracing::{debug, warn};

/// For how long others count on us after we last said that we are alive: as long as tenants of a
/// node that died wait for another.
pub const HOLD_FOR: Duration = Duration::from_secs(3);

/// This node, as its own parts know it.
#[derive(Debug)]
pub struct Node {
    /// As others see it.
    pub shown: Myself,
    /// Its number, the same for good.
    pub number: NodeId,
    database: Database,
    /// Replaced whole: whoever writes a group holds the map of that moment.
    epochs: RwLock<Arc<BTreeMap<TenantId, i64>>>,
}

impl Node {
    /// Nobody is at home yet.
    pub fn new(shown: Myself, number: NodeId, database: Database) -> Self {
        Self { shown, number, database, epochs: RwLock::default() }
    }

    /// Where it is all stored.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The epochs of the tenants that are at home here.
    pub fn epochs(&self) -> Arc<BTreeMap<TenantId, i64>> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that we are alive.
    ///
    /// # Errors
    /// If Postgres is away: then all are served on.
    pub async fn stay(&self) -> Result<(), Failure> {
        nodes::seen(&self.database, &self.shown, HOLD_FOR).await
    }

    /// Takes what is free of `tenants`; the answer is how many it got.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn take(&self, tenants: &[TenantId]) -> Result<usize, Failure> {
        if tenants.is_empty() {
            return Ok(0);
        }
        let taken = leases::take(&self.database, &self.shown.name, tenants).await?;
        self.change_epochs(|epochs| {
            epochs.extend(taken.iter().map(|lease| (lease.tenant, lease.epoch)));
        });
        Ok(taken.len())
    }

    /// Of what was at home here: what another node, or another process of this one, has taken.
    pub fn lost(&self, tenancies: &[Tenancy]) -> Vec<TenantId> {
        let epochs = self.epochs();
        let is_lost = |tenancy: &&Tenancy| {
            let ours = epochs.get(&tenancy.tenant);
            ours.is_some_and(|ours| {
                tenancy.epoch > *ours || tenancy.holder.as_ref() != Some(&self.shown.name)
            })
        };
        tenancies.iter().filter(is_lost).map(|tenancy| tenancy.tenant).collect()
    }

    /// A tenant is no longer at home here.
    pub fn forget(&self, tenant: TenantId) {
        self.change_epochs(|epochs| {
            epochs.remove(&tenant);
        });
    }

    /// Lets go of all, at a stop.
    ///
    /// # Errors
    /// If Postgres is away: then others wait for us in vain for a while.
    pub async fn leave(&self) -> Result<(), Failure> {
        nodes::left(&self.database, &self.shown.name, self.shown.boot).await
    }

    /// Writes a group of records; returns how many can never be stored.
    ///
    /// # Errors
    /// If Postgres is away or does not work: then nothing is written.
    pub async fn write(&self, records: &[Record]) -> Result<usize, Failure> {
        let epochs = self.epochs();
        let writer = Writer { node: &self.shown.name, epochs: &epochs };
        let written = store::node::write(&self.database, writer, records).await?;
        for (record, why) in &written.skipped {
            match why {
                Skipped::NotOurs | Skipped::Superseded | Skipped::UserGone => {
                    debug!(record = %record, ?why, "a record is left out");
                }
                Skipped::Unfit(why) => warn!(record = %record, why, "postgres refuses a record"),
            }
        }
        Ok(written.skipped.len())
    }

    fn change_epochs(&self, change: impl FnOnce(&mut BTreeMap<TenantId, i64>)) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut epochs));
    }
}
