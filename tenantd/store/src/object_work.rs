//! What is to be done in the object store: rows that are there until it is done.
//!
//! A row is written in the transaction that needs the object, or needs it no more. Putting is done by
//! the node whose outbox the object waits in, deleting by any. A store that is away delays it; nothing
//! is given up.

use std::time::Duration;

use pbx::id::TenantId;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::database::{Database, storable};
use crate::failure::Failure;
use crate::objects::{Content, Kind, ObjectKey};
use crate::query::Query;

/// Whoever writes the row tries it first, for so long; then anybody may.
pub(crate) const PUT: &str = "
    INSERT INTO object_work (tenant_id, id, kind, verb, node, sha256, bytes, due_at)
    VALUES ($1, $2, $3, 'put', $4, $5, $6, now() + interval '30 seconds')";
/// Calls that play it, and nodes that do not know yet, still need it for a while.
pub(crate) const DOOM: &str = "
    INSERT INTO object_work (tenant_id, id, kind, verb, sha256, bytes, due_at)
    VALUES ($1, $2, $3, 'delete', $4, $5, now() + interval '1 hour')
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET verb = 'delete', due_at = excluded.due_at, tries = 0, came = NULL";

/// At the start of a process: nobody is doing what an earlier one began.
const AGAIN: &str = "
    UPDATE object_work SET due_at = now()
    WHERE node = $1 AND verb = 'put' AND due_at > now()";
const CLAIM: &str = "
    WITH due AS (
        SELECT tenant_id, id FROM object_work
        WHERE due_at <= now() AND (verb = 'delete' OR node = $1)
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE object_work w SET due_at = now() + interval '10 minutes', tries = tries + 1
    FROM due WHERE w.tenant_id = due.tenant_id AND w.id = due.id
    RETURNING w.tenant_id, w.id, w.kind, w.verb, w.sha256, w.bytes, w.tries";
/// By what was done: what was to be put may be to be deleted by now.
const DONE: &str = "DELETE FROM object_work WHERE tenant_id = $1 AND id = $2 AND verb = $3";
const FAILED: &str = "
    UPDATE object_work SET due_at = now() + $4, came = $5
    WHERE tenant_id = $1 AND id = $2 AND verb = $3";
const NAMED: &str = "
    SELECT tenant_id, id, kind FROM object_work WHERE node = $1 ORDER BY tenant_id, id";
const WAITING: &str = "
    SELECT verb, count(*), sum(bytes)::bigint FROM object_work
    WHERE verb = 'delete' OR node = $1 GROUP BY verb";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::provider("put", PUT),
    Query::provider("doom", DOOM),
    Query::node("again", AGAIN),
    Query::node("claim", CLAIM),
    Query::node("done", DONE),
    Query::node("failed", FAILED),
    Query::node("named", NAMED),
    Query::node("waiting", WAITING),
];

/// The first wait after a failure; it doubles with each.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// What is to be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Put it into the store.
    Put,
    /// Remove it from there.
    Delete,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// With what.
    pub key: ObjectKey,
    /// What.
    pub verb: Verb,
    /// What the object is.
    pub content: Content,
    /// How often it was tried, this time included.
    pub tries: i32,
}

/// How much is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Objects that this node shall put.
    pub puts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that anybody shall delete.
    pub deletes: u64,
}

/// To be called once at the start of a node's process.
///
/// # Errors
/// If Postgres is away.
pub async fn start_again(database: &Database, node: &str) -> Result<(), Failure> {
    sqlx::query(AGAIN).bind(node).execute(&database.node).await?;
    Ok(())
}

/// Takes up to `most` due pieces of work; nobody else gets them for ten minutes.
///
/// # Errors
/// If Postgres is away.
pub async fn claim(database: &Database, node: &str, most: u16) -> Result<Vec<Work>, Failure> {
    type Row = (Uuid, Uuid, String, String, Vec<u8>, i64, i32);
    let query = sqlx::query_as(CLAIM).bind(node).bind(i64::from(most));
    let rows: Vec<Row> = query.fetch_all(&database.node).await?;
    rows.into_iter()
        .map(|(tenant, id, kind, verb, sha256, bytes, tries)| {
            let verb = match verb.as_str() {
                "put" => Verb::Put,
                _ => Verb::Delete,
            };
            let content = Content {
                bytes: u64::try_from(bytes).unwrap_or(0),
                sha256: sha256.try_into().map_err(|_| damaged("sha256"))?,
            };
            Ok(Work { key: key(tenant, id, &kind)?, verb, content, tries })
        })
        .collect()
}

/// It is done.
///
/// # Errors
/// If Postgres is away: then it is done once more, which is no harm.
pub async fn done(database: &Database, work: &Work) -> Result<(), Failure> {
    let query = sqlx::query(DONE).bind(work.key.tenant().0).bind(work.key.id());
    query.bind(work.verb.name()).execute(&database.node).await?;
    Ok(())
}

/// It could not be done; it is tried again, later each time.
///
/// # Errors
/// If Postgres is away: then it is tried again when the claim runs out.
pub async fn failed(database: &Database, work: &Work, reason: &str) -> Result<(), Failure> {
    let microseconds = i64::try_from(retry_after(work.tries).as_micros()).unwrap_or(i64::MAX);
    let query = sqlx::query(FAILED).bind(work.key.tenant().0).bind(work.key.id());
    let query = query.bind(work.verb.name()).bind(PgInterval { months: 0, days: 0, microseconds });
    query.bind(storable(reason)).execute(&database.node).await?;
    Ok(())
}

/// All objects that wait in this node's outbox, as far as Postgres knows.
///
/// # Errors
/// If Postgres is away.
pub async fn named(database: &Database, node: &str) -> Result<Vec<ObjectKey>, Failure> {
    let rows: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as(NAMED).bind(node).fetch_all(&database.node).await?;
    rows.into_iter().map(|(tenant, id, kind)| key(tenant, id, &kind)).collect()
}

/// How much is to be done.
///
/// # Errors
/// If Postgres is away.
pub async fn waiting(database: &Database, node: &str) -> Result<Waiting, Failure> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(WAITING).bind(node).fetch_all(&database.node).await?;
    let mut waiting = Waiting::default();
    for (verb, count, bytes) in rows {
        let [count, bytes] = [count, bytes].map(|n| u64::try_from(n).unwrap_or(0));
        match verb == Verb::Put.name() {
            true => (waiting.puts, waiting.bytes) = (count, bytes),
            false => waiting.deletes = count,
        }
    }
    Ok(waiting)
}

fn key(tenant: Uuid, id: Uuid, kind: &str) -> Result<ObjectKey, Failure> {
    let kind = Kind::named(kind).ok_or_else(|| damaged(kind))?;
    Ok(ObjectKey::new(TenantId(tenant), kind, id))
}

fn damaged(what: &str) -> Failure {
    Failure::Damaged("object_work", what.to_owned())
}

fn retry_after(tries: i32) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(16);
    (RETRY_AFTER * 2_u32.pow(doublings)).min(RETRY_AT_LEAST_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_and_none_is_the_last() {
        let waits: Vec<u64> = [0, 1, 2, 5, 100, i32::MAX].map(|n| retry_after(n).as_secs()).into();
        assert_eq!(waits, [1, 1, 2, 16, 300, 300]);
    }
}
