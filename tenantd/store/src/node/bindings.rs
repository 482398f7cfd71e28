//! Registrations: written as they change, found again after a restart.
//!
//! RFC 3261 §10, with instances and paths of RFC 5626 §6 and RFC 3327.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use pbx::flow::{Link, Path, Transport};
use pbx::id::{BindingId, NodeId, RecordId, TenantId, UserId};
use pbx::moment::Moment;
use pbx::record::{Binding, Record};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Postgres, Row, Transaction};
use uuid::Uuid;

use super::column;
use crate::database::{Database, storable};
use crate::failure::Failure;
use crate::query::Query;
use crate::stamps::{moment, stamp};

const BINDINGS_OF: &str = "
    SELECT tenant_id, id, extension_id, contact, instance, reg_id, call_id, cseq, q, listener,
           source, path, user_agent, expires_at, horizon_at, node_number, transport, boot,
           connection, alg
    FROM binding WHERE tenant_id = ANY ($1) AND horizon_at > $2
    ORDER BY tenant_id, id";

/// Answers with the records whose extension is gone.
const WRITE: &str = "
    WITH given AS (
        SELECT * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[],
            $8::bigint[], $9::text[], $10::bigint[], $11::smallint[], $12::text[], $13::text[],
            $14::jsonb[], $15::text[], $16::timestamptz[], $17::timestamptz[], $18::bigint[],
            $19::timestamptz[], $20::integer[], $21::text[], $22::bigint[], $23::bigint[],
            $24::text[])
        AS given (record, tenant_id, id, extension_id, contact, instance, reg_id, call_id, cseq, q,
            listener, source, path, user_agent, expires_at, horizon_at, epoch, changed_at, node_number,
            transport, boot, connection, alg)),
    stored AS (
        INSERT INTO binding (tenant_id, id, extension_id, contact, instance, reg_id, call_id, cseq,
            q, node, node_number, transport, boot, connection, listener, source, path, user_agent,
            expires_at, horizon_at, epoch, changed_at, alg)
        SELECT r.tenant_id, r.id, r.extension_id, r.contact, r.instance, r.reg_id, r.call_id, r.cseq,
            r.q, $1, r.node_number, r.transport, r.boot, r.connection, r.listener, r.source, r.path,
            r.user_agent, r.expires_at, r.horizon_at, r.epoch, r.changed_at, r.alg
        FROM given r
        JOIN extension e ON e.tenant_id = r.tenant_id AND e.id = r.extension_id
        WHERE NOT EXISTS (SELECT FROM gone g
            WHERE g.tenant_id = r.tenant_id AND g.id = r.id AND g.at >= r.changed_at)
        ORDER BY r.tenant_id, r.id
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            contact = excluded.contact, instance = excluded.instance, reg_id = excluded.reg_id,
            call_id = excluded.call_id, cseq = excluded.cseq, q = excluded.q, node = excluded.node,
            node_number = excluded.node_number, transport = excluded.transport,
            boot = excluded.boot, connection = excluded.connection,
            listener = excluded.listener, source = excluded.source,
            path = excluded.path, user_agent = excluded.user_agent,
            expires_at = excluded.expires_at, horizon_at = excluded.horizon_at,
            epoch = excluded.epoch, changed_at = excluded.changed_at, alg = excluded.alg
        WHERE binding.changed_at <= excluded.changed_at AND binding.epoch <= excluded.epoch)
    SELECT r.record FROM given r
    LEFT JOIN extension e ON e.tenant_id = r.tenant_id AND e.id = r.extension_id
    WHERE e.id IS NULL";

/// The queries of this file.
pub const QUERIES: &[Query] =
    &[Query::node("bindings_of", BINDINGS_OF), Query::node("write bindings", WRITE)];

/// A registration to be written.
pub(super) struct Bound<'r> {
    pub(super) record: &'r Record,
    pub(super) binding: &'r Binding,
    pub(super) epoch: i64,
}

