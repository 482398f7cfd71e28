//! Loads tenants' configurations, each as one fact, from one snapshot of the database.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use pbx::id::{AnnouncementId, ConferenceId, GroupId, SoundId, TenantId, UserId};
use pbx::play::Country;
use pbx::tenant::directory::{
    Algorithm, Announcement, Conference, Directory, Encryption, Group, Limits, Place, PlainKeys,
    Record, Recording, Secrets, Sound, Srtp, User,
};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use uuid::Uuid;

use super::column;
use crate::database::{Database, begin};
use crate::failure::Failure;
use crate::query::Query;
use crate::secrets::{self, ClusterKey, Sealed};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The narrowest setting counts: the tenant's before the house's, this node's before every node's.
const TENANTS: &str = "
    SELECT t.id AS tenant_id, t.version, t.route, t.name, t.label, t.trusted::text[] AS trusted,
        t.max_calls, t.max_call_s, t.srtp, t.sdes_over_plain, t.record, t.record_code,
        t.music, t.announce_recording, t.country,
        (SELECT name FROM domain d WHERE d.tenant_id = t.id AND d.kind = 'canonical') AS domain,
        ARRAY(SELECT name FROM domain d WHERE d.tenant_id = t.id AND d.kind = 'alias'
              ORDER BY name) AS aliases,
        (SELECT ARRAY(SELECT jsonb_array_elements_text(s.value)) FROM setting s
         WHERE s.key = 'digest' AND s.tenant_id IN (t.id, house()) AND s.node IN ('*', $2)
         ORDER BY (s.tenant_id = t.id) DESC, (s.node <> '*') DESC LIMIT 1) AS digest
    FROM tenant t WHERE t.id = ANY ($1)";

const EXTENSIONS: &str = "
    SELECT tenant_id, id, number, username, credential, name, password_sealed, password_key, digest,
           max_contacts, max_calls, max_call_s, srtp, record, music,
           announce_recording
    FROM extension WHERE tenant_id = ANY ($1)";

const GROUPS: &str = "
    SELECT g.tenant_id, g.id, g.number, g.name,
        ARRAY(SELECT m.extension_id FROM ring_group_member m
              WHERE m.tenant_id = g.tenant_id AND m.ring_group_id = g.id
              ORDER BY m.position) AS members
    FROM ring_group g WHERE g.tenant_id = ANY ($1)";

const CONFERENCES: &str = "
    SELECT tenant_id, id, number, password_sealed, password_key
    FROM conference WHERE tenant_id = ANY ($1)";

const NUMBERS: &str = "
    SELECT n.tenant_id, n.number, coalesce(e.number, g.number, c.number) AS place
    FROM number n
    LEFT JOIN extension e ON e.tenant_id = n.tenant_id AND e.id = n.extension_id
    LEFT JOIN ring_group g ON g.tenant_id = n.tenant_id AND g.id = n.ring_group_id
    LEFT JOIN conference c ON c.tenant_id = n.tenant_id AND c.id = n.conference_id
    WHERE n.tenant_id = ANY ($1)";

const SOUNDS: &str = "
    SELECT tenant_id, id, name, object_id, sha256, bytes, lasts_ms
    FROM sound WHERE tenant_id = ANY ($1)";

const ANNOUNCEMENTS: &str = "
    SELECT tenant_id, id, number, sound FROM announcement WHERE tenant_id = ANY ($1)";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::node("tenants", TENANTS),
    Query::node("extensions", EXTENSIONS),
    Query::node("groups", GROUPS),
    Query::node("conferences", CONFERENCES),
    Query::node("numbers", NUMBERS),
    Query::node("sounds", SOUNDS),
    Query::node("announcements", ANNOUNCEMENTS),
];

/// The place in which an extension's password is sealed.
pub(crate) fn password_of(tenant: TenantId, extension: Uuid) -> secrets::Place {
    secrets::Place { tenant, field: "extension.password", row: extension }
}

/// The place in which a conference's PIN is sealed.
pub(crate) fn pin_of(tenant: TenantId, conference: Uuid) -> secrets::Place {
    secrets::Place { tenant, field: "conference.password", row: conference }
}

