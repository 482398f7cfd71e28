//! Conferences on their way from a provisioning file into the database.

use std::collections::BTreeMap;

use sqlx::FromRow;
use uuid::Uuid;

use super::carry::{Carrier, Inside, Way};
use super::current::Current;
use super::{Absent, NotApplied};
use crate::id::fresh;
use crate::node::directory::pin_of;
use crate::query::Query;
use crate::secrets::Sealed;

pub(super) const CONFERENCES: &str = "
    SELECT id, number, password_sealed, password_key FROM conference WHERE tenant_id = $1";
const PUT_CONFERENCE: &str = "
    INSERT INTO conference (tenant_id, id, number, password_sealed, password_key)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET password_sealed = excluded.password_sealed, password_key = excluded.password_key";
const DROP_CONFERENCES: &str = "DELETE FROM conference WHERE tenant_id = $1 AND id = ANY ($2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("conferences", CONFERENCES),
    Query::provider("put_conference", PUT_CONFERENCE),
    Query::provider("drop_conferences", DROP_CONFERENCES),
];

/// A conference's row.
#[derive(Debug, Clone, FromRow)]
pub(super) struct ConferenceRow {
    pub(super) id: Uuid,
    pub(super) number: String,
    pub(super) password_sealed: Option<Vec<u8>>,
    pub(super) password_key: Option<i32>,
}

impl Carrier<'_> {
    /// Returns the ids of all that there are then, by number.
    pub(super) async fn carry_conferences(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<BTreeMap<String, Uuid>, NotApplied> {
        let mut ids: BTreeMap<String, Uuid> =
            now.conferences.iter().map(|(number, row)| (number.clone(), row.id)).collect();
        for wanted in &self.tenant.conferences {
            let (number, known) = (&wanted.number, now.conferences.get(&wanted.number));
            let id = known.map_or_else(fresh, |row| row.id);
            ids.insert(number.clone(), id);
            let kept = known.and_then(|row| {
                let (key, bytes) = (row.password_key?, row.password_sealed.clone()?);
                Some(Sealed { key, bytes })
            });
            let place = pin_of(way.id, id);
            let opened = kept.as_ref().and_then(|sealed| self.key.open(place, sealed));
            let pin = match &wanted.pin {
                Some(pin) => Some(pin).filter(|pin| !pin.is_empty()),
                // Not a word of it: it stays.
                None if known.is_some() => continue,
                None => None,
            };
            let told = match (known.is_some(), kept.is_some(), pin) {
                (false, _, _) => format!("conference {number} comes"),
                (true, false, None) => continue,
                (true, true, Some(pin)) if opened.as_deref() == Some(pin) => continue,
                (true, _, Some(_)) => format!("conference {number}: another PIN"),
                (true, true, None) => format!("conference {number}: no PIN"),
            };
            way.tell(&self.tenant.domain, told);
            let sealed = pin.map(|pin| self.key.seal(place, pin));
            let (key, bytes) = sealed.map(|sealed| (sealed.key, sealed.bytes)).unzip();
            let query = sqlx::query(PUT_CONFERENCE).bind(way.id.0).bind(id).bind(number);
            let put = query.bind(bytes).bind(key).execute(&mut **inside).await;
            put.map_err(|error| self.file.blame(wanted.line, number, error))?;
        }
        Ok(ids)
    }

    /// Those that the file does not name go, if they shall.
    pub(super) async fn prune_conferences(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), sqlx::Error> {
        let named = |number: &str| self.tenant.conferences.iter().any(|c| c.number == number);
        let gone: Vec<Uuid> = now
            .conferences
            .values()
            .filter(|row| self.absent == Absent::Prune && !named(&row.number))
            .map(|row| {
                way.tell(&self.tenant.domain, format_args!("conference {} goes", row.number));
                row.id
            })
            .collect();
        if !gone.is_empty() {
            let query = sqlx::query(DROP_CONFERENCES).bind(way.id.0).bind(gone);
            query.execute(&mut **inside).await?;
        }
        Ok(())
    }
}
