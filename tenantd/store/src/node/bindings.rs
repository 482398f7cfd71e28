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
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
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
    FROM binding WHERE tenant_id = ANY ($1) AND horizon_at > $2 AND gone_at IS NULL
    ORDER BY tenant_id, id";

/// One question, and a transaction of its own. What ended keeps its row, empty, for
/// [`super::upkeep::REMEMBER_GONE_FOR`], so that no replayed journal brings it back.
const WRITE: &str = "
    SELECT what, of_tenant, of_id FROM write_bindings($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
        $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)";

/// The queries of this file.
pub const QUERIES: &[Query] =
    &[Query::node("bindings_of", BINDINGS_OF), Query::node("write bindings", WRITE)];

/// What a group of records comes to: each registration once.
#[derive(Default)]
pub(super) struct Group<'r> {
    /// Under which epochs it is written.
    pub(super) epochs: BTreeMap<TenantId, i64>,
    pub(super) bound: BTreeMap<(TenantId, BindingId), (&'r Record, &'r Binding)>,
    pub(super) over: BTreeMap<(TenantId, BindingId), &'r Record>,
}

/// What Postgres did not write.
pub(super) enum Left {
    /// Nothing: another node took this tenant over.
    Taken(TenantId),
    /// Nothing: this tenant has no lease.
    Unknown(TenantId),
    /// All but this one, whose extension is gone.
    Homeless(TenantId, BindingId),
}

impl Group<'_> {
    /// Takes a tenant's records out; they are the answer.
    pub(super) fn leave_out(&mut self, tenant: TenantId) -> impl Iterator<Item = RecordId> + use<> {
        self.epochs.remove(&tenant);
        let is_theirs = |(of, _): &(TenantId, BindingId)| *of == tenant;
        let bound = self.bound.extract_if(.., |key, _| is_theirs(key));
        let mut records: Vec<RecordId> = bound.map(|(_, (record, _))| record.id).collect();
        let over = self.over.extract_if(.., |key, _| is_theirs(key));
        records.extend(over.map(|(_, record)| record.id));
        records.into_iter()
    }

    /// Writes it.
    pub(super) async fn write(
        &self,
        database: &Database,
        node: &str,
    ) -> Result<Vec<Left>, Failure> {
        let (served, epochs): (Vec<Uuid>, Vec<i64>) =
            self.epochs.iter().map(|(tenant, epoch)| (tenant.0, *epoch)).unzip();
        let over: Vec<_> = self.over.iter().collect();
        let rows: Vec<_> = self.bound.values().collect();
        let epoch = |tenant| self.epochs.get(&tenant).copied().unwrap_or_default();
        let query = sqlx::query_as(WRITE)
            .bind(node)
            .bind(served)
            .bind(epochs)
            .bind(column(&over, |((tenant, _), _)| tenant.0))
            .bind(column(&over, |((_, id), _)| id.0))
            .bind(column(&over, |(_, record)| stamp(record.at)))
            .bind(column(&rows, |(record, _)| record.tenant.0))
            .bind(column(&rows, |(_, binding)| binding.id.0))
            .bind(column(&rows, |(_, binding)| binding.user.0))
            .bind(column(&rows, |(_, binding)| storable(&binding.contact)))
            .bind(column(&rows, |(_, binding)| binding.instance.as_deref().map(storable)))
            .bind(column(&rows, |(_, binding)| binding.reg_id.map(i64::from)))
            .bind(column(&rows, |(_, binding)| storable(&binding.call_id)))
            .bind(column(&rows, |(_, binding)| i64::from(binding.cseq)))
            .bind(column(&rows, |(_, binding)| i16::try_from(binding.q).unwrap_or(i16::MAX)))
            .bind(column(&rows, |(_, binding)| binding.path.local.to_string()))
            .bind(column(&rows, |(_, binding)| binding.path.peer.to_string()))
            .bind(column(&rows, |(_, binding)| Json(column(&binding.route, |hop| storable(hop)))))
            .bind(column(&rows, |(_, binding)| storable(&binding.user_agent)))
            .bind(column(&rows, |(_, binding)| stamp(binding.expires_at)))
            .bind(column(&rows, |(_, binding)| stamp(binding.horizon)))
            .bind(column(&rows, |(record, _)| epoch(record.tenant)))
            .bind(column(&rows, |(record, _)| stamp(record.at)))
            .bind(column(&rows, |(_, binding)| i32::from(binding.path.node.0)))
            .bind(column(&rows, |(_, binding)| binding.path.transport().to_ascii_lowercase()))
            .bind(column(&rows, |(_, binding)| binding.path.stream().map(|s| i64::from(s.boot))))
            .bind(column(&rows, |(_, binding)| binding.path.stream().map(|s| i64::from(s.number))))
            .bind(column(&rows, |(_, binding)| binding.alg.as_deref().map(storable)));
        let answer: Vec<(String, Uuid, Option<Uuid>)> = query.fetch_all(&database.node).await?;
        answer.into_iter().map(left).collect()
    }
}

fn left((what, tenant, id): (String, Uuid, Option<Uuid>)) -> Result<Left, Failure> {
    match (what.as_str(), TenantId(tenant), id.map(BindingId)) {
        ("taken", tenant, _) => Ok(Left::Taken(tenant)),
        ("unknown", tenant, _) => Ok(Left::Unknown(tenant)),
        ("homeless", tenant, Some(id)) => Ok(Left::Homeless(tenant, id)),
        (other, _, _) => Err(Failure::Damaged("write_bindings", format!("it says {other:?}"))),
    }
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
