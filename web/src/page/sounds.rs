//! A company's sounds: what there is, how it sounds, where it is heard; and taking away what is heard
//! nowhere.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use pbx::id::TenantId;
use store::sounds::{self, Place, Quota, Removed, Sound, Use};
use uuid::Uuid;

use super::Frame;
use super::first::about;
use super::login::Signed;
use crate::Portal;
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::Viewer;
use crate::routes::MediaFrom;

/// How long a link can be followed: somebody listens for a while, and again.
const LINK_FOR: Duration = Duration::from_secs(300);

#[derive(Template)]
#[template(path = "sounds.html")]
struct SoundsPage {
    t: Language,
    frame: Frame,
    tenant: TenantId,
    /// What did not work, in a sentence; empty: nothing was tried, or it worked.
    problem: String,
    rows: Vec<Row>,
    used: String,
    limits: String,
}

#[derive(Template)]
#[template(path = "sound.html")]
struct ReplacePage {
    t: Language,
    frame: Frame,
    tenant: TenantId,
    problem: String,
    row: Row,
    question: String,
    limits: String,
}

/// A sound as it is shown.
struct Row {
    id: Uuid,
    name: String,
    length: String,
    size: String,
    uses: String,
    is_here: bool,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path(tenant): Path<Uuid>,
) -> Result<Response, Problem> {
    list(&portal, &viewer, TenantId(tenant), StatusCode::OK, String::new()).await
}

/// The page, below what did not work.
pub(super) async fn list(
    portal: &Portal,
    viewer: &Viewer,
    tenant: TenantId,
    status: StatusCode,
    problem: String,
) -> Result<Response, Problem> {
    let t = viewer.language;
    let about = about(portal, viewer, tenant).await?;
    let (sounds, quota) = all(portal, viewer, tenant).await?;
    let from = media_from(portal, &sounds).await;
    let used = used(t, &sounds, quota);
    let rows = sounds.iter().map(|sound| row(t, sound)).collect();
    let frame = Frame::new(portal, viewer, &about.name).of(tenant);
    let limits = limits(portal, t);
    let shown = SoundsPage { t, frame, tenant, problem, rows, used, limits };
    let mut response = (status, page(&shown)).into_response();
    if let Some(from) = from {
        response.extensions_mut().insert(from);
    }
    Ok(response)
}

/// All sounds, and how much there may be.
pub(super) async fn all(
    portal: &Portal,
    viewer: &Viewer,
    tenant: TenantId,
) -> Result<(Vec<Sound>, Quota), Problem> {
    let found = sounds::of(&portal.database, tenant, &viewer.account.email).await;
    found.map_err(|failure| Problem::Away(viewer.language, failure))
}

async fn one(
    portal: &Portal,
    viewer: &Viewer,
    tenant: TenantId,
    sound: Uuid,
) -> Result<Sound, Problem> {
    let (sounds, _) = all(portal, viewer, tenant).await?;
    let found = sounds.into_iter().find(|one| one.id == sound);
    found.ok_or(Problem::NotFound(viewer.language))
}

/// Asks whether a sound shall be replaced, and by what.
pub(crate) async fn ask(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, sound)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    question(&portal, &viewer, (TenantId(tenant), sound), StatusCode::OK, String::new()).await
}

/// The question, below what did not work.
pub(super) async fn question(
    portal: &Portal,
    viewer: &Viewer,
    (tenant, sound): (TenantId, Uuid),
    status: StatusCode,
    problem: String,
) -> Result<Response, Problem> {
    let t = viewer.language;
    let about = about(portal, viewer, tenant).await?;
    let row = row(t, &one(portal, viewer, tenant, sound).await?);
    let question = match row.uses.as_str() {
        "" => t.fill("sounds.replace_unused", &[("name", &row.name)]),
        uses => t.fill("sounds.replace_used", &[("name", &row.name), ("uses", uses)]),
    };
    let frame = Frame::new(portal, viewer, &about.name).of(tenant);
    let limits = limits(portal, t);
    let shown = ReplacePage { t, frame, tenant, problem, row, question, limits };
    Ok((status, page(&shown)).into_response())
}

/// Leads to what is heard.
pub(crate) async fn listen(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, sound)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    let (t, tenant) = (viewer.language, TenantId(tenant));
    about(&portal, &viewer, tenant).await?;
    let sound = one(&portal, &viewer, tenant, sound).await?;
    let link = portal.objects.presign(&sound.key, Portal::now(), LINK_FOR).await;
    let link = link.map_err(|failure| {
        tracing::warn!(%tenant, key = %sound.key, "a sound cannot be shown: {failure}");
        Problem::Unread(t)
    })?;
    Ok(Redirect::to(&link).into_response())
}

