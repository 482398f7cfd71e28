//! Writes what switches remember, in groups: one transaction for many records of many tenants.
//!
//! Writing a record again changes nothing, and an older one never replaces a newer one, so a
//! journal can be replayed from any point. A record that cannot be stored (its tenant is gone, or
//! another node serves it by now) is reported and never holds up the others.

use std::collections::BTreeMap;

use pbx::id::{BindingId, RecordId, TenantId};
use pbx::moment::Moment;
use pbx::record::{Memory, Record};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::bindings::{self, Left};
use super::calls;
use crate::database::{BEGIN, Database, begin};
use crate::failure::Failure;
use crate::query::Query;

/// Whoever takes a tenant from this node waits until the transaction is over.
const EPOCHS: &str = "SELECT tenant_id, epoch FROM epochs_for($1, $2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[Query::node("epochs", EPOCHS)];

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// This node.
    pub node: &'a str,
    /// The epochs of its leases ([`super::leases`]).
    pub epochs: &'a BTreeMap<TenantId, i64>,
}

/// What became of a group: all of it is stored, but for these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Records that will never be stored, with the reason.
    pub skipped: Vec<(RecordId, Skipped)>,
}

/// Why a record will never be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// The tenant is gone, or was never at home here.
    NotOurs,
    /// Another node took the tenant over; what it says counts.
    Superseded,
    /// The extension is gone.
    UserGone,
    /// Postgres cannot hold it.
    Unfit(String),
}

/// Writes a group of records, up to some hundreds; their order is that of the slice.
///
/// # Errors
/// If Postgres is away or refuses for a reason that is not in a record: then nothing is written,
/// and the same group can be written again later.
pub async fn write(
    database: &Database,
    writer: Writer<'_>,
    records: &[Record],
) -> Result<Written, Failure> {
    let mut written = Written::default();
    // A group with a record that Postgres cannot hold is halved until that one is alone.
    let mut groups = vec![records];
    while let Some(group) = groups.pop() {
        match write_group(database, writer, group).await {
            Ok(skipped) => written.skipped.extend(skipped),
            Err(Failure::Refused(error)) if is_in_the_data(&error) => match group {
                [] => {}
                [record] => {
                    written.skipped.push((record.id, Skipped::Unfit(error.to_string())));
                }
                _ => {
                    let (first, second) = group.split_at(group.len() / 2);
                    groups.extend([second, first]);
                }
            },
            Err(failure) => return Err(failure),
        }
    }
    Ok(written)
}

/// SQLSTATE classes 22 (data exception) and 23 (integrity constraint).
fn is_in_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// Registrations and calls are written apart: mostly a group has only one kind.
async fn write_group(
    database: &Database,
    writer: Writer<'_>,
    records: &[Record],
) -> Result<Vec<(RecordId, Skipped)>, Failure> {
    let mut skipped = write_bindings(database, writer, records).await?;
    skipped.extend(write_calls(database, writer, records).await?);
    Ok(skipped)
}

async fn write_bindings(
    database: &Database,
    writer: Writer<'_>,
    records: &[Record],
) -> Result<Vec<(RecordId, Skipped)>, Failure> {
    let mut skipped = vec![];
    let mut group = bindings::Group::default();
    for record in records {
        let key = |id: BindingId| (record.tenant, id);
        match (&record.what, writer.epochs.get(&record.tenant)) {
            (Memory::Live { .. } | Memory::Ended(_), _) => {}
            (_, None) => skipped.push((record.id, Skipped::NotOurs)),
            (Memory::Bound(binding), Some(epoch)) => {
                group.epochs.insert(record.tenant, *epoch);
                group.bound.insert(key(binding.id), (record, binding));
            }
            (Memory::Unbound(id), Some(epoch)) => {
                group.epochs.insert(record.tenant, *epoch);
                group.over.insert(key(*id), record);
            }
        }
    }
    while !group.epochs.is_empty() {
        let mut again = false;
        for left in group.write(database, writer.node).await? {
            match left {
                Left::Homeless(tenant, id) => {
                    let record = group.bound.get(&(tenant, id)).map(|(record, _)| record.id);
                    skipped.extend(record.map(|record| (record, Skipped::UserGone)));
                }
                Left::Taken(tenant) => {
                    again = true;
                    skipped.extend(group.leave_out(tenant).map(|id| (id, Skipped::Superseded)));
                }
                Left::Unknown(tenant) => {
                    again = true;
                    skipped.extend(group.leave_out(tenant).map(|id| (id, Skipped::NotOurs)));
                }
            }
        }
        // Nothing was written, but without these tenants all else will be.
        if !again {
            break;
        }
    }
    Ok(skipped)
}

