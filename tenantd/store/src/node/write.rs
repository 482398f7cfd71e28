//! Writes what switches remember, in groups: one transaction for many records of many tenants.
//!
//! Writing a record again changes nothing, and an older one never replaces a newer one, so a
//! journal can be replayed from any point. A record that cannot be stored (its tenant is gone, or
//! another node serves it by now) is reported and never holds up the others.

use std::collections::BTreeMap;

use pbx::id::{RecordId, TenantId};
use pbx::moment::Moment;
use pbx::record::{Memory, Record};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::{bindings, calls, gone};
use crate::database::Database;
use crate::failure::Failure;
use crate::query::Query;

/// Locks against a new holder, not against our own renewal.
const EPOCHS: &str = "
    SELECT tenant_id, epoch FROM lease WHERE tenant_id = ANY ($1) ORDER BY tenant_id
    FOR KEY SHARE";

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

async fn write_group(
    database: &Database,
    writer: Writer<'_>,
    records: &[Record],
) -> Result<Vec<(RecordId, Skipped)>, Failure> {
    let mut transaction = database.node.begin().await?;
    let here = epochs(&mut transaction, records).await?;
    let mut group = Group::default();
    for record in records {
        group.sort_in(record, writer, &here);
    }
    // What is over comes first: it keeps what came before it from coming back.
    let over: Vec<_> = group.over.into_iter().map(|((tenant, id), at)| (tenant, id, at)).collect();
    gone::write(&mut transaction, &over).await?;
    let bound: Vec<_> = group.bound.into_values().collect();
    let homeless = bindings::write(&mut transaction, writer.node, &bound).await?;
    let live: Vec<_> = group.live.into_values().collect();
    calls::write_live(&mut transaction, writer.node, &live).await?;
    let ended: Vec<_> = group.ended.into_values().collect();
    let strangers = calls::write(&mut transaction, writer.node, &ended).await?;
    transaction.commit().await?;

    let mut skipped = group.skipped;
    skipped.extend(homeless.into_iter().map(|record| (record, Skipped::UserGone)));
    skipped.extend(strangers.into_iter().map(|record| (record, Skipped::NotOurs)));
    Ok(skipped)
}

async fn epochs(
    transaction: &mut Transaction<'static, Postgres>,
    records: &[Record],
) -> Result<BTreeMap<TenantId, i64>, Failure> {
    let guarded = records.iter().filter(|record| !matches!(record.what, Memory::Ended(_)));
    let mut tenants: Vec<Uuid> = guarded.map(|record| record.tenant.0).collect();
    tenants.sort_unstable();
    tenants.dedup();
    if tenants.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as(EPOCHS).bind(tenants).fetch_all(&mut **transaction).await?;
    Ok(rows.into_iter().map(|(tenant, epoch)| (TenantId(tenant), epoch)).collect())
}

/// A group's last word on each thing: a statement may touch a row only once.
#[derive(Default)]
struct Group<'r> {
    bound: BTreeMap<(TenantId, Uuid), bindings::Bound<'r>>,
    live: BTreeMap<(TenantId, Uuid), calls::Live<'r>>,
    ended: BTreeMap<(TenantId, Uuid), calls::Ended<'r>>,
    over: BTreeMap<(TenantId, Uuid), Moment>,
    skipped: Vec<(RecordId, Skipped)>,
}

impl<'r> Group<'r> {
    fn sort_in(&mut self, record: &'r Record, writer: Writer<'_>, here: &BTreeMap<TenantId, i64>) {
        let tenant = record.tenant;
        let epoch = match (&record.what, writer.epochs.get(&tenant), here.get(&tenant)) {
            // How a call went is true whoever serves the tenant by now.
            (Memory::Ended(_), _, _) => 0,
            (_, Some(ours), Some(latest)) if latest > ours => {
                return self.skipped.push((record.id, Skipped::Superseded));
            }
            (_, Some(ours), Some(_)) => *ours,
            (_, None, _) | (_, _, None) => {
                return self.skipped.push((record.id, Skipped::NotOurs));
            }
        };
        match &record.what {
            Memory::Bound(binding) => {
                let bound = bindings::Bound { record, binding, epoch };
                self.bound.insert((tenant, binding.id.0), bound);
            }
            Memory::Unbound(binding) => drop(self.over.insert((tenant, binding.0), record.at)),
            Memory::Live { call, facts } => {
                let live = calls::Live { record, call: *call, facts, epoch };
                self.live.insert((tenant, call.0), live);
            }
            Memory::Ended(call) => {
                // Records come in their order: what was alive before is not worth a row.
                self.live.remove(&(tenant, call.call.0));
                self.over.insert((tenant, call.call.0), record.at);
                self.ended.insert((tenant, call.call.0), calls::Ended { record, call });
            }
        }
    }
}
