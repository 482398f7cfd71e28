//! Ring groups on their way from a provisioning file into the database.

use std::collections::BTreeMap;

use pbx::id::TenantId;
use uuid::Uuid;

use super::NotApplied;
use super::carry::{Carrier, Inside, Way};
use super::current::{Current, GroupRow};
use super::wanted::Group;
use crate::id::fresh;
use crate::query::Query;

const PUT_GROUPS: &str = "
    INSERT INTO ring_group (tenant_id, id, number, name)
    SELECT $1, g.id, g.number, g.name
    FROM unnest($2::uuid[], $3::text[], $4::text[]) AS g (id, number, name)
    ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name";
const DROP_MEMBERS: &str = "
    DELETE FROM ring_group_member WHERE tenant_id = $1 AND ring_group_id = ANY ($2)";
const ADD_MEMBERS: &str = "
    INSERT INTO ring_group_member (tenant_id, id, ring_group_id, extension_id, position)
    SELECT $1, m.id, m.ring_group_id, m.extension_id, m.position
    FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::int[])
        AS m (id, ring_group_id, extension_id, position)";
pub(super) const DROP_GROUPS: &str =
    "DELETE FROM ring_group WHERE tenant_id = $1 AND id = ANY ($2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("put_groups", PUT_GROUPS),
    Query::provider("drop_members", DROP_MEMBERS),
    Query::provider("add_members", ADD_MEMBERS),
    Query::provider("drop_groups", DROP_GROUPS),
];

/// A group that comes or changes.
struct Put<'a> {
    wanted: &'a Group,
    row: GroupRow,
    /// Its members' ids, in their order.
    members: Vec<Uuid>,
}

impl Carrier<'_> {
    /// Returns the ids of all that there are then, by number.
    pub(super) async fn carry_groups(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
        extensions: &BTreeMap<String, Uuid>,
    ) -> Result<BTreeMap<String, Uuid>, NotApplied> {
        let mut ids: BTreeMap<String, Uuid> =
            now.groups.iter().map(|(number, row)| (number.clone(), row.id)).collect();
        let mut puts = Vec::new();
        for wanted in &self.tenant.groups {
            let known = now.groups.get(&wanted.number);
            let row = wanted_group(wanted, known);
            ids.insert(wanted.number.clone(), row.id);
            if known == Some(&row) {
                continue;
            }
            let did = if known.is_some() { "changes" } else { "comes" };
            way.tell(&self.tenant.domain, format_args!("ring group {} {did}", wanted.number));
            let id_of = |member: &String| {
                extensions.get(member).copied().ok_or_else(|| {
                    let reason = format!("members: there is no extension {member}");
                    self.file.problem(wanted.line, reason)
                })
            };
            let members = row.members.iter().map(id_of).collect::<Result<_, _>>()?;
            puts.push(Put { wanted, row, members });
        }
        for chunk in puts.chunks(self.pace.rows()) {
            put_groups(inside, way.id, chunk).await.map_err(|error| {
                let (line, number) =
                    chunk.first().map_or((1, ""), |put| (put.wanted.line, &*put.wanted.number));
                self.file.blame(line, number, error)
            })?;
        }
        Ok(ids)
    }
}

fn wanted_group(wanted: &Group, known: Option<&GroupRow>) -> GroupRow {
    GroupRow {
        id: known.map_or_else(fresh, |known| known.id),
        name: wanted
            .name
            .clone()
            .or_else(|| known.map(|known| known.name.clone()))
            .unwrap_or_default(),
        members: wanted
            .members
            .clone()
            .or_else(|| known.map(|known| known.members.clone()))
            .unwrap_or_default(),
    }
}

async fn put_groups(
    inside: Inside<'_>,
    tenant: TenantId,
    puts: &[Put<'_>],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = puts.iter().map(|put| put.row.id).collect();
    let numbers: Vec<&str> = puts.iter().map(|put| put.wanted.number.as_str()).collect();
    let names: Vec<&str> = puts.iter().map(|put| put.row.name.as_str()).collect();
    let query = sqlx::query(PUT_GROUPS).bind(tenant.0).bind(&ids).bind(numbers).bind(names);
    query.execute(&mut **inside).await?;
    sqlx::query(DROP_MEMBERS).bind(tenant.0).bind(&ids).execute(&mut **inside).await?;
    let members: Vec<(Uuid, Uuid, i32)> = puts
        .iter()
        .flat_map(|put| {
            let members = (0_i32..).zip(&put.members);
            members.map(|(position, member)| (put.row.id, *member, position))
        })
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(ADD_MEMBERS)
        .bind(tenant.0)
        .bind(members.iter().map(|_| fresh()).collect::<Vec<_>>())
        .bind(members.iter().map(|(group, ..)| *group).collect::<Vec<_>>())
        .bind(members.iter().map(|(_, member, _)| *member).collect::<Vec<_>>())
        .bind(members.iter().map(|(.., position)| *position).collect::<Vec<_>>());
    query.execute(&mut **inside).await.map(drop)
}