async fn write_calls(
    database: &Database,
    writer: Writer<'_>,
    records: &[Record],
) -> Result<Vec<(RecordId, Skipped)>, Failure> {
    let mut tenants: Vec<Uuid> = records.iter().filter_map(live_tenant).collect();
    let has_ended = records.iter().any(|record| matches!(record.what, Memory::Ended(_)));
    if tenants.is_empty() && !has_ended {
        return Ok(vec![]);
    }
    tenants.sort_unstable();
    tenants.dedup();
    let mut transaction = begin(&database.node, BEGIN).await?;
    let here = epochs(&mut transaction, writer.node, tenants).await?;
    let mut group = Calls::default();
    for record in records {
        group.sort_in(record, writer, &here);
    }
    // What is over comes first: it keeps what came before it from coming back.
    let over: Vec<_> = group.over.into_iter().map(|((tenant, id), at)| (tenant, id, at)).collect();
    calls::end(&mut transaction, &over).await?;
    let live: Vec<_> = group.live.into_values().collect();
    calls::write_live(&mut transaction, writer.node, &live).await?;
    let ended: Vec<_> = group.ended.into_values().collect();
    let strangers = calls::write(&mut transaction, writer.node, &ended).await?;
    transaction.commit().await?;

    let mut skipped = group.skipped;
    skipped.extend(strangers.into_iter().map(|record| (record, Skipped::NotOurs)));
    Ok(skipped)
}

fn live_tenant(record: &Record) -> Option<Uuid> {
    match record.what {
        Memory::Live { .. } => Some(record.tenant.0),
        Memory::Bound(_) | Memory::Unbound(_) | Memory::Ended(_) => None,
    }
}

async fn epochs(
    transaction: &mut Transaction<'static, Postgres>,
    node: &str,
    tenants: Vec<Uuid>,
) -> Result<BTreeMap<TenantId, i64>, Failure> {
    if tenants.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = sqlx::query_as(EPOCHS).bind(node).bind(tenants);
    let rows: Vec<(Uuid, i64)> = query.fetch_all(&mut **transaction).await?;
    Ok(rows.into_iter().map(|(tenant, epoch)| (TenantId(tenant), epoch)).collect())
}

/// A group's last word on each call: a statement may touch a row only once.
#[derive(Default)]
struct Calls<'r> {
    live: BTreeMap<(TenantId, Uuid), calls::Live<'r>>,
    ended: BTreeMap<(TenantId, Uuid), calls::Ended<'r>>,
    over: BTreeMap<(TenantId, Uuid), Moment>,
    skipped: Vec<(RecordId, Skipped)>,
}

impl<'r> Calls<'r> {
    fn sort_in(&mut self, record: &'r Record, writer: Writer<'_>, here: &BTreeMap<TenantId, i64>) {
        let tenant = record.tenant;
        match &record.what {
            Memory::Bound(_) | Memory::Unbound(_) => {}
            Memory::Live { call, facts } => match (writer.epochs.get(&tenant), here.get(&tenant)) {
                (Some(ours), Some(latest)) if latest > ours => {
                    self.skipped.push((record.id, Skipped::Superseded));
                }
                (Some(ours), Some(_)) => {
                    let live = calls::Live { record, call: *call, facts, epoch: *ours };
                    self.live.insert((tenant, call.0), live);
                }
                (None, _) | (_, None) => self.skipped.push((record.id, Skipped::NotOurs)),
            },
            // How a call went is true whoever serves the tenant by now.
            Memory::Ended(call) => {
                // Records come in their order: what was alive before is not worth a row.
                self.live.remove(&(tenant, call.call.0));
                self.over.insert((tenant, call.call.0), record.at);
                self.ended.insert((tenant, call.call.0), calls::Ended { record, call });
            }
        }
    }
}
