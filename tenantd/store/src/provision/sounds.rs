//! A tenant's sounds: what of a file's recordings is new, and the rows that say so.
//!
//! Recordings are read, made ready and put into the outbox before the transaction begins, because
//! that takes long and needs no database; inside of it only rows change. A recording whose file is the
//! same as at the last time is not even read.

use std::collections::{BTreeMap, BTreeSet};

use pbx::id::TenantId;
use uuid::Uuid;

use super::carry::{Carrier, Inside, Way};
use super::current::{self, Current, SoundRow};
use super::wanted::{File, SoundFile};
use super::{Absent, NotApplied};
use crate::database::{BEGIN, Database, HOUSE, begin, go_in};
use crate::id::fresh;
use crate::object_work::{DOOM, PUT};
use crate::objects::{Kind, ObjectKey, Staged};
use crate::query::Query;

/// What a tenant may have if nothing else is said; `sound_limits` in the schema says the same.
pub const MOST_SOUNDS: i32 = 500;
/// The same in bytes.
pub const MOST_SOUND_BYTES: i64 = 512 << 20;

const SOUNDS: &str = "SELECT name, source_sha256 FROM sound WHERE tenant_id = $1";
pub(crate) const PUT_SOUND: &str = "
    INSERT INTO sound (tenant_id, id, name, object_id, source_sha256, sha256, bytes, lasts_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (tenant_id, id) DO UPDATE SET object_id = excluded.object_id,
        source_sha256 = excluded.source_sha256, sha256 = excluded.sha256,
        bytes = excluded.bytes, lasts_ms = excluded.lasts_ms";
pub(crate) const DROP_SOUND: &str = "DELETE FROM sound WHERE tenant_id = $1 AND id = $2";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("sounds", SOUNDS),
    Query::provider("put_sound", PUT_SOUND),
    Query::provider("drop_sound", DROP_SOUND),
];

/// A recording as it will be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// SHA-256 of the file that it was made of.
    pub source: [u8; 32],
    /// Where it waits.
    pub staged: Staged,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u32,
}

/// What is known of a file's sounds before it is applied, and what was made ready.
#[derive(Debug, Clone, Default)]
pub struct Sounds {
    node: String,
    tenants: BTreeMap<String, TenantId>,
    known: BTreeMap<(String, String), Vec<u8>>,
    ready: BTreeMap<(String, String), Ready>,
}

impl Sounds {
    /// Finds out what there is; what is new will wait in `node`'s outbox.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn of(database: &Database, file: &File, node: &str) -> Result<Self, NotApplied> {
        let mut sounds = Self { node: node.to_owned(), ..Self::default() };
        let domains: BTreeSet<String> = file.sounds().map(|sound| sound.domain).collect();
        if domains.is_empty() {
            return Ok(sounds);
        }
        let mut look = begin(&database.provider, BEGIN).await?;
        for domain in domains {
            // It is another tenant's place that its domain is looked up from.
            go_in(&mut look, HOUSE, "tenantd apply").await?;
            let known = current::by_domain(&mut look, &domain).await?;
            let tenant = known.unwrap_or_else(|| TenantId(fresh()));
            go_in(&mut look, tenant, "tenantd apply").await?;
            let rows: Vec<(String, Vec<u8>)> =
                sqlx::query_as(SOUNDS).bind(tenant.0).fetch_all(&mut *look).await?;
            let rows = rows.into_iter().map(|(name, source)| ((domain.clone(), name), source));
            sounds.known.extend(rows);
            sounds.tenants.insert(domain, tenant);
        }
        look.rollback().await?;
        Ok(sounds)
    }

    /// Whether this recording is the one that there is.
    pub fn is_known(&self, sound: &SoundFile, source: &[u8; 32]) -> bool {
        self.known.get(&place(sound)).is_some_and(|known| known == source)
    }

    /// A key for a new recording; `None`: the sound is not of this file.
    pub fn new_key(&self, sound: &SoundFile) -> Option<ObjectKey> {
        let tenant = *self.tenants.get(&sound.domain)?;
        Some(ObjectKey::new(tenant, Kind::Sound, fresh()))
    }

    /// This recording is ready.
    pub fn insert(&mut self, sound: &SoundFile, ready: Ready) {
        self.ready.insert(place(sound), ready);
    }

    /// All that wait.
    pub fn staged(&self) -> impl Iterator<Item = Staged> {
        self.ready.values().map(|ready| ready.staged)
    }

    /// The id that a tenant of this file gets if it is new.
    pub(super) fn tenant(&self, domain: &str) -> Option<TenantId> {
        self.tenants.get(domain).copied()
    }
}

