//! A company brings a recording: a new sound, or another recording for one that there is.
//!
//! It goes the way of `tenantd apply`: read by a process without means, put into the outbox, and only
//! then into a row; the nodes take it over as they do any change.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use pbx::id::TenantId;
use store::provision::{Ready, sound_name};
use store::sounds::{self, Saved, Wanted};
use tokio::time::timeout;
use uuid::Uuid;

use super::first::about;
use super::sounds::{all, list, most, question, to_list, used};
use crate::Portal;
use crate::error::Problem;
use crate::form::{Form, Piece};
use crate::guard::Viewer;
use crate::uploads::{NotTaken, Received, Refused};

/// How long a form that has no turn is thrown away as it comes, so that its sender sees the answer.
const THROWN_AWAY_FOR: Duration = Duration::from_secs(30);

pub(crate) async fn add(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path(tenant): Path<Uuid>,
    request: Request,
) -> Result<Response, Problem> {
    let upload = Upload { portal, viewer, tenant: TenantId(tenant), instead_of: None };
    upload.handle(request).await
}

pub(crate) async fn replace(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, sound)): Path<(Uuid, Uuid)>,
    request: Request,
) -> Result<Response, Problem> {
    let upload = Upload { portal, viewer, tenant: TenantId(tenant), instead_of: Some(sound) };
    upload.handle(request).await
}

struct Upload {
    portal: Portal,
    viewer: Viewer,
    tenant: TenantId,
    instead_of: Option<Uuid>,
}

/// Why there is no sound.
enum NoSound {
    /// Said above the form, with this status.
    Because(StatusCode, String),
    /// There is one of this name: shall it be replaced?
    Taken(Uuid),
    /// There is no page for it.
    Problem(Problem),
}

impl From<Problem> for NoSound {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Upload {
    async fn handle(self, request: Request) -> Result<Response, Problem> {
        about(&self.portal, &self.viewer, self.tenant).await?;
        let (head, body) = request.into_parts();
        let form = Form::of(&head.headers, body, self.portal.uploads.longest_form());
        let no_sound = match form {
            Ok(form) => match self.take(form).await {
                Ok(()) => return Ok(to_list(self.tenant)),
                Err(no_sound) => no_sound,
            },
            Err(broken) => self.refusal(Refused::Broken(broken)),
        };
        let Self { portal, viewer, tenant, instead_of } = &self;
        match (no_sound, instead_of) {
            (NoSound::Problem(problem), _) => Err(problem),
            (NoSound::Taken(sound), _) => {
                let status = StatusCode::CONFLICT;
                let why = viewer.language.get("sounds.taken").to_owned();
                question(portal, viewer, (*tenant, sound), status, why).await
            }
            (NoSound::Because(status, why), Some(sound)) => {
                question(portal, viewer, (*tenant, *sound), status, why).await
            }
            (NoSound::Because(status, why), None) => {
                list(portal, viewer, *tenant, status, why).await
            }
        }
    }

    async fn take(&self, mut form: Form) -> Result<(), NoSound> {
        let Self { portal, viewer, tenant, .. } = self;
        let Some(turn) = portal.uploads.begin(*tenant) else {
            throw_away(form).await;
            return Err(self.refusal(Refused::File(NotTaken::Busy)));
        };
        let is_ours = |csrf: &str| viewer.check_form(portal, csrf).is_ok();
        let received = portal.uploads.receive(&turn, &mut form, is_ours).await;
        let received = received.map_err(|refused| self.refusal(refused))?;
        let name = self.name(&received).await?;
        self.save(&name, received).await
    }

