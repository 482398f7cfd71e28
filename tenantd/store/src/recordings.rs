//! What is kept of calls' sound: a row a recording, which outlives its object.
//!
//! A recording is added with the work of putting its object into the store, in one statement. It goes
//! the same way: first the row says that it shall, and when the object was seen to be gone, it says so.

use chrono::{DateTime, Utc};
use pbx::id::{CallId, RecordingId, TenantId};
use pbx::moment::Moment;
use uuid::Uuid;

use crate::database::{Database, storable};
use crate::failure::Failure;
use crate::id::fresh;
use crate::objects::{Content, Kind, ObjectKey};
use crate::query::Query;
use crate::stamps::{moment, stamp};

const KNOWN: &str = "SELECT ended_at FROM recording WHERE tenant_id = $1 AND id = $2";
const ADD: &str = "
    WITH added AS (
        INSERT INTO recording (tenant_id, id, call_id, began_at, ended_at, lasts_ms, asked_by,
            sha256, bytes, lost)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        RETURNING tenant_id, id)
    INSERT INTO object_work (tenant_id, id, kind, verb, node, sha256, bytes, due_at)
    SELECT tenant_id, id, 'recordings', 'put', $11, $8, $9, now() FROM added";
/// Whoever is held stays.
const EXPIRE: &str = "
    WITH doomed AS (
        UPDATE recording r SET doomed_at = now() FROM tenant t
        WHERE t.id = r.tenant_id AND r.doomed_at IS NULL AND NOT r.held
            AND r.ended_at < now() - make_interval(days => t.record_days)
        RETURNING r.tenant_id, r.id, r.sha256, r.bytes)
    INSERT INTO object_work (tenant_id, id, kind, verb, sha256, bytes, due_at)
    SELECT tenant_id, id, 'recordings', 'delete', sha256, bytes, now() FROM doomed
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET verb = 'delete', due_at = excluded.due_at, tries = 0, came = NULL";
const UNPROVEN: &str = "
    SELECT r.tenant_id, r.id FROM recording r
    WHERE r.doomed_at IS NOT NULL AND r.deleted_at IS NULL AND NOT EXISTS (
        SELECT FROM object_work w WHERE w.tenant_id = r.tenant_id AND w.id = r.id)
    ORDER BY r.doomed_at LIMIT 100";
const PROVEN: &str = "
    UPDATE recording SET deleted_at = now()
    WHERE tenant_id = $1 AND id = $2 AND doomed_at IS NOT NULL AND deleted_at IS NULL";
const AGAIN: &str = "
    INSERT INTO object_work (tenant_id, id, kind, verb, sha256, bytes, due_at)
    SELECT tenant_id, id, 'recordings', 'delete', sha256, bytes, now() FROM recording
    WHERE tenant_id = $1 AND id = $2 AND doomed_at IS NOT NULL
    ON CONFLICT (tenant_id, id) DO NOTHING";
const OF_CALL: &str = "
    SELECT r.id, r.began_at, r.lasts_ms, r.asked_by, r.held, r.doomed_at, r.deleted_at,
        EXISTS (SELECT FROM object_work w WHERE w.tenant_id = r.tenant_id AND w.id = r.id
                AND w.verb = 'put') AS waits
    FROM recording r WHERE r.tenant_id = $1 AND r.call_id = $2 ORDER BY r.began_at, r.id LIMIT 100";
const HEAR: &str = "
    INSERT INTO recording_heard (tenant_id, id, recording_id, who)
    SELECT r.tenant_id, $3, r.id, $4 FROM recording r
    WHERE r.tenant_id = $1 AND r.id = $2 AND r.doomed_at IS NULL
    RETURNING recording_id";
const HOLD: &str = "
    UPDATE recording SET held = $3 WHERE tenant_id = $1 AND id = $2 AND doomed_at IS NULL
    RETURNING call_id";
