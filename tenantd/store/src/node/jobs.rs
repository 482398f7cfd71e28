//! Takes jobs from the outbox: each is done by one node at a time, again and later if it failed.

use std::time::Duration;

use pbx::id::TenantId;
use pbx::moment::Moment;
use serde_json::Value;
use uuid::Uuid;

use crate::database::{Database, storable};
use crate::failure::Failure;
use crate::query::Query;
use crate::stamps::stamp;

/// A failed job is tried this often, then given up.
pub const TRIES: i32 = 10;
/// The wait after the first failure; it doubles with each.
const RETRY_AFTER: Duration = Duration::from_secs(30);

const CLAIM: &str = "
    WITH due AS (
        SELECT tenant_id, id FROM job
        WHERE state = 'open' AND due_at <= $3 AND (claimed_until IS NULL OR claimed_until <= $3)
          AND kind = ANY ($2)
        ORDER BY due_at LIMIT $5 FOR UPDATE SKIP LOCKED)
    UPDATE job SET claimed_by = $1, claimed_until = $4, tries = tries + 1
    FROM due WHERE job.tenant_id = due.tenant_id AND job.id = due.id
    RETURNING job.tenant_id, job.id, job.kind, job.payload, job.tries";

/// Only whoever holds the claim may end it: one that ran out may be somebody else's by now.
const FINISH: &str = "
    UPDATE job SET state = $4, due_at = $5, claimed_by = NULL, claimed_until = NULL,
        history = history || jsonb_build_object('at', $6::timestamptz, 'came', $7::text)
    WHERE tenant_id = $1 AND id = $2 AND claimed_by = $3 AND state = 'open'";

/// The queries of this file.
pub const QUERIES: &[Query] = &[Query::node("claim", CLAIM), Query::node("finish", FINISH)];

/// A claimed job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub id: Uuid,
    /// What is to be done.
    pub kind: String,
    /// With what.
    pub payload: Value,
    /// Which try this is; the first is 1.
    pub tries: i32,
}

/// Takes up to `most` due jobs of these kinds for a while; nobody else gets them meanwhile.
///
/// # Errors
/// If Postgres is away.
pub async fn claim(
    database: &Database,
    node: &str,
    kinds: &[&str],
    now: Moment,
    hold_for: Duration,
    most: u16,
) -> Result<Vec<Job>, Failure> {
    let query = sqlx::query_as(CLAIM)
        .bind(node)
        .bind(kinds)
        .bind(stamp(now))
        .bind(stamp(now + hold_for))
        .bind(i64::from(most));
    let rows: Vec<(Uuid, Uuid, String, Value, i32)> = query.fetch_all(&database.node).await?;
    let job = |(tenant, id, kind, payload, tries)| Job {
        tenant: TenantId(tenant),
        id,
        kind,
        payload,
        tries,
    };
    Ok(rows.into_iter().map(job).collect())
}

/// Ends a claim: with `Ok` the job is done, with the reason of a failure it is tried again later,
/// [`TRIES`] times in all.
///
/// # Errors
/// If Postgres is away: the claim then runs out, and the job is done again.
pub async fn finish(
    database: &Database,
    node: &str,
    job: &Job,
    now: Moment,
    came: Result<(), &str>,
) -> Result<(), Failure> {
    let (state, due_at, words) = match came {
        Ok(()) => ("done", now, "done".to_owned()),
        Err(reason) if job.tries >= TRIES => ("given up", now, storable(reason)),
        Err(reason) => ("open", now + retry_after(job.tries), storable(reason)),
    };
    let query = sqlx::query(FINISH)
        .bind(job.tenant.0)
        .bind(job.id)
        .bind(node)
        .bind(state)
        .bind(stamp(due_at))
        .bind(stamp(now))
        .bind(words);
    query.execute(&database.node).await?;
    Ok(())
}

fn retry_after(tries: i32) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(16);
    RETRY_AFTER * 2_u32.pow(doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait() {
        let waits: Vec<u64> = [1, 2, 5, i32::MAX].map(|n| retry_after(n).as_secs()).into();
        assert_eq!(waits, [30, 60, 480, 30 * 65_536]);
    }
}
