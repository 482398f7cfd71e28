//! Calls: the facts of those under way, and how each one went once it is over.

use std::collections::BTreeMap;

use pbx::id::{CallId, RecordId, TenantId};
use pbx::moment::Moment;
use pbx::record::{CallRecord, Record};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::column;
use crate::database::{Database, storable};
use crate::failure::Failure;
use crate::query::Query;
use crate::stamps::stamp;

const LIVE_CALLS_OF: &str =
    "SELECT tenant_id, facts, node FROM live_call WHERE tenant_id = ANY ($1) ORDER BY id";

const WRITE_LIVE: &str = "
    INSERT INTO live_call (tenant_id, id, facts, node, epoch, changed_at)
    SELECT r.tenant_id, r.id, r.facts, $1, r.epoch, r.changed_at
    FROM unnest($2::uuid[], $3::uuid[], $4::bytea[], $5::bigint[], $6::timestamptz[])
        AS r (tenant_id, id, facts, epoch, changed_at)
    WHERE NOT EXISTS (SELECT FROM gone g
        WHERE g.tenant_id = r.tenant_id AND g.id = r.id AND g.at >= r.changed_at)
    ORDER BY r.tenant_id, r.id
    ON CONFLICT (tenant_id, id) DO UPDATE SET facts = excluded.facts, node = excluded.node,
        epoch = excluded.epoch, changed_at = excluded.changed_at
    WHERE live_call.changed_at <= excluded.changed_at AND live_call.epoch <= excluded.epoch";

/// Answers with the records whose tenant is gone.
const WRITE: &str = "
    WITH given AS (
        SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[],
            $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::uuid[], $10::text[],
            $11::text[], $12::text[], $13::text[], $14::smallint[], $15::jsonb[], $16::jsonb[])
        AS given (record, tenant_id, id, began_at, rang_at, answered_at, ended_at, caller_id,
            caller, caller_name, dialled, ending, status, legs, story)),
    stored AS (
        INSERT INTO call (tenant_id, id, began_at, rang_at, answered_at, ended_at, caller_id,
            caller, caller_name, dialled, ending, status, legs, story, node)
        SELECT r.tenant_id, r.id, r.began_at, r.rang_at, r.answered_at, r.ended_at, r.caller_id,
            r.caller, r.caller_name, r.dialled, r.ending, r.status, r.legs, r.story, $1
        FROM given r JOIN tenant t ON t.id = r.tenant_id
        ON CONFLICT (tenant_id, id, began_at) DO NOTHING)
    SELECT r.record FROM given r LEFT JOIN tenant t ON t.id = r.tenant_id WHERE t.id IS NULL";

/// Kept for [`super::upkeep::REMEMBER_GONE_FOR`], so that no replayed journal brings one back.
const NOTE: &str = "
    INSERT INTO gone (tenant_id, id, at)
    SELECT r.tenant_id, r.id, r.at
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS r (tenant_id, id, at)
    JOIN tenant t ON t.id = r.tenant_id
    ORDER BY r.tenant_id, r.id
    ON CONFLICT (tenant_id, id) DO UPDATE SET at = greatest(gone.at, excluded.at)";

const END: &str = "
    DELETE FROM live_call USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
        AS r (tenant_id, id, at)
    WHERE live_call.tenant_id = r.tenant_id AND live_call.id = r.id
      AND live_call.changed_at <= r.at";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::node("note ended calls", NOTE),
    Query::node("end live calls", END),
    Query::node("live_calls_of", LIVE_CALLS_OF),
    Query::node("write live calls", WRITE_LIVE),
    Query::node("write calls", WRITE),
];

/// The facts of a call that nobody said is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCall {
    /// What is known of it.
    pub facts: Vec<u8>,
    /// The node that carries its sound.
    pub node: String,
}

