//! The mail folder: what would have been sent, had there been a mail server.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Frame;
use crate::Portal;
use crate::catalogue::Language;
use crate::error::{Problem, page};
use crate::guard::Viewer;
use crate::mail::{Letter, kept};

#[derive(Template)]
#[template(path = "mail.html")]
struct MailPage {
    t: Language,
    frame: Frame,
    letters: Vec<Letter>,
}

pub(crate) async fn show(
    State(portal): State<Portal>,
    viewer: Viewer,
) -> Result<Response, Problem> {
    let t = viewer.language;
    let dir = portal.mail_dir.clone();
    let letters = tokio::task::spawn_blocking(move || kept(&dir)).await.unwrap_or_default();
    let email = &viewer.account.email;
    // The provider sees what the house sends; everybody else what was sent to them.
    let theirs =
        |letter: &Letter| viewer.account.is_provider() || letter.to.to_lowercase().contains(email);
    let letters = letters.into_iter().filter(theirs).collect();
    let frame = Frame::new(&portal, &viewer, t.get("mail.title"));
    Ok(page(&MailPage { t, frame, letters }).into_response())
}
