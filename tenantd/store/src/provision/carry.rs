//! Makes one tenant what the file says, and tells each difference in a line without secrets.

use std::collections::{BTreeMap, BTreeSet};

use pbx::id::TenantId;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::admins::DROP_MEMBERSHIPS;
use super::announcements::DROP_ANNOUNCEMENTS;
use super::clash::Pace;
use super::current::{self, Current, TenantRow};
use super::extensions::DROP_EXTENSIONS;
use super::groups::DROP_GROUPS;
use super::numbers::{DROP_NUMBERS, Places};
use super::sounds::Sounds;
use super::wanted::{File, Named, Tenant};
use super::{Absent, NotApplied};
use crate::database::go_in;
use crate::failure::Failure;
use crate::id::fresh;
use crate::query::Query;
use crate::secrets::ClusterKey;

const ADD_TENANT: &str = "
    INSERT INTO tenant (id, route, name, label, country, time_zone, max_calls, max_call_s, trusted,
        srtp, sdes_over_plain, max_sounds, sound_quota, record, record_code, record_days,
        music, announce_recording)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text[]::cidr[], $10, $11, $12, $13, $14, $15, $16,
        $17, $18)";
const CHANGE_TENANT: &str = "
    UPDATE tenant SET name = $2, label = $3, country = $4, time_zone = $5, max_calls = $6,
        max_call_s = $7, trusted = $8::text[]::cidr[], srtp = $9, sdes_over_plain = $10,
        max_sounds = $11, sound_quota = $12, record = $13, record_code = $14, record_days = $15,
        music = $16, announce_recording = $17
    WHERE id = $1";
const ADD_DOMAIN: &str = "INSERT INTO domain (tenant_id, id, name, kind) VALUES ($1, $2, $3, $4)";
const DROP_DOMAIN: &str = "DELETE FROM domain WHERE tenant_id = $1 AND id = $2";
const SET_DIGEST: &str = "
    INSERT INTO setting (tenant_id, id, node, key, value) VALUES ($1, $2, '*', 'digest', $3)
    ON CONFLICT (tenant_id, node, key) DO UPDATE SET value = excluded.value";
/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("add_tenant", ADD_TENANT),
    Query::provider("change_tenant", CHANGE_TENANT),
    Query::provider("add_domain", ADD_DOMAIN),
    Query::provider("drop_domain", DROP_DOMAIN),
    Query::provider("set_digest", SET_DIGEST),
];

pub(super) type Inside<'a> = &'a mut Transaction<'static, Postgres>;

/// What it takes to carry one tenant.
pub(super) struct Carrier<'a> {
    pub(super) key: &'a ClusterKey,
    pub(super) file: &'a File,
    pub(super) tenant: &'a Tenant,
    pub(super) who: &'a str,
    /// What admins' passwords are kept as, by address.
    pub(super) hashes: &'a BTreeMap<String, String>,
    pub(super) absent: Absent,
    pub(super) pace: Pace,
    pub(super) sounds: &'a Sounds,
}

/// A tenant on its way, with the lines told so far.
pub(super) struct Way {
    pub(super) id: TenantId,
    lines: Vec<String>,
}

impl Way {
    pub(super) fn tell(&mut self, domain: &str, what: impl std::fmt::Display) {
        self.lines.push(format!("{domain}: {what}"));
    }
}

