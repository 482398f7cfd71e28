//! Learns which tenants were changed: at once by a notification, at the latest by asking.

use pbx::id::TenantId;
use sqlx::postgres::{PgListener, PgNotification};
use uuid::Uuid;

use crate::database::{Database, HOUSE};
use crate::failure::Failure;
use crate::query::Query;

const CHANNEL: &str = "tenant";

const VERSIONS: &str = "
    SELECT t.id AS tenant_id, t.version, l.node, coalesce(l.epoch, 0)
    FROM tenant t LEFT JOIN lease l ON l.tenant_id = t.id AND l.until_at > now()
    WHERE t.id <> $1
      AND EXISTS (SELECT FROM domain d WHERE d.tenant_id = t.id AND d.kind = 'canonical')
    ORDER BY t.id";

/// Changes whenever an answer to [`VERSIONS`] does, and is one row.
const FINGERPRINT: &str = "
    SELECT count(*) || ':' || coalesce(sum(hashtextextended(
        concat_ws(' ', t.id, t.version, l.node, l.epoch), 0)), 0)
    FROM tenant t LEFT JOIN lease l ON l.tenant_id = t.id AND l.until_at > now()";

/// The queries of this file.
pub const QUERIES: &[Query] =
    &[Query::node("versions", VERSIONS), Query::node("fingerprint", FINGERPRINT)];

/// What can be compared to know whether any tenant came, changed, moved or went.
///
/// # Errors
/// If Postgres is away.
pub async fn fingerprint(database: &Database) -> Result<String, Failure> {
    Ok(sqlx::query_scalar(FINGERPRINT).fetch_one(&database.node).await?)
}

/// A tenant that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenancy {
    /// Who.
    pub tenant: TenantId,
    /// The version of its configuration.
    pub version: i64,
    /// The node that has it, whether alive or not; `None`: it is free.
    pub holder: Option<String>,
    /// Since when, as numbers go: each new holder has a higher one.
    pub epoch: i64,
}

/// Every tenant that can be served. One that is no longer named is gone. The house is not named: it
/// has no phones.
///
/// # Errors
/// If Postgres is away.
pub async fn versions(database: &Database) -> Result<Vec<Tenancy>, Failure> {
    let rows: Vec<(Uuid, i64, Option<String>, i64)> =
        sqlx::query_as(VERSIONS).bind(HOUSE.0).fetch_all(&database.node).await?;
    let tenancy =
        |(id, version, holder, epoch)| Tenancy { tenant: TenantId(id), version, holder, epoch };
    Ok(rows.into_iter().map(tenancy).collect())
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A tenant has a new version.
    Changed(TenantId, i64),
    /// A tenant is gone.
    Removed(TenantId),
    /// Some notifications may have been missed: ask for all [`versions`].
    Missed,
}

/// Hears of changes as they are committed.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Begins to listen; what was committed before is not heard.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn new(database: &Database) -> Result<Self, Failure> {
        let mut listener = PgListener::connect_with(&database.node).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next change. May be dropped while it waits without losing one.
    ///
    /// # Errors
    /// If Postgres went away and did not come back within a connection's time.
    pub async fn next(&mut self) -> Result<Heard, Failure> {
        let notification = self.0.try_recv().await?;
        Ok(notification.and_then(|told| heard(&told)).unwrap_or(Heard::Missed))
    }
}

fn heard(notification: &PgNotification) -> Option<Heard> {
    let (id, version) = notification.payload().split_once(':')?;
    let (tenant, version) = (TenantId(id.parse().ok()?), version.parse().ok()?);
    Some(if version == 0 { Heard::Removed(tenant) } else { Heard::Changed(tenant, version) })
}