const DELETE: &str = "
    WITH doomed AS (
        UPDATE recording SET doomed_at = now()
        WHERE tenant_id = $1 AND id = $2 AND doomed_at IS NULL AND NOT held
        RETURNING tenant_id, id, call_id, sha256, bytes),
    work AS (
        INSERT INTO object_work (tenant_id, id, kind, verb, sha256, bytes, due_at)
        SELECT tenant_id, id, 'recordings', 'delete', sha256, bytes, now() FROM doomed
        ON CONFLICT (tenant_id, id) DO UPDATE
            SET verb = 'delete', due_at = excluded.due_at, tries = 0, came = NULL)
    SELECT call_id FROM doomed";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::node("known", KNOWN),
    Query::node("add", ADD),
    Query::node("expire", EXPIRE),
    Query::node("unproven", UNPROVEN),
    Query::node("proven", PROVEN),
    Query::node("again", AGAIN),
    Query::tenant("of call", OF_CALL),
    Query::tenant("hear", HEAR),
    Query::tenant("hold", HOLD),
    Query::tenant("delete", DELETE),
];

/// A recording that is rendered, and whose object waits in this node's outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Its object; the id is its own.
    pub key: ObjectKey,
    /// What that is.
    pub content: Content,
    /// Which call's.
    pub call: CallId,
    /// When it began.
    pub began_at: Moment,
    /// When it ended.
    pub ended_at: Moment,
    /// How long it is, without its pauses.
    pub lasts_ms: u64,
    /// The number of the extension that wanted it; empty: the company.
    pub asked_by: String,
    /// Packets that are missing because the disk was too slow.
    pub lost: u64,
}

/// A recording, as its company's pages show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its id.
    pub id: RecordingId,
    /// When it began.
    pub began_at: Moment,
    /// How long it is.
    pub lasts_ms: u64,
    /// The number of the extension that wanted it; empty: the company.
    pub asked_by: String,
    /// How far it is.
    pub state: State,
}

/// How far a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The object store does not have it yet.
    Waits,
    /// It can be heard.
    Here,
    /// It can be heard, and nobody deletes it.
    Held,
    /// It shall go.
    Doomed,
    /// Its object was seen to be gone.
    Deleted(Moment),
}

/// The object of a recording.
pub fn key(tenant: TenantId, id: RecordingId) -> ObjectKey {
    ObjectKey::new(tenant, Kind::Recording, id.0)
}

/// The object of a recording that has no id of its own yet.
pub fn new_key(tenant: TenantId) -> ObjectKey {
    key(tenant, RecordingId(fresh()))
}

/// When a recording that is known ended.
///
/// # Errors
/// If Postgres is away.
pub async fn known(database: &Database, key: &ObjectKey) -> Result<Option<Moment>, Failure> {
    let query = sqlx::query_scalar(KNOWN).bind(key.tenant().0).bind(key.id());
    let ended_at: Option<DateTime<Utc>> = query.fetch_optional(&database.node).await?;
    Ok(ended_at.map(moment))
}

/// Adds a recording, and the work of putting its object into the store.
///
/// # Errors
/// If Postgres is away, or its company is gone.
pub async fn add(database: &Database, node: &str, rendered: &Rendered) -> Result<Added, Failure> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let query = sqlx::query(ADD)
        .bind(rendered.key.tenant().0)
        .bind(rendered.key.id())
        .bind(rendered.call.0)
        .bind(stamp(rendered.began_at))
        .bind(stamp(rendered.ended_at))
        .bind(number(rendered.lasts_ms))
        .bind(storable(&rendered.asked_by))
        .bind(rendered.content.sha256.as_slice())
        .bind(number(rendered.content.bytes))
        .bind(number(rendered.lost))
        .bind(node);
    match query.execute(&database.node).await {
        Ok(_) => Ok(Added::Yes),
        Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(Added::Nobodys),
        Err(error) => Err(error.into()),
    }
}

/// Whether a recording was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was.
    Yes,
    /// The company is gone.
    Nobodys,
}

/// Says of recordings whose time is over that they shall go. Returns how many.
///
/// # Errors
/// If Postgres is away.
pub async fn expire(database: &Database) -> Result<u64, Failure> {
    Ok(sqlx::query(EXPIRE).execute(&database.node).await?.rows_affected())
}

