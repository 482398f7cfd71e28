//! A node says that it lives, where its peers reach it, and which version of each tenant it serves.

use std::time::Duration;

use pbx::id::{NodeId, TenantId};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::postgres::types::PgInterval;
use sqlx::query::Query as Asked;
use uuid::Uuid;

use crate::database::{BEGIN, Database, begin};
use crate::failure::Failure;
use crate::query::Query;

const SEEN: &str = "
    INSERT INTO node (name, boot, link, until_at) VALUES ($1, $2, $3, now() + $4)
    ON CONFLICT (name) DO UPDATE SET seen_at = now(), boot = excluded.boot,
        link = excluded.link, until_at = excluded.until_at,
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

/// As alive as [`super::leases::take`] sees it.
const ALL: &str = "
    SELECT n.name, m.number, n.boot, n.link,
           coalesce(n.until_at, n.seen_at + interval '30 seconds') > now() AS alive
    FROM node n JOIN node_number m ON m.name = n.name ORDER BY m.number";

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
    Query::node("all", ALL),
    Query::node("left", LEFT),
    Query::node("serves", SERVES),
];

/// How a process shows itself to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Myself {
    /// Its node's name.
    pub name: String,
    /// This process of it.
    pub boot: u32,
    /// Where peers reach it; `None`: it has none.
    pub link: Option<String>,
}

/// A node as its peers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub number: NodeId,
    /// Its last process.
    pub shown: Myself,
    /// Whether its tenants are still its own.
    pub life: Life,
}

/// Whether a node is alive, as far as Postgres knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It said so lately.
    Alive,
    /// It has been silent for longer than it asked to be waited for.
    Silent,
}

/// At the start of a process, before its first [`serves`]; the answer is the number that this name
/// has for good.
///
/// # Errors
/// If Postgres is away.
pub async fn started(
    database: &Database,
    myself: &Myself,
    hold_for: Duration,
) -> Result<NodeId, Failure> {
    let node = &myself.name;
    let mut transaction = begin(&database.node, BEGIN).await?;
    seen_query(myself, hold_for).execute(&mut *transaction).await?;
    sqlx::query(FORGET).bind(node).execute(&mut *transaction).await?;
    let number: i32 = sqlx::query_scalar(NUMBER).bind(node).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    number_of(node, number)
}

/// Once a second: this node is alive, and is to be counted on for `hold_for`.
///
/// # Errors
/// If Postgres is away.
pub async fn seen(database: &Database, myself: &Myself, hold_for: Duration) -> Result<(), Failure> {
    seen_query(myself, hold_for).execute(&database.node).await?;
    Ok(())
}

/// Every node that did not leave in good order; this one too.
///
/// # Errors
/// If Postgres is away.
pub async fn all(database: &Database) -> Result<Vec<Seen>, Failure> {
    let rows: Vec<(String, i32, i64, Option<String>, bool)> =
        sqlx::query_as(ALL).fetch_all(&database.node).await?;
    let seen = |(name, number, boot, link, alive): (String, i32, i64, Option<String>, bool)| {
        let life = if alive { Life::Alive } else { Life::Silent };
        let boot = u32::try_from(boot).unwrap_or_default();
        Ok(Seen { number: number_of(&name, number)?, shown: Myself { name, boot, link }, life })
    };
    rows.into_iter().map(seen).collect()
}

fn seen_query(myself: &Myself, hold_for: Duration) -> Asked<'_, Postgres, PgArguments> {
    let microseconds = i64::try_from(hold_for.as_micros()).unwrap_or(i64::MAX);
    sqlx::query(SEEN)
        .bind(&myself.name)
        .bind(i64::from(myself.boot))
        .bind(myself.link.as_deref())
        .bind(PgInterval { months: 0, days: 0, microseconds })
}

fn number_of(node: &str, number: i32) -> Result<NodeId, Failure> {
    u16::try_from(number)
        .map(NodeId)
        .map_err(|_| Failure::Damaged("node_number", format!("{node} has the number {number}")))
}

/// At an orderly stop: its tenants are free at once.
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
