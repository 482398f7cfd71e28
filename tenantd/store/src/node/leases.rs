//! A tenant's home: which node serves it, and since which epoch.
//!
//! Whoever takes a lease raises its epoch; what an earlier holder still writes is then refused. A
//! lease lasts as long as its node is alive ([`super::nodes`]), so that ten thousand tenants cost no
//! more to keep than one. Times are Postgres's, so that clocks of nodes need not agree.

use pbx::id::TenantId;
use uuid::Uuid;

use crate::database::{BEGIN, Database, begin};
use crate::failure::Failure;
use crate::query::Query;

/// Waits for writes of the earlier holders that are on their way.
const WAIT: &str = "
    SELECT pg_advisory_xact_lock(writes_of(node))
    FROM (SELECT DISTINCT node FROM lease WHERE tenant_id = ANY ($1) ORDER BY node) AS holder";

/// In order, so that two who take the same tenants do not hold each other up.
const LOCK: &str = "
    SELECT tenant_id FROM lease WHERE tenant_id = ANY ($1) ORDER BY tenant_id FOR UPDATE";

/// A node that left is not in the table any more; one of the release before has no `until_at`.
const TAKE: &str = "
    INSERT INTO lease (tenant_id, node, epoch, until_at)
    SELECT id, $2, 1, 'infinity' FROM tenant WHERE id = ANY ($1)
    ON CONFLICT (tenant_id) DO UPDATE
        SET node = excluded.node, epoch = lease.epoch + 1, until_at = excluded.until_at
        WHERE lease.until_at < now() OR lease.node = excluded.node
           OR NOT EXISTS (SELECT FROM node n WHERE n.name = lease.node
                AND coalesce(n.until_at, n.seen_at + interval '30 seconds') > now())
    RETURNING tenant_id, epoch";

/// The queries of this file.
pub const QUERIES: &[Query] =
    &[Query::node("wait", WAIT), Query::node("lock", LOCK), Query::node("take", TAKE)];

/// A tenant that is at home here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Who.
    pub tenant: TenantId,
    /// Which writes are ours.
    pub epoch: i64,
}

/// Takes what is free, was this node's before, or is held by a node that is not alive; the answer is
/// what it got.
///
/// # Errors
/// If Postgres is away: then nobody takes anything.
pub async fn take(
    database: &Database,
    node: &str,
    tenants: &[TenantId],
) -> Result<Vec<Lease>, Failure> {
    let ids: Vec<Uuid> = tenants.iter().map(|tenant| tenant.0).collect();
    let mut transaction = begin(&database.node, BEGIN).await?;
    for query in [WAIT, LOCK] {
        sqlx::query(query).bind(&ids).execute(&mut *transaction).await?;
    }
    let query = sqlx::query_as(TAKE).bind(&ids).bind(node);
    let taken: Vec<(Uuid, i64)> = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(taken.into_iter().map(|(id, epoch)| Lease { tenant: TenantId(id), epoch }).collect())
}
