//! A company's sounds, as its own pages show and change them.
//!
//! What is changed here and what `tenantd apply` changes wait for each other, so that neither works
//! from what the other has just made untrue. Postgres itself sees to the quota.

use pbx::id::TenantId;
use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use crate::database::Database;
use crate::failure::Failure;
use crate::id::fresh;
use crate::object_work::{DOOM, PUT, Verb, Work};
use crate::objects::{Kind, ObjectKey};
use crate::provision::{CHECK_NOW, DROP_SOUND, ONE_AT_A_TIME, PUT_SOUND, Ready};
use crate::query::Query;

const SOUNDS: &str = "
    SELECT s.id, s.name, s.object_id, s.bytes, s.lasts_ms,
        EXISTS (SELECT FROM object_work w WHERE w.tenant_id = s.tenant_id AND w.id = s.object_id
                AND w.verb = 'put') AS waits
    FROM sound s WHERE s.tenant_id = $1 ORDER BY lower(s.name), s.id LIMIT 10000";
const SOUND: &str = "
    SELECT id, name, object_id, sha256, bytes FROM sound
    WHERE tenant_id = $1 AND (id = $2 OR name = $3)";
const USES: &str = "
    SELECT music AS sound, 'music' AS place, '' AS number FROM tenant
    WHERE id = $1 AND music IS NOT NULL
    UNION ALL
    SELECT music, 'extension', number FROM extension WHERE tenant_id = $1 AND music IS NOT NULL
    UNION ALL
    SELECT sound, 'announcement', number FROM announcement WHERE tenant_id = $1
    UNION ALL
    SELECT announce_recording, 'recordings', '' FROM tenant
    WHERE id = $1 AND announce_recording IS NOT NULL
    UNION ALL
    SELECT announce_recording, 'extension_recordings', number FROM extension
    WHERE tenant_id = $1 AND announce_recording IS NOT NULL
    ORDER BY 1, 2, 3 LIMIT 20000";
const QUOTA: &str = "
    SELECT l.sounds, l.bytes FROM tenant t, sound_limits(t.id) l WHERE t.id = $1";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::tenant("own sounds", SOUNDS),
    Query::tenant("own sound", SOUND),
    Query::tenant("uses", USES),
    Query::tenant("quota", QUOTA),
    Query::tenant("put own sound", PUT_SOUND),
    Query::tenant("drop own sound", DROP_SOUND),
    Query::tenant("put own object", PUT),
    Query::tenant("doom own object", DOOM),
];

/// A sound, as its company's pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// What is played.
    pub key: ObjectKey,
    /// How large that is.
    pub bytes: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// Whether the object store has it.
    pub place: Place,
    /// Where it is heard.
    pub uses: Vec<Use>,
}

/// Where a sound's object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the store.
    Store,
    /// On its way there.
    Outbox,
}

/// Where a sound is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// By all whom the company's phones put on hold.
    Music,
    /// By those whom this extension puts on hold.
    Extension(String),
    /// At this number.
    Announcement(String),
    /// By those who talk when a recording begins.
    Recordings,
    /// When this extension's rule or key begins one.
    RecordingsOf(String),
}

/// How much a company may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub sounds: u64,
    /// How large together.
    pub bytes: u64,
}

/// What a recording shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A sound of this name, which there is not yet.
    New(&'a str),
    /// What is heard instead of this sound's recording from now on.
    Instead(Uuid),
}

/// What became of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is there; this is left to be done.
    Yes(Work),
    /// There is one of that name.
    Taken(Uuid),
    /// There is none to be replaced.
    Gone,
    /// There is no room for it.
    Full,
}

/// What became of a sound that shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It went.
    Yes,
    /// There is none.
    Gone,
    /// It is heard there.
    Used(Vec<Use>),
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    object_id: Uuid,
    sha256: Vec<u8>,
    bytes: i64,
}

type UseRow = (String, String, String);

/// All sounds of a company, and how much it may have.
///
/// # Errors
/// If Postgres is away.
pub async fn of(
    database: &Database,
    tenant: TenantId,
    who: &str,
) -> Result<(Vec<Sound>, Quota), Failure> {
    let mut inside = database.enter(tenant, who).await?;
    type Row = (Uuid, String, Uuid, i64, i32, bool);
    let rows: Vec<Row> = sqlx::query_as(SOUNDS).bind(tenant.0).fetch_all(&mut *inside).await?;
    let uses: Vec<UseRow> = sqlx::query_as(USES).bind(tenant.0).fetch_all(&mut *inside).await?;
    let quota: Option<(i32, i64)> =
        sqlx::query_as(QUOTA).bind(tenant.0).fetch_optional(&mut *inside).await?;
    let sound = |(id, name, object, bytes, lasts_ms, waits): Row| Sound {
        id,
        uses: uses_of(&name, &uses),
        name,
        key: ObjectKey::new(tenant, Kind::Sound, object),
        bytes: u64::try_from(bytes).unwrap_or(0),
        lasts_ms: u64::try_from(lasts_ms).unwrap_or(0),
        place: if waits { Place::Outbox } else { Place::Store },
    };
    let (sounds, bytes) = quota.unwrap_or((0, 0));
    let quota = Quota {
        sounds: u64::try_from(sounds).unwrap_or(0),
        bytes: u64::try_from(bytes).unwrap_or(0),
    };
    Ok((rows.into_iter().map(sound).collect(), quota))
}

