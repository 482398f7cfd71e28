//! What a tenant's own pages ask: seen through row-level security, as that tenant and nobody else.

use chrono::{DateTime, Utc};
use pbx::id::{CallId, TenantId};
use pbx::moment::Moment;
use pbx::record::LegRecord;
use pbx::story::Told;
use sqlx::types::Json;
use uuid::Uuid;

use crate::database::{Database, HOUSE};
use crate::failure::Failure;
use crate::node::directory::password_of;
use crate::query::Query;
use crate::secrets::{ClusterKey, Sealed};
use crate::stamps::moment;

const ABOUT: &str = "
    SELECT t.name, t.time_zone, d.name FROM tenant t
    JOIN domain d ON d.tenant_id = t.id AND d.kind = 'canonical'
    WHERE t.id = $1";
const EXTENSIONS: &str = "
    SELECT id, number, username, auth_username, name FROM extension
    WHERE tenant_id = $1 ORDER BY length(number), number LIMIT 5000";
const PASSWORD: &str = "
    SELECT password_sealed, password_key FROM extension WHERE tenant_id = $1 AND id = $2";
const CALLS: &str = "
    SELECT id, began_at, answered_at, ended_at, caller, caller_name, dialled, ending, status
    FROM call WHERE tenant_id = $1 ORDER BY began_at DESC, id DESC LIMIT $2";
const STORY: &str = "
    SELECT id, began_at, answered_at, ended_at, caller, caller_name, dialled, ending, status, legs,
        story
    FROM call WHERE tenant_id = $1 AND id = $2";
const TENANTS: &str = "
    SELECT t.id, t.name, d.name FROM tenant t
    JOIN domain d ON d.tenant_id = t.id AND d.kind = 'canonical'
    WHERE t.id <> $1 ORDER BY t.name, t.id LIMIT 10000";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::tenant("about", ABOUT),
    Query::tenant("extensions", EXTENSIONS),
    Query::tenant("password", PASSWORD),
    Query::tenant("calls", CALLS),
    Query::tenant("story", STORY),
    Query::provider("tenants", TENANTS),
];

/// A company, as its own pages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// What it is called.
    pub name: String,
    /// Its time zone.
    pub time_zone: String,
    /// Its canonical domain.
    pub domain: String,
}

/// An extension, as its card names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its id.
    pub id: Uuid,
    /// Its number.
    pub number: String,
    /// Its SIP user name: the number, unless it has one of its own.
    pub username: String,
    /// Its name for passwords, if it differs.
    pub auth_username: Option<String>,
    /// Whose it is.
    pub name: String,
}

/// A call that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct PastCall {
    /// Its id.
    pub id: CallId,
    /// When it began.
    pub began_at: Moment,
    /// When it was answered.
    pub answered_at: Option<Moment>,
    /// When it was over.
    pub ended_at: Moment,
    /// Who called.
    pub caller: String,
    /// The caller's name.
    pub caller_name: String,
    /// What was dialled.
    pub dialled: String,
    /// Why it was over.
    pub ending: String,
    /// The final response to the caller.
    pub status: i16,
}

/// A call that is over, and all that was noted of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The call.
    pub call: PastCall,
    /// What happened, oldest first.
    pub told: Vec<Told>,
    /// Each phone that took part; the caller's first.
    pub legs: Vec<LegRecord>,
}

type CallRow = (
    Uuid,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
    DateTime<Utc>,
    String,
    String,
    String,
    String,
    i16,
);

/// The company itself.
///
/// # Errors
/// If Postgres is away.
pub async fn about(
    database: &Database,
    tenant: TenantId,
    who: &str,
) -> Result<Option<About>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let row: Option<(String, String, String)> =
        sqlx::query_as(ABOUT).bind(tenant.0).fetch_optional(&mut *inside).await?;
    Ok(row.map(|(name, time_zone, domain)| About { name, time_zone, domain }))
}

/// Its extensions.
///
/// # Errors
/// If Postgres is away.
pub async fn extensions(
    database: &Database,
    tenant: TenantId,
    who: &str,
) -> Result<Vec<Extension>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    type Row = (Uuid, String, Option<String>, Option<String>, String);
    let rows: Vec<Row> = sqlx::query_as(EXTENSIONS).bind(tenant.0).fetch_all(&mut *inside).await?;
    let extension = |(id, number, username, auth_username, name): Row| Extension {
        id,
        username: username.unwrap_or_else(|| number.clone()),
        number,
        auth_username,
        name,
    };
    Ok(rows.into_iter().map(extension).collect())
}

/// An extension's password, for its card.
///
/// # Errors
/// If Postgres is away, or the cluster key is another one.
pub async fn password(
    database: &Database,
    key: &ClusterKey,
    tenant: TenantId,
    who: &str,
    extension: Uuid,
) -> Result<Option<String>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_as(PASSWORD).bind(tenant.0).bind(extension);
    let row: Option<(Vec<u8>, i32)> = query.fetch_optional(&mut *inside).await?;
    let Some((bytes, number)) = row else { return Ok(None) };
    let sealed = Sealed { key: number, bytes };
    let opened = key.open(password_of(tenant, extension), &sealed);
    opened.map(Some).ok_or(Failure::Sealed(tenant))
}

/// Its latest calls, newest first.
///
/// # Errors
/// If Postgres is away.
pub async fn calls(
    database: &Database,
    tenant: TenantId,
    who: &str,
    most: u16,
) -> Result<Vec<PastCall>, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_as(CALLS).bind(tenant.0).bind(i64::from(most));
    let rows: Vec<CallRow> = query.fetch_all(&mut *inside).await?;
    Ok(rows.into_iter().map(past_call).collect())
}

/// One call and its story.
///
/// # Errors
/// If Postgres is away.
pub async fn story(
    database: &Database,
    tenant: TenantId,
    who: &str,
    call: CallId,
) -> Result<Option<Story>, Failure> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: Uuid,
        began_at: DateTime<Utc>,
        answered_at: Option<DateTime<Utc>>,
        ended_at: DateTime<Utc>,
        caller: String,
        caller_name: String,
        dialled: String,
        ending: String,
        status: i16,
        legs: Json<Vec<LegRecord>>,
        story: Json<Vec<Told>>,
    }
    let mut inside = database.enter(tenant, who).await?;
    let query = sqlx::query_as(STORY).bind(tenant.0).bind(call.0);
    let row: Option<Row> = query.fetch_optional(&mut *inside).await?;
    Ok(row.map(|row| {
        let call = past_call((
            row.id,
            row.began_at,
            row.answered_at,
            row.ended_at,
            row.caller,
            row.caller_name,
            row.dialled,
            row.ending,
            row.status,
        ));
        Story { call, told: row.story.0, legs: row.legs.0 }
    }))
}

/// All companies with their names and domains, for the provider.
///
/// # Errors
/// If Postgres is away.
pub async fn tenants(database: &Database) -> Result<Vec<(TenantId, String, String)>, Failure> {
    let query = sqlx::query_as(TENANTS).bind(HOUSE.0);
    let rows: Vec<(Uuid, String, String)> = query.fetch_all(&database.provider).await?;
    Ok(rows.into_iter().map(|(id, name, domain)| (TenantId(id), name, domain)).collect())
}

fn past_call(row: CallRow) -> PastCall {
    let (id, began_at, answered_at, ended_at, caller, caller_name, dialled, ending, status) = row;
    PastCall {
        id: CallId(id),
        began_at: moment(began_at),
        answered_at: answered_at.map(moment),
        ended_at: moment(ended_at),
        caller,
        caller_name,
        dialled,
        ending,
        status,
    }
}