    /// What it will be called, if there can be one more of that name.
    async fn name(&self, received: &Received) -> Result<String, NoSound> {
        if self.instead_of.is_some() {
            return Ok(String::new());
        }
        let t = self.viewer.language;
        let name = sound_name(&received.name).map_err(|_| {
            NoSound::Because(StatusCode::UNPROCESSABLE_ENTITY, t.get("sounds.bad_name").to_owned())
        })?;
        // Found out once more when it is saved; but that is after the work.
        let (sounds, quota) = all(&self.portal, &self.viewer, self.tenant).await?;
        match sounds.iter().find(|sound| sound.name == name) {
            Some(taken) => Err(NoSound::Taken(taken.id)),
            None if sounds.len() as u64 >= quota.sounds => Err(self.full().await),
            None => Ok(name),
        }
    }

    async fn save(&self, name: &str, received: Received) -> Result<(), NoSound> {
        let Self { portal, viewer, tenant, instead_of } = self;
        let who = viewer.account.email.as_str();
        let means = &portal.uploads.means;
        let taken = (means.read)(received.file).await;
        let recording = taken.map_err(|reason| self.refusal(Refused::File(reason)))?;
        let outbox = portal.objects.outbox();
        let staged = outbox.stage(sounds::new_key(*tenant), recording.wave).await;
        let staged = staged.map_err(|failure| {
            self.refusal(Refused::File(NotTaken::Failed(failure.to_string())))
        })?;
        let wanted = instead_of.map_or(Wanted::New(name), Wanted::Instead);
        let ready = Ready { source: received.sha256, staged, lasts_ms: recording.lasts_ms };
        let whose = (*tenant, who);
        let saved = sounds::save(&portal.database, whose, wanted, &ready, &means.node).await;
        let no_sound = match saved {
            Ok(Saved::Yes(work)) => {
                tracing::info!(%tenant, key = %staged.key, who, "a sound was uploaded");
                (means.carry)(work).await;
                return Ok(());
            }
            // Whether it was committed is not known: what no row names is swept later.
            Err(failure) => return Err(Problem::Away(viewer.language, failure).into()),
            Ok(Saved::Taken(sound)) => NoSound::Taken(sound),
            Ok(Saved::Gone) => Problem::NotFound(viewer.language).into(),
            Ok(Saved::Full) => self.full().await,
        };
        // What cannot be removed is swept later, too.
        let _ = outbox.forget(&staged.key).await;
        Err(no_sound)
    }

    async fn full(&self) -> NoSound {
        let t = self.viewer.language;
        match all(&self.portal, &self.viewer, self.tenant).await {
            Err(problem) => problem.into(),
            Ok((sounds, quota)) => {
                let used = used(t, &sounds, quota);
                let why = t.fill("sounds.full", &[("used", &used)]);
                NoSound::Because(StatusCode::UNPROCESSABLE_ENTITY, why)
            }
        }
    }

    /// A refusal in a sentence.
    fn refusal(&self, refused: Refused) -> NoSound {
        let t = self.viewer.language;
        let (status, key) = match refused {
            Refused::Foreign => return Problem::Expired(t).into(),
            Refused::Broken(_) => (StatusCode::BAD_REQUEST, "sounds.broken_form"),
            Refused::Slow => (StatusCode::REQUEST_TIMEOUT, "sounds.slow"),
            Refused::File(NotTaken::Busy) => (StatusCode::TOO_MANY_REQUESTS, "sounds.busy"),
            Refused::File(NotTaken::Failed(why)) => {
                tracing::warn!(tenant = %self.tenant, "a sound cannot be taken in: {why}");
                return Problem::Unread(t).into();
            }
            Refused::File(NotTaken::Refused(word)) => {
                let (largest, longest) = most(&self.portal);
                let values = [("largest", &*largest), ("longest", &*longest)];
                let why = t.fill(&format!("sound.refused.{word}"), &values);
                return NoSound::Because(StatusCode::UNPROCESSABLE_ENTITY, why);
            }
        };
        NoSound::Because(status, t.get(key).to_owned())
    }
}

async fn throw_away(mut form: Form) {
    let all = async { while !matches!(form.next().await, Ok(Piece::End) | Err(_)) {} };
    let _ = timeout(THROWN_AWAY_FOR, all).await;
}
