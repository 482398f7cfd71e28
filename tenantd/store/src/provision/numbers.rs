//! Public numbers on their way from a provisioning file into the database.

use std::collections::BTreeMap;

use pbx::id::TenantId;
use uuid::Uuid;

use super::NotApplied;
use super::carry::{Carrier, Inside, Way};
use super::current::{Current, NumberRow};
use crate::id::fresh;
use crate::query::Query;

const PUT_NUMBERS: &str = "
    INSERT INTO number (tenant_id, id, number, extension_id, ring_group_id, conference_id)
    SELECT $1, n.id, n.number, n.extension_id, n.ring_group_id, n.conference_id
    FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[])
        AS n (id, number, extension_id, ring_group_id, conference_id)
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET extension_id = excluded.extension_id, ring_group_id = excluded.ring_group_id,
            conference_id = excluded.conference_id";
pub(super) const DROP_NUMBERS: &str = "DELETE FROM number WHERE tenant_id = $1 AND id = ANY ($2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] =
    &[Query::provider("put_numbers", PUT_NUMBERS), Query::provider("drop_numbers", DROP_NUMBERS)];

/// Where numbers may lead, by what is dialled within the tenant.
pub(super) struct Places {
    pub(super) extensions: BTreeMap<String, Uuid>,
    pub(super) groups: BTreeMap<String, Uuid>,
    pub(super) conferences: BTreeMap<String, Uuid>,
}

impl Carrier<'_> {
    pub(super) async fn carry_numbers(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
        Places { extensions, groups, conferences }: &Places,
    ) -> Result<(), NotApplied> {
        let usernames = self.tenant.extensions.iter().filter_map(|extension| {
            Some((extension.username.clone()?, *extensions.get(&extension.number)?))
        });
        let kept_names =
            now.extensions.values().filter_map(|row| Some((row.username.clone()?, row.id)));
        let by_name: BTreeMap<String, Uuid> = kept_names.chain(usernames).collect();
        let mut puts = Vec::new();
        for wanted in &self.tenant.numbers {
            let extension = extensions.get(&wanted.to).or_else(|| by_name.get(&wanted.to)).copied();
            let group = groups.get(&wanted.to).copied().filter(|_| extension.is_none());
            let conference = conferences.get(&wanted.to).copied();
            let conference = conference.filter(|_| extension.or(group).is_none());
            if extension.or(group).or(conference).is_none() {
                let reason = format!(
                    "to: {:?} is neither an extension nor a group nor a conference",
                    wanted.to
                );
                return Err(self.file.problem(wanted.line, reason).into());
            }
            let known = now.numbers.get(&wanted.number);
            let leads_there = |row: &NumberRow| {
                (row.extension_id, row.ring_group_id, row.conference_id)
                    == (extension, group, conference)
            };
            if known.is_some_and(leads_there) {
                continue;
            }
            let (number, to) = (&wanted.number, &wanted.to);
            way.tell(&self.tenant.domain, format_args!("number {number} rings at {to}"));
            let row = NumberRow {
                id: known.map_or_else(fresh, |known| known.id),
                number: number.clone(),
                extension_id: extension,
                ring_group_id: group,
                conference_id: conference,
            };
            puts.push((wanted.line, row));
        }
        for chunk in puts.chunks(self.pace.rows()) {
            put_numbers(inside, way.id, chunk).await.map_err(|error| {
                let (line, number) =
                    chunk.first().map_or((1, ""), |(line, row)| (*line, &*row.number));
                self.file.blame(line, number, error)
            })?;
        }
        Ok(())
    }
}

async fn put_numbers(
    inside: Inside<'_>,
    tenant: TenantId,
    rows: &[(usize, NumberRow)],
) -> Result<(), sqlx::Error> {
    fn column<T>(rows: &[(usize, NumberRow)], value: impl Fn(&NumberRow) -> T) -> Vec<T> {
        rows.iter().map(|(_, row)| value(row)).collect()
    }
    let query = sqlx::query(PUT_NUMBERS)
        .bind(tenant.0)
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.number.clone()))
        .bind(column(rows, |row| row.extension_id))
        .bind(column(rows, |row| row.ring_group_id))
        .bind(column(rows, |row| row.conference_id));
    query.execute(&mut **inside).await.map(drop)
}
