//! What a tenant has now, as far as a provisioning file can speak of it.

use std::collections::BTreeMap;

use pbx::id::TenantId;
use sqlx::{FromRow, Postgres, Transaction};
use uuid::Uuid;

use super::conferences::{CONFERENCES, ConferenceRow};
use crate::failure::Failure;
use crate::query::Query;

const BY_DOMAIN: &str = "SELECT tenant_id FROM domain WHERE name = $1 AND kind = 'canonical'";
const TENANT: &str = "
    SELECT name, label, country, time_zone, max_calls, max_call_s,
           trusted::text[] AS trusted, srtp, sdes_over_plain, max_sounds, sound_quota,
           record, record_code, record_days, music, announce_recording
    FROM tenant WHERE id = $1";
const ALIASES: &str = "
    SELECT id, name FROM domain WHERE tenant_id = $1 AND kind = 'alias' ORDER BY name";
const DIGEST: &str = "
    SELECT id, value FROM setting WHERE tenant_id = $1 AND node = '*' AND key = 'digest'";
const EXTENSIONS: &str = "
    SELECT id, number, username, auth_username, password_sealed, password_key, name, email,
           voicemail, digest, max_contacts, max_calls, max_call_s, srtp, record, music,
           announce_recording
    FROM extension WHERE tenant_id = $1";
const GROUPS: &str = "SELECT id, number, name FROM ring_group WHERE tenant_id = $1";
const MEMBERS: &str = "
    SELECT m.ring_group_id, e.number FROM ring_group_member m
    JOIN extension e ON e.tenant_id = m.tenant_id AND e.id = m.extension_id
    WHERE m.tenant_id = $1 ORDER BY m.ring_group_id, m.position";
const NUMBERS: &str = "
    SELECT id, number, extension_id, ring_group_id, conference_id FROM number
    WHERE tenant_id = $1";
const SOUNDS: &str = "
    SELECT id, name, object_id, source_sha256, sha256, bytes FROM sound WHERE tenant_id = $1";
const ANNOUNCEMENTS: &str = "SELECT id, number, sound FROM announcement WHERE tenant_id = $1";
const ADMINS: &str = "
    SELECT m.id, a.email, a.password_hash FROM membership m JOIN account a ON a.id = m.account_id
    WHERE m.tenant_id = $1 AND m.role = 'admin'";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("by_domain", BY_DOMAIN),
    Query::provider("tenant", TENANT),
    Query::provider("aliases", ALIASES),
    Query::provider("digest", DIGEST),
    Query::provider("extensions", EXTENSIONS),
    Query::provider("groups", GROUPS),
    Query::provider("members", MEMBERS),
    Query::provider("numbers", NUMBERS),
    Query::provider("admins", ADMINS),
    Query::provider("sounds", SOUNDS),
    Query::provider("announcements", ANNOUNCEMENTS),
];

type Inside<'a> = &'a mut Transaction<'static, Postgres>;

/// A tenant as it is now.
#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) tenant: Option<TenantRow>,
    pub(super) aliases: Vec<(Uuid, String)>,
    pub(super) digest: Option<(Uuid, serde_json::Value)>,
    pub(super) extensions: BTreeMap<String, ExtensionRow>,
    pub(super) groups: BTreeMap<String, GroupRow>,
    pub(super) conferences: BTreeMap<String, ConferenceRow>,
    pub(super) numbers: BTreeMap<String, NumberRow>,
    pub(super) admins: BTreeMap<String, (Uuid, String)>,
    pub(super) sounds: BTreeMap<String, SoundRow>,
    /// By number: its id, and its sound's name.
    pub(super) announcements: BTreeMap<String, (Uuid, String)>,
}

/// The company's own row.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(super) struct TenantRow {
    pub(super) name: String,
    pub(super) label: Option<String>,
    pub(super) country: Option<String>,
    pub(super) time_zone: String,
    pub(super) max_calls: Option<i32>,
    pub(super) max_call_s: Option<i32>,
    pub(super) trusted: Vec<String>,
    pub(super) srtp: String,
    pub(super) sdes_over_plain: bool,
    pub(super) max_sounds: Option<i32>,
    pub(super) sound_quota: Option<i64>,
    pub(super) record: String,
    pub(super) record_code: String,
    pub(super) record_days: Option<i32>,
    pub(super) music: Option<String>,
    pub(super) announce_recording: Option<String>,
}

