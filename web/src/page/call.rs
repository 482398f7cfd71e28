//! One call's story, in plain sentences, and how it sounded.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use pbx::id::{CallId, TenantId};
use store::portal as stored;
use uuid::Uuid;

use super::first::{about, how};
use super::{Frame, local};
use crate::Portal;
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::Viewer;
use crate::quality::{Way, ways};
use crate::story::sentence;

#[derive(Template)]
#[template(path = "call.html")]
struct CallPage {
    t: Language,
    frame: Frame,
    tenant: TenantId,
    headline: String,
    story: Vec<Told>,
    /// Empty where there was no sound.
    quality: Vec<Way>,
}

struct Told {
    when: String,
    what: String,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, call)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    let (t, tenant) = (viewer.language, TenantId(tenant));
    let about = about(&portal, &viewer, tenant).await?;
    let who = &viewer.account.email;
    let found = stored::story(&portal.database, tenant, who, CallId(call)).await;
    let found = found.map_err(|failure| Problem::Away(t, failure))?.ok_or(Problem::NotFound(t))?;
    let past = found.call;
    let zone = &about.time_zone;
    let began = local(past.began_at, zone, "%Y-%m-%d %H:%M:%S");
    let headline = format!("{began}: {} → {}, {}", past.caller, past.dialled, how(t, &past.ending));
    let quality = ways(t, &found.legs);
    let story = found
        .told
        .iter()
        .map(|told| Told {
            when: local(told.at, zone, "%H:%M:%S%.3f"),
            what: sentence(t, &told.event),
        })
        .collect();
    let frame = Frame::new(&portal, &viewer, &about.name).of(tenant);
    Ok(page(&CallPage { t, frame, tenant, headline, story, quality }).into_response())
}
