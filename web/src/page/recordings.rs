//! The recordings of a call: listened to by a link that is good for a while, held, released, deleted.
//!
//! Whoever gets the link is written down first. It leads to the object store, or, where that is a
//! folder, to our own pages.

use std::time::Duration;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use pbx::id::{CallId, RecordingId, TenantId};
use store::recordings::{self, Hold, Kept};
use uuid::Uuid;

use super::first::about;
use super::local;
use super::login::Signed;
use crate::Portal;
use crate::catalogue::Language;
use crate::error::Problem;
use crate::guard::Viewer;

/// How long a link can be followed: a browser does it at once.
const LINK_FOR: Duration = Duration::from_secs(300);

/// A recording on its call's page.
pub(super) struct Shown {
    pub(super) id: Uuid,
    pub(super) what: String,
    pub(super) is_here: bool,
    pub(super) is_held: bool,
}

/// How a recording is shown.
pub(super) fn shown(t: Language, zone: &str, kept: &Kept) -> Shown {
    let seconds = kept.lasts_ms / 1_000;
    let length = format!("{}:{:02}", seconds / 60, seconds % 60);
    let when = local(kept.began_at, zone, "%H:%M:%S");
    let who = match kept.asked_by.as_str() {
        "" => t.get("recording.by_rule").to_owned(),
        number => t.fill("recording.by", &[("number", number)]),
    };
    let (key, at) = match kept.state {
        recordings::State::Waits => ("recording.waits", None),
        recordings::State::Here => ("recording.here", None),
        recordings::State::Held => ("recording.held", None),
        recordings::State::Doomed => ("recording.doomed", None),
        recordings::State::Deleted(at) => ("recording.deleted", Some(at)),
    };
    let at = at.map_or_else(String::new, |at| local(at, zone, "%Y-%m-%d %H:%M"));
    let values = [("when", &*when), ("length", &*length), ("who", &*who), ("at", &*at)];
    let is_held = kept.state == recordings::State::Held;
    Shown {
        id: kept.id.0,
        what: t.fill(key, &values),
        is_here: is_held || kept.state == recordings::State::Here,
        is_held,
    }
}

/// Leads to the recording, and writes down who asked for it. No form: a form must not lead to another
/// host, and the object store may be one.
pub(crate) async fn hear(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, recording)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    let (t, tenant) = (viewer.language, TenantId(tenant));
    about(&portal, &viewer, tenant).await?;
    let who = &viewer.account.email;
    let heard = recordings::hear(&portal.database, tenant, who, RecordingId(recording)).await;
    let heard = heard.map_err(|failure| Problem::Away(t, failure))?;
    let key = heard.ok_or(Problem::NotFound(t))?;
    let link = portal.objects.presign(&key, Portal::now(), LINK_FOR).await;
    let link = link.map_err(|failure| {
        tracing::warn!("a recording cannot be shown: {failure}");
        Problem::Unread(t)
    })?;
    tracing::info!(%tenant, recording = %key.id(), who, "a recording was listened to");
    Ok(Redirect::to(&link).into_response())
}

pub(crate) async fn hold(
    portal: State<Portal>,
    viewer: Viewer,
    path: Path<(Uuid, Uuid)>,
    form: Form<Signed>,
) -> Result<Response, Problem> {
    change(portal, viewer, path, form, Change::Hold(Hold::Held)).await
}

pub(crate) async fn release(
    portal: State<Portal>,
    viewer: Viewer,
    path: Path<(Uuid, Uuid)>,
    form: Form<Signed>,
) -> Result<Response, Problem> {
    change(portal, viewer, path, form, Change::Hold(Hold::Released)).await
}

pub(crate) async fn delete(
    portal: State<Portal>,
    viewer: Viewer,
    path: Path<(Uuid, Uuid)>,
    form: Form<Signed>,
) -> Result<Response, Problem> {
    change(portal, viewer, path, form, Change::Delete).await
}

/// What is done to a recording.
enum Change {
    Hold(Hold),
    Delete,
}

async fn change(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, recording)): Path<(Uuid, Uuid)>,
    Form(form): Form<Signed>,
    change: Change,
) -> Result<Response, Problem> {
    viewer.check_form(&portal, &form.csrf)?;
    let (t, tenant) = (viewer.language, TenantId(tenant));
    about(&portal, &viewer, tenant).await?;
    let (who, id) = (&viewer.account.email, RecordingId(recording));
    let database = &portal.database;
    let changed = match change {
        Change::Hold(hold) => recordings::hold(database, tenant, who, id, hold).await,
        Change::Delete => recordings::delete(database, tenant, who, id).await,
    };
    let changed = changed.map_err(|failure| Problem::Away(t, failure))?;
    let CallId(call) = changed.ok_or(Problem::NotFound(t))?;
    Ok(Redirect::to(&format!("/t/{tenant}/calls/{call}")).into_response())
}