/// Takes a sound away, unless it is heard somewhere.
pub(crate) async fn delete(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, sound)): Path<(Uuid, Uuid)>,
    Form(form): Form<Signed>,
) -> Result<Response, Problem> {
    viewer.check_form(&portal, &form.csrf)?;
    let (t, tenant) = (viewer.language, TenantId(tenant));
    about(&portal, &viewer, tenant).await?;
    let who = viewer.account.email.as_str();
    let removed = sounds::remove(&portal.database, (tenant, who), sound).await;
    match removed.map_err(|failure| Problem::Away(t, failure))? {
        Removed::Yes => {
            tracing::info!(%tenant, %sound, who, "a sound was deleted");
            Ok(to_list(tenant))
        }
        Removed::Gone => Err(Problem::NotFound(t)),
        Removed::Used(uses) => {
            let problem = t.fill("sounds.used", &[("uses", &words(t, &uses))]);
            list(&portal, &viewer, tenant, StatusCode::CONFLICT, problem).await
        }
    }
}

pub(super) fn to_list(tenant: TenantId) -> Response {
    Redirect::to(&format!("/t/{tenant}/sounds")).into_response()
}

/// Where a browser may hear sounds from, if that is another place than our pages.
async fn media_from(portal: &Portal, sounds: &[Sound]) -> Option<MediaFrom> {
    let sound = sounds.first()?;
    let link = portal.objects.presign(&sound.key, Portal::now(), LINK_FOR).await.ok()?;
    let (scheme, rest) = link.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    Some(MediaFrom(format!("{scheme}://{host}")))
}

fn row(t: Language, sound: &Sound) -> Row {
    let seconds = sound.lasts_ms.div_ceil(1_000);
    Row {
        id: sound.id,
        name: sound.name.clone(),
        length: format!("{}:{:02}", seconds / 60, seconds % 60),
        size: size(t, sound.bytes),
        uses: words(t, &sound.uses),
        is_here: sound.place == Place::Store,
    }
}

/// Where a sound is heard.
fn words(t: Language, uses: &[Use]) -> String {
    let words = uses.iter().map(|place| match place {
        Use::Music => t.get("sounds.use_music").to_owned(),
        Use::Extension(number) => t.fill("sounds.use_extension", &[("number", number)]),
        Use::Announcement(number) => t.fill("sounds.use_announcement", &[("number", number)]),
        Use::Recordings => t.get("sounds.use_recordings").to_owned(),
        Use::RecordingsOf(number) => t.fill("sounds.use_recordings_of", &[("number", number)]),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// How much of the quota is used.
pub(super) fn used(t: Language, sounds: &[Sound], quota: Quota) -> String {
    let bytes = sounds.iter().map(|sound| sound.bytes).sum();
    t.fill(
        "sounds.quota",
        &[
            ("sounds", &sounds.len().to_string()),
            ("most", &quota.sounds.to_string()),
            ("used", &size(t, bytes)),
            ("quota", &size(t, quota.bytes)),
        ],
    )
}

/// How large and how long a recording may be.
fn limits(portal: &Portal, t: Language) -> String {
    let (largest, longest) = most(portal);
    t.fill("sounds.limits", &[("largest", &largest), ("longest", &longest)])
}

/// The same, for a sentence.
pub(super) fn most(portal: &Portal) -> (String, String) {
    let means = &portal.uploads.means;
    let largest = format!("{} MiB", means.largest >> 20);
    (largest, format!("{} min", means.longest.as_secs().div_ceil(60)))
}

/// A size as people say it.
fn size(t: Language, bytes: u64) -> String {
    let point = match t {
        Language::English => '.',
        Language::German => ',',
    };
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => {
            let tenths = bytes / 100_000;
            format!("{}{point}{} MB", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use pbx::id::TenantId;
    use store::objects::{Kind, ObjectKey};

    use super::*;

    fn sound(uses: Vec<Use>) -> Sound {
        let tenant = TenantId(Uuid::from_u128(1));
        Sound {
            id: Uuid::from_u128(2),
            name: "night".to_owned(),
            key: ObjectKey::new(tenant, Kind::Sound, Uuid::from_u128(3)),
            bytes: 1_960_044,
            lasts_ms: 61_200,
            place: Place::Store,
            uses,
        }
    }

    #[test]
    fn a_sound_says_how_long_and_large_it_is_and_where_it_is_heard() {
        let own = || "101".to_owned();
        let uses = vec![
            Use::Announcement("700".to_owned()),
            Use::Extension(own()),
            Use::RecordingsOf(own()),
        ];
        let german = row(Language::German, &sound(uses));
        assert_eq!((german.length.as_str(), german.size.as_str()), ("1:02", "1,9 MB"));
        let recorded = "„Dieses Gespräch wird aufgezeichnet“ von 101";
        assert_eq!(german.uses, format!("Ansage 700, Wartemusik von 101, {recorded}"));
        let english = row(Language::English, &sound(vec![Use::Music]));
        assert_eq!((english.size.as_str(), english.uses.as_str()), ("1.9 MB", "music on hold"));
        assert_eq!(size(Language::English, 999), "1 kB");
    }

    #[test]
    fn the_quota_is_said_in_both_languages() {
        let quota = Quota { sounds: 500, bytes: 536_870_912 };
        let used = |t| used(t, &[sound(vec![])], quota);
        assert!(used(Language::English).contains("1 of 500"), "{}", used(Language::English));
        assert!(used(Language::German).contains("536,8 MB"), "{}", used(Language::German));
    }
}
