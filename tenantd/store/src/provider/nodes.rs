//! Which nodes live, and whether they serve what was published.

use std::time::Duration;

use pbx::id::TenantId;
use uuid::Uuid;

use crate::database::Database;
use crate::failure::Failure;
use crate::query::Query;

/// A node that has been silent for longer counts as dead.
pub const ALIVE_FOR: Duration = Duration::from_secs(5);

const NODES: &str = "
    SELECT name, extract(epoch FROM now() - seen_at)::float8 < $1 AS alive FROM node ORDER BY name";

/// Pairs of a live node and a tenant that it does not yet serve as it was published.
const BEHIND: &str = "
    SELECT n.name, published.tenant_id
    FROM node n
    CROSS JOIN unnest($2::uuid[], $3::bigint[]) AS published (tenant_id, version)
    JOIN tenant t ON t.id = published.tenant_id
    LEFT JOIN node_tenant s ON s.node = n.name AND s.tenant_id = published.tenant_id
    WHERE extract(epoch FROM now() - n.seen_at)::float8 < $1
      AND coalesce(s.version, 0) < published.version
    ORDER BY n.name, published.tenant_id";

/// The queries of this file.
pub const QUERIES: &[Query] = &[Query::provider("nodes", NODES), Query::provider("behind", BEHIND)];

/// Whether a node was seen lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It was.
    Alive,
    /// It was not.
    Silent,
}

/// Every node that did not leave in good order.
///
/// # Errors
/// If Postgres is away.
pub async fn nodes(database: &Database) -> Result<Vec<(String, Life)>, Failure> {
    let query = sqlx::query_as(NODES).bind(ALIVE_FOR.as_secs_f64());
    let rows: Vec<(String, bool)> = query.fetch_all(&database.provider).await?;
    let life = |alive| if alive { Life::Alive } else { Life::Silent };
    Ok(rows.into_iter().map(|(name, alive)| (name, life(alive))).collect())
}

/// Live nodes that do not yet serve these versions, with the tenants they lack: none, once all
/// have taken over, or if no node lives.
///
/// # Errors
/// If Postgres is away.
pub async fn behind(
    database: &Database,
    published: &[(TenantId, i64)],
) -> Result<Vec<(String, TenantId)>, Failure> {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) =
        published.iter().map(|(tenant, version)| (tenant.0, *version)).unzip();
    let query = sqlx::query_as(BEHIND).bind(ALIVE_FOR.as_secs_f64()).bind(ids).bind(versions);
    let rows: Vec<(String, Uuid)> = query.fetch_all(&database.provider).await?;
    Ok(rows.into_iter().map(|(node, tenant)| (node, TenantId(tenant))).collect())
}
