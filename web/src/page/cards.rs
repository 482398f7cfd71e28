//! What to enter in each phone.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use pbx::id::TenantId;
use qrcode::QrCode;
use qrcode::render::svg;
use store::portal::{self as stored, Extension};
use uuid::Uuid;

use super::Frame;
use super::first::about;
use super::login::Signed;
use crate::Portal;
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::Viewer;

#[derive(Template)]
#[template(path = "cards.html")]
struct CardsPage {
    t: Language,
    frame: Frame,
    tenant: TenantId,
    domain: String,
    proxy: String,
    cards: Vec<Card>,
}

struct Card {
    id: Uuid,
    number: String,
    name: String,
    user: String,
    auth: Option<String>,
    password: Option<String>,
    code: Option<String>,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path(tenant): Path<Uuid>,
) -> Result<Response, Problem> {
    cards(&portal, &viewer, TenantId(tenant), None).await
}

/// One card with its password.
pub(crate) async fn open(
    State(portal): State<Portal>,
    viewer: Viewer,
    Path((tenant, extension)): Path<(Uuid, Uuid)>,
    Form(form): Form<Signed>,
) -> Result<Response, Problem> {
    viewer.check_form(&portal, &form.csrf)?;
    cards(&portal, &viewer, TenantId(tenant), Some(extension)).await
}

async fn cards(
    portal: &Portal,
    viewer: &Viewer,
    tenant: TenantId,
    opened: Option<Uuid>,
) -> Result<Response, Problem> {
    let t = viewer.language;
    let about = about(portal, viewer, tenant).await?;
    let who = &viewer.account.email;
    let away = |failure| Problem::Away(t, failure);
    let extensions = stored::extensions(&portal.database, tenant, who).await.map_err(away)?;
    let wanted = |extension: &Extension| opened.is_none_or(|id| id == extension.id);
    let mut cards: Vec<Card> = extensions.into_iter().filter(wanted).map(card).collect();
    if let Some(id) = opened {
        let found = stored::password(&portal.database, &portal.key, tenant, who, id).await;
        let password = found.map_err(away)?.ok_or(Problem::NotFound(t))?;
        let card = cards.first_mut().ok_or(Problem::NotFound(t))?;
        tracing::info!(tenant = %tenant, extension = %card.number, who, "a card was opened");
        let text = format!(
            "sip:{}@{}\npassword: {password}\nproxy: {}",
            card.user, about.domain, portal.reach
        );
        let code = QrCode::new(text).ok();
        card.code = code.map(|code| {
            let picture = code.render::<svg::Color<'_>>().min_dimensions(200, 200).build();
            // An XML declaration has no place inside a page.
            picture.split_once("?>").map_or(picture.clone(), |(_, svg)| svg.to_owned())
        });
        card.password = Some(password);
    }
    let frame = Frame::new(portal, viewer, &about.name).of(tenant);
    let (domain, proxy) = (about.domain, portal.reach.clone());
    Ok(page(&CardsPage { t, frame, tenant, domain, proxy, cards }).into_response())
}

fn card(extension: Extension) -> Card {
    Card {
        id: extension.id,
        number: extension.number,
        name: extension.name,
        user: extension.username,
        auth: extension.auth_username,
        password: None,
        code: None,
    }
}