/// Writes registrations; answers with the records whose extension is gone.
pub(super) async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    node: &str,
    rows: &[Bound<'_>],
) -> Result<Vec<RecordId>, Failure> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let query = sqlx::query_scalar(WRITE)
        .bind(node)
        .bind(column(rows, |row| row.record.id.0))
        .bind(column(rows, |row| row.record.tenant.0))
        .bind(column(rows, |row| row.binding.id.0))
        .bind(column(rows, |row| row.binding.user.0))
        .bind(column(rows, |row| storable(&row.binding.contact)))
        .bind(column(rows, |row| row.binding.instance.as_deref().map(storable)))
        .bind(column(rows, |row| row.binding.reg_id.map(i64::from)))
        .bind(column(rows, |row| storable(&row.binding.call_id)))
        .bind(column(rows, |row| i64::from(row.binding.cseq)))
        .bind(column(rows, |row| i16::try_from(row.binding.q).unwrap_or(i16::MAX)))
        .bind(column(rows, |row| row.binding.path.local.to_string()))
        .bind(column(rows, |row| row.binding.path.peer.to_string()))
        .bind(column(rows, |row| Json(column(&row.binding.route, |hop| storable(hop)))))
        .bind(column(rows, |row| storable(&row.binding.user_agent)))
        .bind(column(rows, |row| stamp(row.binding.expires_at)))
        .bind(column(rows, |row| stamp(row.binding.horizon)))
        .bind(column(rows, |row| row.epoch))
        .bind(column(rows, |row| stamp(row.record.at)))
        .bind(column(rows, |row| i32::from(row.binding.path.node.0)))
        .bind(column(rows, |row| row.binding.path.transport().to_ascii_lowercase()))
        .bind(column(rows, |row| row.binding.path.stream().map(|s| i64::from(s.boot))))
        .bind(column(rows, |row| row.binding.path.stream().map(|s| i64::from(s.number))))
        .bind(column(rows, |row| row.binding.alg.as_deref().map(storable)));
    let homeless: Vec<Uuid> = query.fetch_all(&mut **transaction).await?;
    Ok(homeless.into_iter().map(RecordId).collect())
}

/// The registrations of tenants that are worth trying: their horizon is not past.
///
/// # Errors
/// If Postgres is away.
pub async fn bindings_of(
    database: &Database,
    tenants: &[TenantId],
    now: Moment,
) -> Result<BTreeMap<TenantId, Vec<Binding>>, Failure> {
    let ids: Vec<Uuid> = column(tenants, |tenant| tenant.0);
    let query = sqlx::query(BINDINGS_OF).bind(ids).bind(stamp(now));
    let mut bindings = BTreeMap::<_, Vec<_>>::new();
    for row in query.fetch_all(&database.node).await? {
        let tenant = TenantId(row.try_get("tenant_id")?);
        bindings.entry(tenant).or_default().push(binding(&row)?);
    }
    Ok(bindings)
}

fn binding(row: &PgRow) -> Result<Binding, Failure> {
    let time = |name: &str| row.try_get::<DateTime<Utc>, _>(name).map(moment);
    let path: Json<Vec<String>> = row.try_get("path")?;
    Ok(Binding {
        id: BindingId(row.try_get::<Uuid, _>("id")?),
        user: UserId(row.try_get::<Uuid, _>("extension_id")?),
        contact: row.try_get("contact")?,
        instance: row.try_get("instance")?,
        reg_id: row.try_get::<Option<i64>, _>("reg_id")?.and_then(|id| u32::try_from(id).ok()),
        call_id: row.try_get("call_id")?,
        cseq: u32::try_from(row.try_get::<i64, _>("cseq")?).unwrap_or(0),
        q: u16::try_from(row.try_get::<i16, _>("q")?).unwrap_or(0),
        path: Path {
            node: NodeId(u16::try_from(row.try_get::<i32, _>("node_number")?).unwrap_or_default()),
            link: link(row)?,
            local: address(row, "listener")?,
            peer: address(row, "source")?,
        },
        route: path.0,
        user_agent: row.try_get("user_agent")?,
        expires_at: time("expires_at")?,
        horizon: time("horizon_at")?,
        alg: row.try_get::<Option<String>, _>("alg")?.map(String::into_boxed_str),
    })
}

fn link(row: &PgRow) -> Result<Link, Failure> {
    let number = |name: &str| -> Result<u32, Failure> {
        let number: Option<i64> = row.try_get(name)?;
        Ok(number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default())
    };
    let stream = |transport| -> Result<Link, Failure> {
        Ok(Link::Stream { transport, boot: number("boot")?, number: number("connection")? })
    };
    match row.try_get::<String, _>("transport")?.as_str() {
        "udp" => Ok(Link::Udp),
        "tcp" => stream(Transport::Tcp),
        "tls" => stream(Transport::Tls),
        other => Err(Failure::Damaged("binding", format!("transport is {other:?}"))),
    }
}

fn address(row: &PgRow, column: &str) -> Result<SocketAddr, Failure> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| Failure::Damaged("binding", format!("{column} is {text:?}")))
}