/// An extension's row: five columns more than a struct should have.
#[derive(Debug, Clone, FromRow)]
pub(super) struct ExtensionRow {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) username: Option<String>,
    pub(super) auth_username: Option<String>,
    pub(super) password_sealed: Vec<u8>,
    pub(super) password_key: i32,
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) voicemail: bool,
    pub(super) digest: Option<Vec<String>>,
    pub(super) max_contacts: i16,
    pub(super) max_calls: Option<i32>,
    pub(super) max_call_s: Option<i32>,
    pub(super) srtp: Option<String>,
    pub(super) record: Option<String>,
    pub(super) music: Option<String>,
    pub(super) announce_recording: Option<String>,
}

/// A group's row with its members' numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) members: Vec<String>,
}

/// A public number's row.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(super) struct NumberRow {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) extension_id: Option<Uuid>,
    pub(super) ring_group_id: Option<Uuid>,
    pub(super) conference_id: Option<Uuid>,
}

/// A sound's row.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub(super) struct SoundRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) object_id: Uuid,
    pub(super) source_sha256: Vec<u8>,
    pub(super) sha256: Vec<u8>,
    pub(super) bytes: i64,
}

/// Whose canonical domain it is.
pub(super) async fn by_domain(
    inside: Inside<'_>,
    domain: &str,
) -> Result<Option<TenantId>, Failure> {
    let query = sqlx::query_scalar(BY_DOMAIN).bind(domain);
    let id: Option<Uuid> = query.fetch_optional(&mut **inside).await?;
    Ok(id.map(TenantId))
}

/// Loads a tenant; the transaction must have entered it.
pub(super) async fn load(inside: Inside<'_>, tenant: TenantId) -> Result<Current, Failure> {
    let id = tenant.0;
    let row = sqlx::query_as(TENANT).bind(id).fetch_optional(&mut **inside).await?;
    let aliases = sqlx::query_as(ALIASES).bind(id).fetch_all(&mut **inside).await?;
    let digest = sqlx::query_as(DIGEST).bind(id).fetch_optional(&mut **inside).await?;
    let extensions: Vec<ExtensionRow> =
        sqlx::query_as(EXTENSIONS).bind(id).fetch_all(&mut **inside).await?;
    let groups: Vec<(Uuid, String, String)> =
        sqlx::query_as(GROUPS).bind(id).fetch_all(&mut **inside).await?;
    let members: Vec<(Uuid, String)> =
        sqlx::query_as(MEMBERS).bind(id).fetch_all(&mut **inside).await?;
    let conferences: Vec<ConferenceRow> =
        sqlx::query_as(CONFERENCES).bind(id).fetch_all(&mut **inside).await?;
    let numbers: Vec<NumberRow> = sqlx::query_as(NUMBERS).bind(id).fetch_all(&mut **inside).await?;
    let admins: Vec<(Uuid, String, String)> =
        sqlx::query_as(ADMINS).bind(id).fetch_all(&mut **inside).await?;
    let sounds: Vec<SoundRow> = sqlx::query_as(SOUNDS).bind(id).fetch_all(&mut **inside).await?;
    let announcements: Vec<(Uuid, String, String)> =
        sqlx::query_as(ANNOUNCEMENTS).bind(id).fetch_all(&mut **inside).await?;
    let group = |(id, number, name): (Uuid, String, String)| {
        let of = members.iter().filter(|(group, _)| *group == id);
        (number, GroupRow { id, name, members: of.map(|(_, number)| number.clone()).collect() })
    };
    Ok(Current {
        tenant: row,
        aliases,
        digest,
        extensions: extensions.into_iter().map(|row| (row.number.clone(), row)).collect(),
        groups: groups.into_iter().map(group).collect(),
        conferences: conferences.into_iter().map(|row| (row.number.clone(), row)).collect(),
        numbers: numbers.into_iter().map(|row| (row.number.clone(), row)).collect(),
        admins: admins.into_iter().map(|(id, email, hash)| (email, (id, hash))).collect(),
        sounds: sounds.into_iter().map(|row| (row.name.clone(), row)).collect(),
        announcements: announcements.into_iter().map(|(id, n, sound)| (n, (id, sound))).collect(),
    })
}
