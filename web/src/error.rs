//! What a person sees when a page cannot be shown.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};

use crate::catalogue::Language;

/// Why a page cannot be shown.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Nobody is signed in.
    SignIn,
    /// There is no such page.
    NotFound(Language),
    /// It is somebody else's.
    Forbidden(Language),
    /// The form is not one that we gave out.
    Expired(Language),
    /// Postgres did not answer.
    Away(Language, store::Failure),
    /// What is asked for is there, and cannot be read now.
    Unread(Language),
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    t: Language,
    text: &'static str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, t, key) = match self {
            Self::SignIn => return Redirect::to("/login").into_response(),
            Self::NotFound(t) => (StatusCode::NOT_FOUND, t, "error.not_found"),
            Self::Forbidden(t) => (StatusCode::FORBIDDEN, t, "error.forbidden"),
            Self::Expired(t) => (StatusCode::FORBIDDEN, t, "error.expired"),
            Self::Unread(t) => (StatusCode::SERVICE_UNAVAILABLE, t, "error.away"),
            Self::Away(t, failure) => {
                tracing::warn!("a page cannot be shown: {failure}");
                (StatusCode::SERVICE_UNAVAILABLE, t, "error.away")
            }
        };
        (status, page(&ErrorPage { t, text: t.get(key) })).into_response()
    }
}

/// A page as it is sent.
pub(crate) fn page(template: &impl Template) -> Html<String> {
    Html(template.render().expect("a template writes to memory only"))
}
