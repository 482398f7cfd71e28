//! Extensions on their way from a provisioning file into the database.

use std::collections::BTreeMap;

use pbx::id::TenantId;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::NotApplied;
use super::carry::{Carrier, Inside, Way, kept, kept_sound, limit};
use super::clash::Pace;
use super::current::{Current, ExtensionRow};
use super::wanted::{Extension, Limits};
use crate::id::fresh;
use crate::node::directory::password_of;
use crate::query::Query;
use crate::secrets::Sealed;

const ADD_EXTENSIONS: &str = "
    INSERT INTO extension (tenant_id, id, number, username, auth_username, password_sealed,
        password_key, name, email, voicemail, digest, max_contacts, max_calls, max_call_s, srtp,
        record, music, announce_recording)
    SELECT $1, e.id, e.number, e.username, e.auth_username, e.password_sealed, e.password_key,
        e.name, e.email, e.voicemail, string_to_array(e.digest, ','), e.max_contacts, e.max_calls,
        e.max_call_s, e.srtp, e.record, e.music, e.announce_recording
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::int[], $8::text[],
        $9::text[], $10::bool[], $11::text[], $12::smallint[], $13::int[], $14::int[],
        $15::text[], $16::text[], $17::text[], $18::text[])
        AS e (id, number, username, auth_username, password_sealed, password_key, name, email,
            voicemail, digest, max_contacts, max_calls, max_call_s, srtp, record,
            music, announce_recording)";
/// Takes the same as the statement above, so both are bound by the same hand.
const CHANGE_EXTENSIONS: &str = "
    UPDATE extension SET username = e.username, auth_username = e.auth_username,
        password_sealed = e.password_sealed, password_key = e.password_key, name = e.name,
        email = e.email, voicemail = e.voicemail, digest = string_to_array(e.digest, ','),
        max_contacts = e.max_contacts, max_calls = e.max_calls, max_call_s = e.max_call_s,
        srtp = e.srtp, record = e.record, music = e.music,
        announce_recording = e.announce_recording
    FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::int[], $8::text[],
        $9::text[], $10::bool[], $11::text[], $12::smallint[], $13::int[], $14::int[],
        $15::text[], $16::text[], $17::text[], $18::text[])
        AS e (id, number, username, auth_username, password_sealed, password_key, name, email,
            voicemail, digest, max_contacts, max_calls, max_call_s, srtp, record,
            music, announce_recording)
    WHERE extension.tenant_id = $1 AND extension.id = e.id";
pub(super) const DROP_EXTENSIONS: &str =
    "DELETE FROM extension WHERE tenant_id = $1 AND id = ANY ($2)";
/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("add_extensions", ADD_EXTENSIONS),
    Query::provider("change_extensions", CHANGE_EXTENSIONS),
    Query::provider("drop_extensions", DROP_EXTENSIONS),
];

