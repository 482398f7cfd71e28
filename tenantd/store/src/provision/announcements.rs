//! Announcements on their way from a provisioning file into the database, and whether the sounds are
//! there that a file wants to be played.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::carry::{Carrier, Inside, Way};
use super::current::Current;
use super::wanted::Named;
use super::{Absent, NotApplied};
use crate::id::fresh;
use crate::query::Query;

const PUT_ANNOUNCEMENT: &str = "
    INSERT INTO announcement (tenant_id, id, number, sound) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, id) DO UPDATE SET sound = excluded.sound";
pub(super) const DROP_ANNOUNCEMENTS: &str =
    "DELETE FROM announcement WHERE tenant_id = $1 AND id = ANY ($2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("put_announcement", PUT_ANNOUNCEMENT),
    Query::provider("drop_announcements", DROP_ANNOUNCEMENTS),
];

impl Carrier<'_> {
    pub(super) async fn carry_announcements(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), NotApplied> {
        self.check_sounds(now)?;
        for wanted in &self.tenant.played.announcements {
            let (number, known) = (&wanted.number, now.announcements.get(&wanted.number));
            let did = match known {
                Some((_, sound)) if *sound == wanted.sound => continue,
                Some(_) => "changes",
                None => "comes",
            };
            way.tell(&self.tenant.domain, format_args!("announcement {number} {did}"));
            let id: Uuid = known.map_or_else(fresh, |(id, _)| *id);
            let query = sqlx::query(PUT_ANNOUNCEMENT).bind(way.id.0).bind(id).bind(number);
            let put = query.bind(&wanted.sound).execute(&mut **inside).await;
            put.map_err(|error| self.file.blame(wanted.line, number, error))?;
        }
        Ok(())
    }

    /// Whether every sound is there that the file wants to be played, once it is applied.
    fn check_sounds(&self, now: &Current) -> Result<(), NotApplied> {
        let brought = self.tenant.sounds.iter().map(|sound| sound.name.as_str());
        let kept = now.sounds.keys().filter(|_| self.absent == Absent::Keep).map(String::as_str);
        let there: BTreeSet<&str> = brought.chain(kept).collect();
        let tenant = self.tenant;
        let extensions = tenant.extensions.iter();
        let extensions = extensions.map(|it| (&it.music, &it.announce_recording));
        let company = (&tenant.played.music, &tenant.recording.announcement);
        let named = extensions.chain([company]).flat_map(|(music, announcement)| {
            [("music", music), ("announce_recording", announcement)]
        });
        let named = named.filter_map(|(key, named)| {
            let Named { name, line } = named.as_ref()?;
            Some((key, name, *line))
        });
        let announcements = &tenant.played.announcements;
        let said = announcements.iter().map(|said| ("sound", &said.sound, said.line));
        for (key, name, line) in named.chain(said) {
            if !name.is_empty() && !there.contains(name.as_str()) {
                let reason = format!("{key}: there is no sound {name:?}");
                return Err(self.file.problem(line, reason).into());
            }
        }
        Ok(())
    }
}
