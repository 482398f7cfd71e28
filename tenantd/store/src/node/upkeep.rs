//! Keeps what grows within its limits: an hourly look at months, registrations and sessions.

use std::time::Duration;

use pbx::moment::Moment;

use crate::database::Database;
use crate::failure::Failure;
use crate::query::Query;
use crate::stamps::stamp;

/// How long a journal may lie before it is replayed and still bring back nothing that was over.
pub const REMEMBER_GONE_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Months of calls that are prepared beside the current one.
const MONTHS_AHEAD: i32 = 2;

const MONTHS: &str = "SELECT prepare_call_months($1)";
/// What ended counts from its end, all else from its horizon; an extension's go with it.
const BINDINGS: &str = "
    DELETE FROM binding
    WHERE gone_at < $2 OR gone_at IS NULL AND horizon_at < $1
       OR NOT EXISTS (SELECT FROM extension e
            WHERE e.tenant_id = binding.tenant_id AND e.id = binding.extension_id)";
const GONE: &str = "DELETE FROM gone WHERE at < $1";

/// The queries of this file.
pub const QUERIES: &[Query] =
    &[Query::node("months", MONTHS), Query::node("bindings", BINDINGS), Query::node("gone", GONE)];

/// Prepares the months to come, drops registrations whose horizon is past, and forgets what was
/// over long ago. Call it at the start and once an hour.
///
/// # Errors
/// If Postgres is away.
pub async fn tidy(database: &Database, now: Moment) -> Result<(), Failure> {
    sqlx::query(MONTHS).bind(MONTHS_AHEAD).execute(&database.node).await?;
    let week = u64::try_from(REMEMBER_GONE_FOR.as_micros()).unwrap_or(u64::MAX);
    let long_ago = Moment::from_micros(now.as_micros().saturating_sub(week));
    let bindings = sqlx::query(BINDINGS).bind(stamp(now)).bind(stamp(long_ago));
    bindings.execute(&database.node).await?;
    sqlx::query(GONE).bind(stamp(long_ago)).execute(&database.node).await?;
    Ok(())
}