/// A key for a recording that waits to be saved.
pub fn new_key(tenant: TenantId) -> ObjectKey {
    ObjectKey::new(tenant, Kind::Sound, fresh())
}

/// Makes a recording that waits in `node`'s outbox a sound of its company.
///
/// # Errors
/// If Postgres is away.
pub async fn save(
    database: &Database,
    (tenant, who): (TenantId, &str),
    wanted: Wanted<'_>,
    ready: &Ready,
    node: &str,
) -> Result<Saved, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    sqlx::query(ONE_AT_A_TIME).execute(&mut *inside).await?;
    let (id, name) = match wanted {
        Wanted::New(name) => (None, Some(name)),
        Wanted::Instead(id) => (Some(id), None),
    };
    let query = sqlx::query_as(SOUND).bind(tenant.0).bind(id).bind(name);
    let known: Option<Row> = query.fetch_optional(&mut *inside).await?;
    let (id, name) = match (wanted, &known) {
        (Wanted::New(_), Some(row)) => return Ok(Saved::Taken(row.id)),
        (Wanted::Instead(_), None) => return Ok(Saved::Gone),
        (Wanted::New(name), None) => (fresh(), name),
        (Wanted::Instead(id), Some(row)) => (id, &*row.name),
    };
    let (key, content) = (ready.staged.key, ready.staged.content);
    let bytes = i64::try_from(content.bytes).unwrap_or(i64::MAX);
    let query = sqlx::query(PUT_SOUND).bind(tenant.0).bind(id).bind(name).bind(key.id());
    let query = query.bind(ready.source.as_slice()).bind(content.sha256.as_slice()).bind(bytes);
    let lasts_ms = i32::try_from(ready.lasts_ms).unwrap_or(i32::MAX);
    query.bind(lasts_ms).execute(&mut *inside).await?;
    let query = sqlx::query(PUT).bind(tenant.0).bind(key.id()).bind(Kind::Sound.name());
    let query = query.bind(node).bind(content.sha256.as_slice()).bind(bytes);
    query.execute(&mut *inside).await?;
    if let Some(old) = known {
        doom(&mut inside, tenant, &old).await?;
    }
    match sqlx::query(CHECK_NOW).execute(&mut *inside).await {
        Ok(_) => inside.commit().await?,
        Err(error) if is_quota(&error) => return Ok(Saved::Full),
        Err(error) => return Err(error.into()),
    }
    Ok(Saved::Yes(Work { key, verb: Verb::Put, content, tries: 0 }))
}

/// Removes a sound that nobody hears.
///
/// # Errors
/// If Postgres is away.
pub async fn remove(
    database: &Database,
    (tenant, who): (TenantId, &str),
    sound: Uuid,
) -> Result<Removed, Failure> {
    let mut inside = database.enter(tenant, who).await?;
    sqlx::query(ONE_AT_A_TIME).execute(&mut *inside).await?;
    let query = sqlx::query_as(SOUND).bind(tenant.0).bind(sound).bind(None::<&str>);
    let Some(row) = query.fetch_optional(&mut *inside).await? else { return Ok(Removed::Gone) };
    let row: Row = row;
    let uses: Vec<UseRow> = sqlx::query_as(USES).bind(tenant.0).fetch_all(&mut *inside).await?;
    let uses = uses_of(&row.name, &uses);
    if !uses.is_empty() {
        return Ok(Removed::Used(uses));
    }
    sqlx::query(DROP_SOUND).bind(tenant.0).bind(row.id).execute(&mut *inside).await?;
    doom(&mut inside, tenant, &row).await?;
    inside.commit().await?;
    Ok(Removed::Yes)
}

async fn doom(
    inside: &mut Transaction<'static, Postgres>,
    tenant: TenantId,
    row: &Row,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DOOM).bind(tenant.0).bind(row.object_id).bind(Kind::Sound.name());
    query.bind(&row.sha256).bind(row.bytes).execute(&mut **inside).await.map(drop)
}

fn uses_of(name: &str, uses: &[UseRow]) -> Vec<Use> {
    let uses = uses.iter().filter(|(sound, ..)| sound == name);
    uses.filter_map(|(_, place, number)| {
        Some(match place.as_str() {
            "music" => Use::Music,
            "extension" => Use::Extension(number.clone()),
            "announcement" => Use::Announcement(number.clone()),
            "recordings" => Use::Recordings,
            "extension_recordings" => Use::RecordingsOf(number.clone()),
            _ => return None,
        })
    })
    .collect()
}

fn is_quota(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some("sound_quota")
}