impl Carrier<'_> {
    pub(super) async fn carry_extensions(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<BTreeMap<String, Uuid>, NotApplied> {
        let domain = &self.tenant.domain;
        let mut ids: BTreeMap<String, Uuid> =
            now.extensions.iter().map(|(number, row)| (number.clone(), row.id)).collect();
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        for wanted in &self.tenant.extensions {
            let number = &wanted.number;
            match now.extensions.get(number) {
                None => {
                    let row = self.new_extension(way.id, wanted)?;
                    ids.insert(number.clone(), row.id);
                    way.tell(domain, format_args!("extension {number} comes"));
                    added.push((wanted, row));
                }
                Some(row) => {
                    let (row, changes) = self.changed_extension(way.id, row, wanted)?;
                    if !changes.is_empty() {
                        let changes = changes.join(", ");
                        way.tell(domain, format_args!("extension {number}: {changes}"));
                        changed.push((wanted, row));
                    }
                }
            }
        }
        // A name that is given up goes before it is given to another.
        self.write_extensions(inside, way, CHANGE_EXTENSIONS, &changed).await?;
        self.write_extensions(inside, way, ADD_EXTENSIONS, &added).await?;
        Ok(ids)
    }

    async fn write_extensions(
        &self,
        inside: Inside<'_>,
        way: &Way,
        statement: &'static str,
        rows: &[(&Extension, ExtensionRow)],
    ) -> Result<(), NotApplied> {
        for many in rows.chunks(Pace::Together.rows()) {
            let chunk = match self.pace {
                Pace::OneByOne if fit(inside, way.id, statement, many).await? => continue,
                pace => pace.rows(),
            };
            for chunk in many.chunks(chunk) {
                let written = write_extensions(inside, way.id, statement, chunk).await;
                written.map_err(|error| {
                    let first = chunk.first().map(|(wanted, _)| wanted);
                    let (line, number) = first.map_or((1, ""), |w| (w.line, w.number.as_str()));
                    self.file.blame(line, number, error)
                })?;
            }
        }
        Ok(())
    }

    fn new_extension(
        &self,
        tenant: TenantId,
        wanted: &Extension,
    ) -> Result<ExtensionRow, NotApplied> {
        let Some(password) = &wanted.password else {
            let reason = format!("extension {} is new and needs a password", wanted.number);
            return Err(self.file.problem(wanted.line, reason).into());
        };
        let id = fresh();
        let Sealed { key, bytes } = self.key.seal(password_of(tenant, id), password);
        Ok(ExtensionRow {
            id,
            number: wanted.number.clone(),
            username: kept(&wanted.username, None).filter(|name| *name != wanted.number),
            auth_username: kept(&wanted.auth_username, None),
            password_sealed: bytes,
            password_key: key,
            name: wanted.name.clone().unwrap_or_default(),
            email: kept(&wanted.email, None),
            voicemail: wanted.voicemail.unwrap_or(false),
            digest: wanted.digest.clone(),
            max_contacts: contacts(wanted.max_contacts, 1),
            max_calls: limit(wanted.limits.max_calls, None),
            max_call_s: limit(wanted.limits.max_call_s, None),
            srtp: kept(&wanted.srtp, None),
            record: kept(&wanted.record, None),
            music: kept_sound(&wanted.music, None),
            announce_recording: kept_sound(&wanted.announce_recording, None),
        })
    }

    /// The row as it shall be, and what is different; a secret is only said to be another one.
    fn changed_extension(
        &self,
        tenant: TenantId,
        now: &ExtensionRow,
        wanted: &Extension,
    ) -> Result<(ExtensionRow, Vec<&'static str>), NotApplied> {
        let mut row = now.clone();
        let mut changes = Vec::new();
        row.username =
            kept(&wanted.username, now.username.clone()).filter(|name| *name != wanted.number);
        row.auth_username = kept(&wanted.auth_username, now.auth_username.clone());
        row.name = wanted.name.clone().unwrap_or_else(|| now.name.clone());
        row.email = kept(&wanted.email, now.email.clone());
        row.voicemail = wanted.voicemail.unwrap_or(now.voicemail);
        row.digest = wanted.digest.clone().or_else(|| now.digest.clone());
        row.max_contacts = contacts(wanted.max_contacts, now.max_contacts);
        let Limits { max_calls, max_call_s, .. } = wanted.limits;
        row.max_calls = limit(max_calls, now.max_calls);
        row.max_call_s = limit(max_call_s, now.max_call_s);
        row.srtp = kept(&wanted.srtp, now.srtp.clone());
        row.record = kept(&wanted.record, now.record.clone());
        row.music = kept_sound(&wanted.music, now.music.clone());
        let announced = now.announce_recording.clone();
        row.announce_recording = kept_sound(&wanted.announce_recording, announced);
        if let Some(password) = &wanted.password {
            let place = password_of(tenant, now.id);
            let sealed = Sealed { key: now.password_key, bytes: now.password_sealed.clone() };
            if self.key.open(place, &sealed).as_deref() != Some(password) {
                let Sealed { key, bytes } = self.key.seal(place, password);
                (row.password_key, row.password_sealed) = (key, bytes);
                changes.push("another password");
            }
        }
        let differs = [
            (row.username != now.username, "username"),
            (row.auth_username != now.auth_username, "auth_username"),
            (row.name != now.name, "name"),
            (row.email != now.email, "email"),
            (row.voicemail != now.voicemail, "voicemail"),
            (row.digest != now.digest, "digest"),
            (row.max_contacts != now.max_contacts, "max_contacts"),
            (row.max_calls != now.max_calls, "max_calls"),
            (row.max_call_s != now.max_call_s, "max_call_for"),
            (row.srtp != now.srtp, "srtp"),
            (row.record != now.record, "record"),
            (row.music != now.music, "music"),
            (row.announce_recording != now.announce_recording, "announce_recording"),
        ];
        changes.extend(differs.iter().filter(|(differs, _)| *differs).map(|(_, what)| *what));
        Ok((row, changes))
    }
}

/// Tries to write many; if one of them clashes, none is written. So whoever looks for the line that is
/// wrong goes row by row only where it is.
async fn fit(
    inside: Inside<'_>,
    tenant: TenantId,
    statement: &'static str,
    rows: &[(&Extension, ExtensionRow)],
) -> Result<bool, sqlx::Error> {
    let mut tried = inside.begin().await?;
    match write_extensions(&mut tried, tenant, statement, rows).await {
        Ok(()) => tried.commit().await.map(|()| true),
        Err(_) => tried.rollback().await.map(|()| false),
    }
}

async fn write_extensions(
    connection: &mut PgConnection,
    tenant: TenantId,
    statement: &'static str,
    rows: &[(&Extension, ExtensionRow)],
) -> Result<(), sqlx::Error> {
    fn column<T>(
        rows: &[(&Extension, ExtensionRow)],
        value: impl Fn(&ExtensionRow) -> T,
    ) -> Vec<T> {
        rows.iter().map(|(_, row)| value(row)).collect()
    }
    let digests = column(rows, |row| row.digest.as_ref().map(|names| names.join(",")));
    sqlx::query(statement)
        .bind(tenant.0)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.number.clone()))
        .bind(column(rows, |row| row.username.clone()))
        .bind(column(rows, |row| row.auth_username.clone()))
        .bind(column(rows, |row| row.password_sealed.clone()))
        .bind(column(rows, |row| row.password_key))
        .bind(column(rows, |row| row.name.clone()))
        .bind(column(rows, |row| row.email.clone()))
        .bind(column(rows, |row| row.voicemail))
        .bind(digests)
        .bind(column(rows, |row| row.max_contacts))
        .bind(column(rows, |row| row.max_calls))
        .bind(column(rows, |row| row.max_call_s))
        .bind(column(rows, |row| row.srtp.clone()))
        .bind(column(rows, |row| row.record.clone()))
        .bind(column(rows, |row| row.music.clone()))
        .bind(column(rows, |row| row.announce_recording.clone()))
        .execute(connection)
        .await?;
    Ok(())
}

fn contacts(said: Option<u32>, now: i16) -> i16 {
    said.and_then(|count| i16::try_from(count).ok()).unwrap_or(now)
}