/// Recordings whose objects ought to be gone.
///
/// # Errors
/// If Postgres is away.
pub async fn unproven(database: &Database) -> Result<Vec<ObjectKey>, Failure> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(UNPROVEN).fetch_all(&database.node).await?;
    Ok(rows.into_iter().map(|(t, id)| key(TenantId(t), RecordingId(id))).collect())
}

/// Writes down what was seen of a recording's object that ought to be gone.
///
/// # Errors
/// If Postgres is away.
pub async fn prove(database: &Database, key: &ObjectKey, seen: Seen) -> Result<(), Failure> {
    let query = match seen {
        Seen::Gone => PROVEN,
        Seen::Here => AGAIN,
    };
    let query = sqlx::query(query).bind(key.tenant().0).bind(key.id());
    query.execute(&database.node).await?;
    Ok(())
}

/// What was seen of an object that ought to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The store does not have it.
    Gone,
    /// It does.
    Here,
}

/// The recordings of one call.
///
/// # Errors
/// If Postgres is away.
pub async fn of_call(
    database: &Database,
    tenant: TenantId,
    who: &str,
    call: CallId,
) -> Result<Vec<Kept>, Failure> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: Uuid,
        began_at: DateTime<Utc>,
        lasts_ms: i64,
        asked_by: String,
        held: bool,
        doomed_at: Option<DateTime<Utc>>,
        deleted_at: Option<DateTime<Utc>>,
        waits: bool,
    }
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_as(OF_CALL).bind(tenant.0).bind(call.0);
    let rows: Vec<Row> = query.fetch_all(&mut *inside).await?;
    let kept = |row: Row| Kept {
        id: RecordingId(row.id),
        began_at: moment(row.began_at),
        lasts_ms: u64::try_from(row.lasts_ms).unwrap_or(0),
        asked_by: row.asked_by,
        state: match (row.deleted_at, row.doomed_at, row.waits, row.held) {
            (Some(at), ..) => State::Deleted(moment(at)),
            (None, Some(_), ..) => State::Doomed,
            (None, None, true, _) => State::Waits,
            (None, None, false, true) => State::Held,
            (None, None, false, false) => State::Here,
        },
    };
    Ok(rows.into_iter().map(kept).collect())
}

/// Writes down that somebody listens; `None`: there is nothing to hear.
///
/// # Errors
/// If Postgres is away.
pub async fn hear(
    database: &Database,
    tenant: TenantId,
    who: &str,
    id: RecordingId,
) -> Result<Option<ObjectKey>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_scalar(HEAR).bind(tenant.0).bind(id.0).bind(fresh());
    let heard: Option<Uuid> = query.bind(storable(who)).fetch_optional(&mut *inside).await?;
    inside.commit().await?;
    Ok(heard.map(|id| key(tenant, RecordingId(id))))
}

/// Sees to it that nobody deletes a recording, or lets it go again; tells the call's id.
///
/// # Errors
/// If Postgres is away.
pub async fn hold(
    database: &Database,
    tenant: TenantId,
    who: &str,
    id: RecordingId,
    hold: Hold,
) -> Result<Option<CallId>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_scalar(HOLD).bind(tenant.0).bind(id.0).bind(hold == Hold::Held);
    let call: Option<Uuid> = query.fetch_optional(&mut *inside).await?;
    inside.commit().await?;
    Ok(call.map(CallId))
}

/// Whether a recording may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nobody may.
    Held,
    /// It may.
    Released,
}

/// Says of a recording that it shall go; `None`: it is held, or gone.
///
/// # Errors
/// If Postgres is away.
pub async fn delete(
    database: &Database,
    tenant: TenantId,
    who: &str,
    id: RecordingId,
) -> Result<Option<CallId>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_scalar(DELETE).bind(tenant.0).bind(id.0);
    let call: Option<Uuid> = query.fetch_optional(&mut *inside).await?;
    inside.commit().await?;
    Ok(call.map(CallId))
}
