//! Brings the database to what a provisioning file says: all of it in one transaction, or nothing.
//!
//! Tenants that the file does not name are left alone, and so is whatever it does not say about
//! those that it names. Applying the same file again changes nothing.

mod admins;
mod announcements;
mod carry;
mod clash;
mod conferences;
mod countries;
mod current;
mod extensions;
mod file;
mod groups;
mod lines;
mod numbers;
mod raw;
mod sounds;
mod twice;
mod values;
mod wanted;

use std::collections::BTreeMap;
use std::fmt;

use pbx::id::TenantId;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

pub use file::parse;
pub(crate) use sounds::{DROP_SOUND, PUT_SOUND};
pub use sounds::{MOST_SOUND_BYTES, MOST_SOUNDS, Ready, Sounds};
pub use values::{bytes, sound_name};
pub use wanted::{File, SoundFile};

use self::clash::{Clash, Pace};
use crate::database::{BEGIN, Database, HOUSE, begin, go_in};
use crate::failure::Failure;
use crate::query::Query;
use crate::secrets::ClusterKey;

/// Every query of provisioning.
pub const QUERIES: &[&[Query]] = &[
    admins::QUERIES,
    announcements::QUERIES,
    carry::QUERIES,
    conferences::QUERIES,
    current::QUERIES,
    extensions::QUERIES,
    groups::QUERIES,
    numbers::QUERIES,
    sounds::QUERIES,
    OWN,
];

const OWN: &[Query] = &[
    Query::provider("one at a time", ONE_AT_A_TIME),
    Query::provider("check now", CHECK_NOW),
    Query::provider("published", PUBLISHED),
];

pub(crate) const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(hashtext('tenantd apply'))";
/// Says what is wrong before the commit, and in a dry run, too.
pub(crate) const CHECK_NOW: &str = "SET CONSTRAINTS ALL IMMEDIATE";
const PUBLISHED: &str = "
    SELECT id AS tenant_id, version FROM tenant
    WHERE id = ANY ($1) AND changed_in = pg_current_xact_id() ORDER BY id";

/// How a file is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether the difference is carried out.
    pub run: Run,
    /// What happens to what a named tenant has and the file does not name.
    pub absent: Absent,
}

/// Whether the difference is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Run {
    /// It is.
    #[default]
    Real,
    /// It is only worked out.
    Dry,
}

/// What happens to what a named tenant has and the file does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Absent {
    /// It stays.
    #[default]
    Keep,
    /// It goes: extensions, ring groups, conferences, numbers, admins and sounds.
    Prune,
}

/// What was, or would be, changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The difference, a line each, without secrets; none if nothing differs.
    pub lines: Vec<String>,
    /// The versions that nodes have to take over ([`crate::provider::nodes::behind`]).
    pub versions: Vec<(TenantId, i64)>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// Where in it, counted from 1.
    pub line: usize,
    /// What is wrong, in one line.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

impl std::error::Error for Problem {}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotApplied {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] Problem),
    /// The database is.
    #[error(transparent)]
    Database(#[from] Failure),
}

impl From<sqlx::Error> for NotApplied {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Applies a file, with what was made ready of its sounds; `who` is written into the history of all
/// that it changes.
///
/// # Errors
/// If the file asks for what cannot be, or Postgres is away: then nothing was changed.
pub async fn apply(
    database: &Database,
    key: &ClusterKey,
    file: &File,
    sounds: &Sounds,
    options: Options,
    who: &str,
) -> Result<Report, NotApplied> {
    let hashes = admins::hash_passwords(database, file).await?;
    let order = Order { key, file, sounds, who, hashes: &hashes, absent: options.absent };
    let mut transaction = order.begin(database).await?;
    let (lines, touched) = order.carry(&mut transaction, Pace::Together).await?;
    go_in(&mut transaction, HOUSE, who).await?;
    if let Err(error) = sqlx::query(CHECK_NOW).execute(&mut *transaction).await {
        transaction.rollback().await?;
        return Err(order.find_clash(database, error).await);
    }
    let mut report = Report { lines, versions: Vec::new() };
    let query = sqlx::query_as(PUBLISHED).bind(touched);
    let versions: Vec<(Uuid, i64)> = query.fetch_all(&mut *transaction).await?;
    match options.run {
        Run::Dry => transaction.rollback().await?,
        Run::Real => {
            transaction.commit().await?;
            report.versions = versions.into_iter().map(|(id, v)| (TenantId(id), v)).collect();
        }
    }
    Ok(report)
}

/// What is to be done, and for whom.
struct Order<'a> {
    key: &'a ClusterKey,
    file: &'a File,
    sounds: &'a Sounds,
    who: &'a str,
    hashes: &'a BTreeMap<String, String>,
    absent: Absent,
}

impl Order<'_> {
    async fn begin(&self, database: &Database) -> Result<Transaction<'static, Postgres>, Failure> {
        let mut transaction = begin(&database.provider, BEGIN).await?;
        go_in(&mut transaction, HOUSE, self.who).await?;
        sqlx::query(ONE_AT_A_TIME).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// Carries all tenants; returns what differs, and who was touched.
    async fn carry(
        &self,
        inside: carry::Inside<'_>,
        pace: Pace,
    ) -> Result<(Vec<String>, Vec<Uuid>), NotApplied> {
        let Self { key, file, sounds, who, hashes, absent } = *self;
        let (mut told, mut touched) = (Vec::new(), Vec::new());
        for tenant in &file.tenants {
            let carrier = carry::Carrier { key, file, tenant, who, hashes, absent, pace, sounds };
            let (id, lines) = carrier.carry(inside).await?;
            told.extend(lines);
            touched.push(id.0);
        }
        Ok((told, touched))
    }

    /// Whose line it is that wants what somebody else has; nothing of this is kept.
    async fn find_clash(&self, database: &Database, error: sqlx::Error) -> NotApplied {
        let Some(clash) = Clash::of(&error) else { return error.into() };
        match self.carry_checked(database, clash).await {
            Ok(()) => error.into(),
            Err(found) => found,
        }
    }

    async fn carry_checked(&self, database: &Database, clash: Clash) -> Result<(), NotApplied> {
        let mut transaction = self.begin(database).await?;
        sqlx::query(clash.check_at_once()).execute(&mut *transaction).await?;
        self.carry(&mut transaction, Pace::OneByOne).await?;
        Ok(transaction.rollback().await?)
    }
}