/// Loads tenants as `node` shall serve them; one that is gone or has no domain is not among them.
///
/// # Errors
/// If Postgres is away, or a password or PIN of any of them does not open with this key.
pub async fn load(
    database: &Database,
    key: &ClusterKey,
    node: &str,
    tenants: &[TenantId],
) -> Result<BTreeMap<TenantId, Directory>, Failure> {
    let mut snapshot = begin(&database.node, SNAPSHOT).await?;
    let ids: Vec<Uuid> = column(tenants, |tenant| tenant.0);
    let query = sqlx::query(TENANTS).bind(&ids).bind(node);
    let (mut directories, mut digests) = (BTreeMap::new(), BTreeMap::new());
    for row in query.fetch_all(&mut *snapshot).await? {
        let tenant = TenantId(row.try_get("tenant_id")?);
        directories.extend(empty(tenant, &row)?.map(|directory| (tenant, directory)));
        digests.extend(algorithms(row.try_get("digest")?).map(|digest| (tenant, digest)));
    }
    let unless_told = vec![Algorithm::Md5];
    for row in rows(&mut snapshot, EXTENSIONS, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        let digest = digests.get(&directory.tenant).unwrap_or(&unless_told);
        let user = user(key, directory, digest, &row)?;
        directory.names.insert(user.number.clone(), Place::User(user.id));
        directory.names.insert(user.sip_name().to_owned(), Place::User(user.id));
        directory.credentials.insert(user.secrets.username.clone(), user.id);
        directory.users.insert(user.id, user);
    }
    for row in rows(&mut snapshot, GROUPS, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        let members: Vec<Uuid> = row.try_get("members")?;
        let group = Group {
            id: GroupId(row.try_get("id")?),
            number: row.try_get("number")?,
            name: row.try_get("name")?,
            members: members.into_iter().map(UserId).collect(),
        };
        directory.names.insert(group.number.clone(), Place::Group(group.id));
        directory.groups.insert(group.id, group);
    }
    for row in rows(&mut snapshot, CONFERENCES, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        let conference = conference(key, directory.tenant, &row)?;
        directory.names.insert(conference.number.clone(), Place::Conference(conference.id));
        directory.conferences.insert(conference.id, conference);
    }
    for row in rows(&mut snapshot, NUMBERS, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        directory.numbers.insert(row.try_get("number")?, row.try_get("place")?);
    }
    for row in rows(&mut snapshot, SOUNDS, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        directory.sounds.insert(row.try_get("name")?, sound(&row)?);
    }
    for row in rows(&mut snapshot, ANNOUNCEMENTS, &ids).await? {
        let Some(directory) = owner(&mut directories, &row)? else { continue };
        let said = Announcement {
            id: AnnouncementId(row.try_get("id")?),
            number: row.try_get("number")?,
            sound: row.try_get("sound")?,
        };
        directory.names.insert(said.number.clone(), Place::Announcement(said.id));
        directory.announcements.insert(said.id, said);
    }
    snapshot.commit().await?;
    Ok(directories)
}

fn sound(row: &PgRow) -> Result<Sound, Failure> {
    let damaged = |_| Failure::Damaged("sound", "its checksum is none".to_owned());
    let (sha256, lasts_ms): (Vec<u8>, i32) = (row.try_get("sha256")?, row.try_get("lasts_ms")?);
    Ok(Sound {
        id: SoundId(row.try_get("id")?),
        object: row.try_get("object_id")?,
        sha256: sha256.try_into().map_err(damaged)?,
        bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0),
        lasts_for: Duration::from_millis(u64::try_from(lasts_ms).unwrap_or(0)),
    })
}

async fn rows(
    snapshot: &mut Transaction<'static, Postgres>,
    query: &'static str,
    tenants: &[Uuid],
) -> Result<Vec<PgRow>, Failure> {
    Ok(sqlx::query(query).bind(tenants).fetch_all(&mut **snapshot).await?)
}

/// Whose row it is.
fn owner<'d>(
    directories: &'d mut BTreeMap<TenantId, Directory>,
    row: &PgRow,
) -> Result<Option<&'d mut Directory>, Failure> {
    Ok(directories.get_mut(&TenantId(row.try_get("tenant_id")?)))
}

fn empty(tenant: TenantId, row: &PgRow) -> Result<Option<Directory>, Failure> {
    let Some(domain) = row.try_get("domain")? else { return Ok(None) };
    let trusted: Vec<String> = row.try_get("trusted")?;
    let country: Option<String> = row.try_get("country")?;
    Ok(Some(Directory {
        tenant,
        version: row.try_get("version")?,
        // The same 64 bits; Postgres has no unsigned number.
        route: row.try_get::<i64, _>("route")?.cast_unsigned(),
        name: row.try_get("name")?,
        domain,
        aliases: row.try_get("aliases")?,
        label: row.try_get("label")?,
        trusted: trusted.iter().filter_map(|range| network(range)).collect(),
        limits: limits(row)?,
        encryption: encryption(row)?,
        recording: recording(row)?,
        users: BTreeMap::new(),
        groups: BTreeMap::new(),
        conferences: BTreeMap::new(),
        numbers: BTreeMap::new(),
        names: BTreeMap::new(),
        credentials: BTreeMap::new(),
        sounds: BTreeMap::new(),
        music: row.try_get("music")?,
        // Where nobody knows whose tones they are, those of the country where this was written.
        country: country.as_deref().and_then(Country::of_code).unwrap_or_default(),
        announcements: BTreeMap::new(),
    }))
}

