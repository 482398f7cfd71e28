//! The first thing after signing in: the companies, or the only one.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use pbx::id::TenantId;
use store::{HOUSE, portal as stored};

use super::Frame;
use crate::Portal;
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::{Speaks, Viewer};

#[derive(Template)]
#[template(path = "companies.html")]
struct CompaniesPage {
    t: Language,
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    id: TenantId,
    name: String,
    domain: String,
    /// `None`: it lives on another node, and its own page shows it.
    phones: Option<usize>,
    calls: Option<usize>,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    let t = viewer.language;
    if !viewer.account.is_provider() {
        let own = viewer.account.memberships.iter().find(|tenant| **tenant != HOUSE);
        let own = own.ok_or(Problem::Forbidden(t))?;
        return Ok(Redirect::to(&format!("/t/{own}")).into_response());
    }
    let tenants = stored::tenants(&portal.database).await;
    let tenants = tenants.map_err(|failure| Problem::Away(t, failure))?;
    let row = |(id, name, domain)| {
        let board = portal.boards.glance(id);
        let (phones, calls) = board.map(|board| (board.phones.len(), board.calls.len())).unzip();
        Row { id, name, domain, phones, calls }
    };
    let rows = tenants.into_iter().map(row).collect();
    let frame = Frame::new(&portal, &viewer, t.get("companies.title"));
    Ok(page(&CompaniesPage { t, frame, rows }).into_response())
}

pub(crate) async fn nothing(Speaks(t): Speaks) -> Problem {
    Problem::NotFound(t)
}
