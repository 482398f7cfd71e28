//! A node says that it lives, and which version of each tenant it serves.

use pbx::id::{NodeId, TenantId};
use uuid::Uuid;

use crate::database::Database;
use crate::failure::Failure;
use crate::query::Query;

const SEEN: &str = "
    INSERT INTO node (name, boot) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET seen_at = now(), boot = excluded.boot,
        started_at = CASE WHEN node.boot = excluded.boot THEN node.started_at ELSE now() END";

/// What an earlier process of this node served is not what this one serves.
const FORGET: &str = "DELETE FROM node_tenant WHERE node = $1";

/// Asked for first, so that a restart takes no new number.
const NUMBER: &str = "
    WITH known AS (SELECT number FROM node_number WHERE name = $1),
    made AS (
        INSERT INTO node_number (name) SELECT $1 WHERE NOT EXISTS (SELECT FROM known)
        ON CONFLICT (name) DO UPDATE SET name = excluded.name
        RETURNING number)
    SELECT number FROM known UNION ALL SELECT number FROM made";

const LEFT: &str = "DELETE FROM node WHERE name = $1 AND boot = $2";

const SERVES: &str = "
    INSERT INTO node_tenant (tenant_id, node, version)
    SELECT t.id, $1, taken.version
    FROM unnest($2::uuid[], $3::bigint[]) AS taken (tenant_id, version)
    JOIN tenant t ON t.id = taken.tenant_id
    ORDER BY t.id
    ON CONFLICT (tenant_id, node) DO UPDATE
        SET version = excluded.version, taken_at = now()
        WHERE node_tenant.version < excluded.version";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::node("seen", SEEN),
    Query::node("forget", FORGET),
    Query::node("number", NUMBER),
    Query::node("left", LEFT),
    Query::node("serves", SERVES),
];

/// At the start of a process, before its first [`serves`]; the answer is the number that this name
/// has for good.
///
/// # Errors
/// If Postgres is away.
pub async fn started(database: &Database, node: &str, boot: u32) -> Result<NodeId, Failure> {
    let mut transaction = database.node.begin().await?;
    sqlx::query(SEEN).bind(node).bind(i64::from(boot)).execute(&mut *transaction).await?;
    sqlx::query(FORGET).bind(node).execute(&mut *transaction).await?;
    let number: i32 = sqlx::query_scalar(NUMBER).bind(node).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    u16::try_from(number)
        .map(NodeId)
        .map_err(|_| Failure::Damaged("node_number", format!("{node} has the number {number}")))
}

/// Once a second: a node that is silent for [`crate::provider::nodes::ALIVE_FOR`] counts as dead.
///
/// # Errors
/// If Postgres is away.
pub async fn seen(database: &Database, node: &str, boot: u32) -> Result<(), Failure> {
    sqlx::query(SEEN).bind(node).bind(i64::from(boot)).execute(&database.node).await?;
    Ok(())
}

/// At an orderly stop.
///
/// # Errors
/// If Postgres is away.
pub async fn left(database: &Database, node: &str, boot: u32) -> Result<(), Failure> {
    sqlx::query(LEFT).bind(node).bind(i64::from(boot)).execute(&database.node).await?;
    Ok(())
}

/// The node serves these versions from now on; `tenantd apply --wait` waits for this.
///
/// # Errors
/// If Postgres is away.
pub async fn serves(
    database: &Database,
    node: &str,
    versions: &[(TenantId, i64)],
) -> Result<(), Failure> {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) =
        versions.iter().map(|(tenant, version)| (tenant.0, *version)).unzip();
    sqlx::query(SERVES).bind(node).bind(ids).bind(versions).execute(&database.node).await?;
    Ok(())
}