/// Tenants' calls that nobody said are over.
///
/// # Errors
/// If Postgres is away.
pub async fn live_calls_of(
    database: &Database,
    tenants: &[TenantId],
) -> Result<BTreeMap<TenantId, Vec<LiveCall>>, Failure> {
    let ids: Vec<Uuid> = column(tenants, |tenant| tenant.0);
    let query = sqlx::query_as(LIVE_CALLS_OF).bind(ids);
    let rows: Vec<(Uuid, Vec<u8>, String)> = query.fetch_all(&database.node).await?;
    let mut calls = BTreeMap::<_, Vec<_>>::new();
    for (tenant, facts, node) in rows {
        calls.entry(TenantId(tenant)).or_default().push(LiveCall { facts, node });
    }
    Ok(calls)
}

/// A call's facts to be written.
pub(super) struct Live<'r> {
    pub(super) record: &'r Record,
    pub(super) call: CallId,
    pub(super) facts: &'r [u8],
    pub(super) epoch: i64,
}

/// A call's record to be written.
pub(super) struct Ended<'r> {
    pub(super) record: &'r Record,
    pub(super) call: &'r CallRecord,
}

/// Calls that are over, each with its moment, are not under way any more.
pub(super) async fn end(
    transaction: &mut Transaction<'static, Postgres>,
    over: &[(TenantId, Uuid, Moment)],
) -> Result<(), Failure> {
    if over.is_empty() {
        return Ok(());
    }
    for query in [NOTE, END] {
        let query = sqlx::query(query)
            .bind(column(over, |(tenant, _, _)| tenant.0))
            .bind(column(over, |(_, id, _)| *id))
            .bind(column(over, |(_, _, at)| stamp(*at)));
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Writes the facts of calls under way.
pub(super) async fn write_live(
    transaction: &mut Transaction<'static, Postgres>,
    node: &str,
    rows: &[Live<'_>],
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(WRITE_LIVE)
        .bind(node)
        .bind(column(rows, |row| row.record.tenant.0))
        .bind(column(rows, |row| row.call.0))
        .bind(column(rows, |row| row.facts))
        .bind(column(rows, |row| row.epoch))
        .bind(column(rows, |row| stamp(row.record.at)));
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Writes how calls went; answers with the records whose tenant is gone.
pub(super) async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    node: &str,
    rows: &[Ended<'_>],
) -> Result<Vec<RecordId>, Failure> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let query = sqlx::query_scalar(WRITE)
        .bind(node)
        .bind(column(rows, |row| row.record.id.0))
        .bind(column(rows, |row| row.record.tenant.0))
        .bind(column(rows, |row| row.call.call.0))
        .bind(column(rows, |row| stamp(row.call.began_at)))
        .bind(column(rows, |row| row.call.rang_at.map(stamp)))
        .bind(column(rows, |row| row.call.answered_at.map(stamp)))
        .bind(column(rows, |row| stamp(row.call.ended_at)))
        .bind(column(rows, |row| row.call.caller_user.map(|user| user.0)))
        .bind(column(rows, |row| storable(&row.call.caller)))
        .bind(column(rows, |row| storable(&row.call.caller_name)))
        .bind(column(rows, |row| storable(&row.call.dialled)))
        .bind(column(rows, |row| format!("{:?}", row.call.ending)))
        .bind(column(rows, |row| i16::try_from(row.call.status).unwrap_or(i16::MAX)))
        .bind(column(rows, |row| json(&row.call.legs)))
        .bind(column(rows, |row| json(&row.call.story)));
    let strangers: Vec<Uuid> = query.fetch_all(&mut **transaction).await?;
    Ok(strangers.into_iter().map(RecordId).collect())
}

fn json(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).expect("legs and stories have text keys only");
    make_storable(&mut value);
    value
}

/// What phones call themselves is theirs to choose, and may hold what `jsonb` cannot.
fn make_storable(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = storable(text),
        Value::Array(values) => values.iter_mut().for_each(make_storable),
        Value::Object(fields) => fields.values_mut().for_each(make_storable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