fn place(sound: &SoundFile) -> (String, String) {
    (sound.domain.clone(), sound.name.clone())
}

impl Carrier<'_> {
    pub(super) async fn carry_sounds(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), NotApplied> {
        let domain = &self.tenant.domain;
        let mut room = self.room(now);
        for wanted in &self.tenant.sounds {
            let (name, known) = (&wanted.name, now.sounds.get(&wanted.name));
            let ready = self.sounds.ready.get(&(domain.clone(), name.clone()));
            let Some(ready) = ready.filter(|ready| ready.staged.key.tenant() == way.id) else {
                // It was found to be the same as the last one, and nobody else was here since.
                let source = self.sounds.known.get(&(domain.clone(), name.clone()));
                match known.is_some_and(|row| Some(&row.source_sha256) == source) {
                    true => continue,
                    false => {
                        let reason = format!("sound {name:?} was changed meanwhile: apply again");
                        return Err(self.file.problem(wanted.line, reason).into());
                    }
                }
            };
            let content = ready.staged.content;
            let bytes = i64::try_from(content.bytes).unwrap_or(i64::MAX);
            room.take(known, bytes).map_err(|reason| {
                self.file.problem(wanted.line, format!("sound {name:?}: {reason}"))
            })?;
            way.tell(
                domain,
                match known {
                    Some(_) => format!("sound {name} changes"),
                    None => format!("sound {name} comes"),
                },
            );
            let id = known.map_or_else(fresh, |row| row.id);
            let query = sqlx::query(PUT_SOUND).bind(way.id.0).bind(id).bind(name);
            let query = query.bind(ready.staged.key.id()).bind(ready.source.as_slice());
            let query = query.bind(content.sha256.as_slice()).bind(bytes);
            let lasts_ms = i32::try_from(ready.lasts_ms).unwrap_or(i32::MAX);
            query.bind(lasts_ms).execute(&mut **inside).await?;
            let query = sqlx::query(PUT).bind(way.id.0).bind(ready.staged.key.id());
            let query = query.bind(Kind::Sound.name()).bind(&self.sounds.node);
            let query = query.bind(content.sha256.as_slice()).bind(bytes);
            query.execute(&mut **inside).await?;
            if let Some(old) = known {
                doom(inside, way.id, old).await?;
            }
        }
        Ok(())
    }

    /// Sounds that the file does not name.
    pub(super) async fn prune_sounds(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), sqlx::Error> {
        for (name, row) in now.sounds.iter().filter(|(name, _)| !self.names_sound(name)) {
            way.tell(&self.tenant.domain, format_args!("sound {name} goes"));
            let query = sqlx::query(DROP_SOUND).bind(way.id.0).bind(row.id);
            query.execute(&mut **inside).await?;
            doom(inside, way.id, row).await?;
        }
        Ok(())
    }

    fn names_sound(&self, name: &str) -> bool {
        self.tenant.sounds.iter().any(|sound| sound.name == name)
    }

    /// What stays is counted before anything comes.
    fn room(&self, now: &Current) -> Room {
        let stays = |name: &str| self.absent == Absent::Keep || self.names_sound(name);
        let staying = now.sounds.iter().filter(|(name, _)| stays(name));
        let (sounds, bytes) =
            staying.fold((0, 0), |(count, sum), (_, row)| (count + 1, sum + row.bytes));
        let limits = self.wanted_tenant(now.tenant.as_ref());
        Room {
            sounds,
            bytes,
            most_sounds: limits.max_sounds.unwrap_or(MOST_SOUNDS),
            most_bytes: limits.sound_quota.unwrap_or(MOST_SOUND_BYTES),
        }
    }
}

/// A tenant's quota, and what of it is used.
struct Room {
    sounds: i32,
    bytes: i64,
    most_sounds: i32,
    most_bytes: i64,
}

impl Room {
    fn take(&mut self, instead_of: Option<&SoundRow>, bytes: i64) -> Result<(), String> {
        match instead_of {
            Some(old) => self.bytes -= old.bytes,
            None => self.sounds += 1,
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.sounds > self.most_sounds {
            return Err(format!("the tenant may have {} sounds", self.most_sounds));
        }
        if self.bytes > self.most_bytes {
            let (most, wanted) = (self.most_bytes, self.bytes);
            return Err(format!("the tenant may have {most} bytes of sounds, not {wanted}"));
        }
        Ok(())
    }
}

async fn doom(inside: Inside<'_>, tenant: TenantId, row: &SoundRow) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DOOM).bind(tenant.0).bind::<Uuid>(row.object_id);
    let query = query.bind(Kind::Sound.name()).bind(&row.sha256).bind(row.bytes);
    query.execute(&mut **inside).await.map(drop)
}