impl Carrier<'_> {
    /// Makes the tenant what the file says.
    pub(super) async fn carry(
        &self,
        inside: Inside<'_>,
    ) -> Result<(TenantId, Vec<String>), NotApplied> {
        let known = current::by_domain(inside, &self.tenant.domain).await?;
        let new = || self.sounds.tenant(&self.tenant.domain).unwrap_or_else(|| TenantId(fresh()));
        let id = known.unwrap_or_else(new);
        go_in(inside, id, self.who).await?;
        let now = current::load(inside, id).await?;
        let mut way = Way { id, lines: Vec::new() };
        if self.pace == Pace::OneByOne {
            // What goes must not be blamed for what comes.
            self.prune(inside, &mut way, &now).await?;
        }
        self.carry_tenant(inside, &mut way, &now).await?;
        let extensions = self.carry_extensions(inside, &mut way, &now).await?;
        let groups = self.carry_groups(inside, &mut way, &now, &extensions).await?;
        let conferences = self.carry_conferences(inside, &mut way, &now).await?;
        let places = Places { extensions, groups, conferences };
        self.carry_numbers(inside, &mut way, &now, &places).await?;
        self.carry_admins(inside, &mut way, &now).await?;
        self.carry_sounds(inside, &mut way, &now).await?;
        self.carry_announcements(inside, &mut way, &now).await?;
        self.prune(inside, &mut way, &now).await?;
        Ok((id, way.lines))
    }

    async fn carry_tenant(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), NotApplied> {
        let wanted = self.wanted_tenant(now.tenant.as_ref());
        let (id, domain) = (way.id.0, &self.tenant.domain);
        match &now.tenant {
            None => {
                way.tell(domain, "a new tenant");
                let query = sqlx::query(ADD_TENANT).bind(id).bind(rand::random::<i64>());
                self.bind_tenant(query, &wanted)
                    .execute(&mut **inside)
                    .await
                    .map_err(|error| self.blame_tenant(error))?;
                self.add_domain(inside, way, domain, "canonical").await?;
            }
            Some(row) if *row != wanted => {
                way.tell(domain, "changed");
                let query = sqlx::query(CHANGE_TENANT).bind(id);
                self.bind_tenant(query, &wanted)
                    .execute(&mut **inside)
                    .await
                    .map_err(|error| self.blame_tenant(error))?;
            }
            Some(_) => {}
        }
        let knew = now.tenant.as_ref().is_some_and(|row| row.sdes_over_plain);
        if wanted.sdes_over_plain && !knew {
            way.tell(domain, "sdes_over_plain: keys of sound that others can read are taken");
        }
        if let Some(aliases) = &self.tenant.aliases {
            for (row, name) in now.aliases.iter().filter(|(_, name)| !aliases.contains(name)) {
                way.tell(domain, format_args!("alias {name} goes"));
                sqlx::query(DROP_DOMAIN).bind(id).bind(row).execute(&mut **inside).await?;
            }
            let known: BTreeSet<&str> = now.aliases.iter().map(|(_, name)| name.as_str()).collect();
            for name in aliases.iter().filter(|name| !known.contains(name.as_str())) {
                way.tell(domain, format_args!("alias {name} comes"));
                self.add_domain(inside, way, name, "alias").await?;
            }
        }
        if let Some(digest) = &self.tenant.digest {
            let value = json!(digest);
            if now.digest.as_ref().map(|(_, value)| value) != Some(&value) {
                way.tell(domain, format_args!("digest {}", digest.join(", ")));
                let query = sqlx::query(SET_DIGEST).bind(id).bind(fresh()).bind(value);
                query.execute(&mut **inside).await?;
            }
        }
        Ok(())
    }

    async fn add_domain(
        &self,
        inside: Inside<'_>,
        way: &Way,
        name: &str,
        kind: &str,
    ) -> Result<(), NotApplied> {
        let query = sqlx::query(ADD_DOMAIN).bind(way.id.0).bind(fresh()).bind(name).bind(kind);
        let added = query.execute(&mut **inside).await;
        added.map(drop).map_err(|error| self.file.blame(self.tenant.line, name, error))
    }

    /// The only name in a tenant's own row is its label.
    fn blame_tenant(&self, error: sqlx::Error) -> NotApplied {
        let label = self.tenant.about.label.as_deref().unwrap_or_default();
        self.file.blame(self.tenant.line, label, error)
    }

    fn bind_tenant<'q>(
        &self,
        query: sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>,
        row: &TenantRow,
    ) -> sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments> {
        let row = row.clone();
        query
            .bind(row.name)
            .bind(row.label)
            .bind(row.country)
            .bind(row.time_zone)
            .bind(row.max_calls)
            .bind(row.max_call_s)
            .bind(row.trusted)
            .bind(row.srtp)
            .bind(row.sdes_over_plain)
            .bind(row.max_sounds)
            .bind(row.sound_quota)
            .bind(row.record)
            .bind(row.record_code)
            .bind(row.record_days)
            .bind(row.music)
            .bind(row.announce_recording)
    }

    pub(super) fn wanted_tenant(&self, now: Option<&TenantRow>) -> TenantRow {
        let about = &self.tenant.about;
        let limits = self.tenant.limits;
        TenantRow {
            name: match (&about.name, now) {
                (Some(name), _) => name.clone(),
                (None, Some(now)) => now.name.clone(),
                (None, None) => self.tenant.domain.clone(),
            },
            label: kept(&about.label, now.and_then(|now| now.label.clone())),
            country: kept(&about.country, now.and_then(|now| now.country.clone())),
            time_zone: match (&about.time_zone, now) {
                (Some(zone), _) => zone.clone(),
                (None, Some(now)) => now.time_zone.clone(),
                (None, None) => "UTC".to_owned(),
            },
            max_calls: limit(limits.max_calls, now.and_then(|now| now.max_calls)),
            max_call_s: limit(limits.max_call_s, now.and_then(|now| now.max_call_s)),
            trusted: match (&self.tenant.trusted, now) {
                (Some(trusted), _) => trusted.clone(),
                (None, now) => now.map(|now| now.trusted.clone()).unwrap_or_default(),
            },
            srtp: match (&self.tenant.encryption.srtp, now) {
                (Some(srtp), _) => srtp.clone(),
                (None, Some(now)) => now.srtp.clone(),
                (None, None) => "optional".to_owned(),
            },
            sdes_over_plain: match (self.tenant.encryption.sdes_over_plain, now) {
                (Some(taken), _) => taken,
                (None, now) => now.is_some_and(|now| now.sdes_over_plain),
            },
            max_sounds: match limits.max_sounds {
                Some(most) => i32::try_from(most).ok(),
                None => now.and_then(|now| now.max_sounds),
            },
            sound_quota: match limits.sound_bytes {
                Some(most) => i64::try_from(most).ok(),
                None => now.and_then(|now| now.sound_quota),
            },
            record: match (&self.tenant.recording.rule, now) {
                (Some(rule), _) => rule.clone(),
                (None, Some(now)) => now.record.clone(),
                (None, None) => "off".to_owned(),
            },
            record_code: match (&self.tenant.recording.code, now) {
                (Some(code), _) => code.clone(),
                (None, Some(now)) => now.record_code.clone(),
                (None, None) => "*1".to_owned(),
            },
            record_days: limit(self.tenant.recording.days, now.and_then(|now| now.record_days)),
            music: kept_sound(&self.tenant.played.music, now.and_then(|now| now.music.clone())),
            announce_recording: kept_sound(
                &self.tenant.recording.announcement,
                now.and_then(|now| now.announce_recording.clone()),
            ),
        }
    }

    async fn prune(&self, inside: Inside<'_>, way: &mut Way, now: &Current) -> Result<(), Failure> {
        if self.absent == Absent::Keep {
            return Ok(());
        }
        let tenant = self.tenant;
        let numbers: BTreeSet<&str> = tenant.numbers.iter().map(|n| n.number.as_str()).collect();
        let groups: BTreeSet<&str> = tenant.groups.iter().map(|g| g.number.as_str()).collect();
        let users: BTreeSet<&str> = tenant.extensions.iter().map(|e| e.number.as_str()).collect();
        let admins: BTreeSet<&str> = tenant.admins.iter().map(|a| a.email.as_str()).collect();
        let gone = |names: Vec<(&String, Uuid)>, wanted: &BTreeSet<&str>| -> Vec<(String, Uuid)> {
            let absent = names.into_iter().filter(|(name, _)| !wanted.contains(name.as_str()));
            absent.map(|(name, id)| (name.clone(), id)).collect()
        };
        let said = &tenant.played.announcements;
        let said: BTreeSet<&str> = said.iter().map(|said| said.number.as_str()).collect();
        let doomed = [
            (
                "announcement",
                DROP_ANNOUNCEMENTS,
                gone(now.announcements.iter().map(|(k, v)| (k, v.0)).collect(), &said),
            ),
            (
                "number",
                DROP_NUMBERS,
                gone(now.numbers.iter().map(|(k, v)| (k, v.id)).collect(), &numbers),
            ),
            (
                "ring group",
                DROP_GROUPS,
                gone(now.groups.iter().map(|(k, v)| (k, v.id)).collect(), &groups),
            ),
            (
                "extension",
                DROP_EXTENSIONS,
                gone(now.extensions.iter().map(|(k, v)| (k, v.id)).collect(), &users),
            ),
            (
                "admin",
                DROP_MEMBERSHIPS,
                gone(now.admins.iter().map(|(k, v)| (k, v.0)).collect(), &admins),
            ),
        ];
        for (what, sql, rows) in doomed {
            for (name, _) in &rows {
                way.tell(&tenant.domain, format_args!("{what} {name} goes"));
            }
            let ids: Vec<Uuid> = rows.into_iter().map(|(_, id)| id).collect();
            if !ids.is_empty() {
                sqlx::query(sql).bind(way.id.0).bind(ids).execute(&mut **inside).await?;
            }
        }
        self.prune_conferences(inside, way, now).await?;
        Ok(self.prune_sounds(inside, way, now).await?)
    }
}

/// What is said, or what there is; an empty text takes it away.
pub(super) fn kept(said: &Option<String>, now: Option<String>) -> Option<String> {
    match said {
        Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        None => now,
    }
}

/// The same of a sound's name.
pub(super) fn kept_sound(said: &Option<Named>, now: Option<String>) -> Option<String> {
    match said {
        Some(Named { name, .. }) => Some(name.clone()).filter(|name| !name.is_empty()),
        None => now,
    }
}

/// What is said, or what there is; 0 is no limit.
pub(super) fn limit(said: Option<u32>, now: Option<i32>) -> Option<i32> {
    match said {
        Some(limit) => i32::try_from(limit).ok().filter(|limit| *limit > 0),
        None => now,
    }
}
