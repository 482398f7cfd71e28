//! This node among others: which tenants are at home here, and under which epoch it writes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pbx::id::{NodeId, TenantId};
use pbx::record::Record;
use store::node::{Skipped, Writer, leases};
use store::{Database, Failure};
use tracing::{debug, warn};

/// How long a lease is held without being renewed: as long as others wait for a node that died.
pub const HOLD_FOR: Duration = Duration::from_secs(30);

/// A third of it: two renewals may fail.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);

/// This node, as its own parts know it.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number, the same for good.
    pub number: NodeId,
    /// This process of it.
    pub boot: u32,
    database: Database,
    /// Replaced whole: whoever writes a group holds the map of that moment.
    epochs: RwLock<Arc<BTreeMap<TenantId, i64>>>,
}

impl Node {
    /// Nobody is at home yet.
    pub fn new(name: String, number: NodeId, boot: u32, database: Database) -> Self {
        Self { name, number, boot, database, epochs: RwLock::default() }
    }

    /// Where it is all stored.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The epochs of the tenants that are at home here.
    pub fn epochs(&self) -> Arc<BTreeMap<TenantId, i64>> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what is free of `tenants`.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn take(&self, tenants: &[TenantId]) -> Result<(), Failure> {
        if tenants.is_empty() {
            return Ok(());
        }
        let taken = leases::take(&self.database, &self.name, tenants, HOLD_FOR).await?;
        self.change_epochs(|epochs| {
            epochs.extend(taken.iter().map(|lease| (lease.tenant, lease.epoch)));
        });
        Ok(())
    }

    /// Keeps what is held; those that another node has taken are answered.
    ///
    /// # Errors
    /// If Postgres is away: then all are served on.
    pub async fn renew(&self) -> Result<Vec<TenantId>, Failure> {
        let before = self.epochs();
        let held = leases::renew(&self.database, &self.name, HOLD_FOR).await?;
        let held: BTreeMap<_, _> = held.iter().map(|lease| (lease.tenant, lease.epoch)).collect();
        let lost = |(tenant, epoch): (&TenantId, &i64)| {
            (held.get(tenant) != Some(epoch)).then_some(*tenant)
        };
        Ok(before.iter().filter_map(lost).collect())
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
    /// If Postgres is away: then the leases run out.
    pub async fn leave(&self) -> Result<(), Failure> {
        leases::release(&self.database, &self.name).await?;
        store::node::nodes::left(&self.database, &self.name, self.boot).await
    }

    /// Writes a group of records; returns how many can never be stored.
    ///
    /// # Errors
    /// If Postgres is away or does not work: then nothing is written.
    pub async fn write(&self, records: &[Record]) -> Result<usize, Failure> {
        let epochs = self.epochs();
        let writer = Writer { node: &self.name, epochs: &epochs };
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
