//! A tenant's home: which node serves it, and since which epoch.
//!
//! Whoever takes a lease raises its epoch; what an earlier holder still writes is then refused.
//! Times are Postgres's, so that clocks of nodes need not agree.

use std::time::Duration;

use pbx::id::TenantId;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::database::Database;
use crate::failure::Failure;
use crate::query::Query;

/// Waits for writes of the earlier holder that are on their way.
const LOCK: &str = "
    SELECT tenant_id FROM lease WHERE tenant_id = ANY ($1) ORDER BY tenant_id FOR UPDATE";

const TAKE: &str = "
    INSERT INTO lease (tenant_id, node, epoch, until_at)
    SELECT id, $2, 1, now() + $3 FROM tenant WHERE id = ANY ($1)
    ON CONFLICT (tenant_id) DO UPDATE
        SET node = excluded.node, epoch = lease.epoch + 1, until_at = excluded.until_at
        WHERE lease.until_at < now() OR lease.node = excluded.node
    RETURNING tenant_id, epoch";

const RENEW: &str = "
    WITH mine AS (
        SELECT tenant_id FROM lease WHERE node = $1 ORDER BY tenant_id FOR NO KEY UPDATE)
    UPDATE lease SET until_at = now() + $2 FROM mine WHERE lease.tenant_id = mine.tenant_id
    RETURNING lease.tenant_id, lease.epoch";

const RELEASE: &str = "UPDATE lease SET until_at = now() WHERE node = $1 AND until_at > now()";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::node("lock", LOCK),
    Query::node("take", TAKE),
    Query::node("renew", RENEW),
    Query::node("release", RELEASE),
];

/// A tenant that is at home here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Who.
    pub tenant: TenantId,
    /// Which writes are ours.
    pub epoch: i64,
}

/// Takes what is free, has run out, or was this node's before; the answer is what it got.
///
/// # Errors
/// If Postgres is away: then nobody takes anything.
pub async fn take(
    database: &Database,
    node: &str,
    tenants: &[TenantId],
    hold_for: Duration,
) -> Result<Vec<Lease>, Failure> {
    let ids: Vec<Uuid> = tenants.iter().map(|tenant| tenant.0).collect();
    let mut transaction = database.node.begin().await?;
    sqlx::query(LOCK).bind(&ids).execute(&mut *transaction).await?;
    let query = sqlx::query_as(TAKE).bind(&ids).bind(node).bind(interval(hold_for));
    let taken = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(leases(taken))
}

/// Keeps what this node holds; the answer is all of it. What is missing was taken by another.
///
/// # Errors
/// If Postgres is away: the holder goes on serving.
pub async fn renew(
    database: &Database,
    node: &str,
    hold_for: Duration,
) -> Result<Vec<Lease>, Failure> {
    let query = sqlx::query_as(RENEW).bind(node).bind(interval(hold_for));
    Ok(leases(query.fetch_all(&database.node).await?))
}

/// Lets go of everything, at a stop.
///
/// # Errors
/// If Postgres is away: then the leases run out.
pub async fn release(database: &Database, node: &str) -> Result<(), Failure> {
    sqlx::query(RELEASE).bind(node).execute(&database.node).await?;
    Ok(())
}

fn leases(rows: Vec<(Uuid, i64)>) -> Vec<Lease> {
    rows.into_iter().map(|(id, epoch)| Lease { tenant: TenantId(id), epoch }).collect()
}

fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