fn user(
    key: &ClusterKey,
    directory: &Directory,
    digest: &[Algorithm],
    row: &PgRow,
) -> Result<User, Failure> {
    let id: Uuid = row.try_get("id")?;
    let sealed =
        Sealed { key: row.try_get("password_key")?, bytes: row.try_get("password_sealed")? };
    let place = password_of(directory.tenant, id);
    let password = key.open(place, &sealed).ok_or(Failure::Sealed(directory.tenant))?;
    // The realm is the canonical domain, for aliases too.
    let realm = &directory.domain;
    let secrets = Secrets::new(row.try_get("credential")?, realm, &password);
    Ok(User {
        id: UserId(id),
        number: row.try_get("number")?,
        username: row.try_get("username")?,
        name: row.try_get("name")?,
        secrets: match &directory.label {
            Some(label) => secrets.labelled(label, realm, &password),
            None => secrets,
        },
        digest: algorithms(row.try_get("digest")?).unwrap_or_else(|| digest.to_owned()),
        max_contacts: u16::try_from(row.try_get::<i16, _>("max_contacts")?).unwrap_or(1),
        limits: limits(row)?,
        srtp: srtp(row.try_get("srtp")?).unwrap_or(directory.encryption.srtp),
        record: record(row.try_get("record")?).unwrap_or(directory.recording.rule),
        music: row.try_get("music")?,
        announce_recording: row.try_get("announce_recording")?,
    })
}

fn conference(key: &ClusterKey, tenant: TenantId, row: &PgRow) -> Result<Conference, Failure> {
    let id: Uuid = row.try_get("id")?;
    let bytes: Option<Vec<u8>> = row.try_get("password_sealed")?;
    let pin = match (bytes, row.try_get("password_key")?) {
        (Some(bytes), Some(number)) => {
            let opened = key.open(pin_of(tenant, id), &Sealed { key: number, bytes });
            Some(opened.ok_or(Failure::Sealed(tenant))?)
        }
        _ => None,
    };
    Ok(Conference { id: ConferenceId(id), number: row.try_get("number")?, pin })
}

fn limits(row: &PgRow) -> Result<Limits, Failure> {
    let max_calls: Option<i32> = row.try_get("max_calls")?;
    let max_call_s: Option<i32> = row.try_get("max_call_s")?;
    Ok(Limits {
        max_calls: max_calls.and_then(|most| u32::try_from(most).ok()),
        max_call_for: max_call_s.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs),
    })
}

fn encryption(row: &PgRow) -> Result<Encryption, Failure> {
    let plain_keys = match row.try_get("sdes_over_plain")? {
        true => PlainKeys::Taken,
        false => PlainKeys::Refused,
    };
    Ok(Encryption { srtp: srtp(row.try_get("srtp")?).unwrap_or_default(), plain_keys })
}

fn recording(row: &PgRow) -> Result<Recording, Failure> {
    Ok(Recording {
        rule: record(row.try_get("record")?).unwrap_or_default(),
        code: row.try_get("record_code")?,
        announcement: row.try_get("announce_recording")?,
    })
}

/// What a column says; a word of a later release is as good as none.
fn record(word: Option<&str>) -> Option<Record> {
    match word? {
        "off" => Some(Record::Off),
        "always" => Some(Record::Always),
        "on_demand" => Some(Record::OnDemand),
        _ => None,
    }
}

/// What a column says; a word of a later release is as good as none.
fn srtp(word: Option<&str>) -> Option<Srtp> {
    match word? {
        "off" => Some(Srtp::Off),
        "optional" => Some(Srtp::Optional),
        "required" => Some(Srtp::Required),
        _ => None,
    }
}

fn algorithms(names: Option<Vec<String>>) -> Option<Vec<Algorithm>> {
    let known = |name: &String| match name.as_str() {
        "MD5" => Some(Algorithm::Md5),
        "SHA-256" => Some(Algorithm::Sha256),
        _ => None,
    };
    let algorithms: Vec<Algorithm> = names?.iter().filter_map(known).collect();
    (!algorithms.is_empty()).then_some(algorithms)
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}
