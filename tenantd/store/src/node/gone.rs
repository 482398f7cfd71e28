//! What is over: registrations that ended and calls that were hung up leave, and stay away.

use pbx::id::TenantId;
use pbx::moment::Moment;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::column;
use crate::failure::Failure;
use crate::query::Query;
use crate::stamps::stamp;

/// Kept for [`super::upkeep::REMEMBER_GONE_FOR`], so that no replayed journal brings one back.
const NOTE: &str = "
    INSERT INTO gone (tenant_id, id, at)
    SELECT r.tenant_id, r.id, r.at
    FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS r (tenant_id, id, at)
    JOIN tenant t ON t.id = r.tenant_id
    ORDER BY r.tenant_id, r.id
    ON CONFLICT (tenant_id, id) DO UPDATE SET at = greatest(gone.at, excluded.at)";

const END_BINDINGS: &str = "
    DELETE FROM binding USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
        AS r (tenant_id, id, at)
    WHERE binding.tenant_id = r.tenant_id AND binding.id = r.id AND binding.changed_at <= r.at";

const END_CALLS: &str = "
    DELETE FROM live_call USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
        AS r (tenant_id, id, at)
    WHERE live_call.tenant_id = r.tenant_id AND live_call.id = r.id
      AND live_call.changed_at <= r.at";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::node("note", NOTE),
    Query::node("end bindings", END_BINDINGS),
    Query::node("end calls", END_CALLS),
];

/// Ends these registrations and calls.
pub(super) async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    over: &[(TenantId, Uuid, Moment)],
) -> Result<(), Failure> {
    if over.is_empty() {
        return Ok(());
    }
    for query in [NOTE, END_BINDINGS, END_CALLS] {
        let query = sqlx::query(query)
            .bind(column(over, |(tenant, _, _)| tenant.0))
            .bind(column(over, |(_, id, _)| *id))
            .bind(column(over, |(_, _, at)| stamp(*at)));
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}
