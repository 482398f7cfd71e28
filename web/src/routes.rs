//! Every URL of the portal, in one table.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderValue, Request, Response};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::{get, post};

use crate::Portal;
use crate::channel::{Channel, note};
use crate::page::{
    call, cards, companies, first, letters, login, objects, recordings, sound_upload, sounds,
};

/// What a page may do.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
    media-src 'self'";

/// Said by a page: sounds that it shows may come from there, too (the object store).
#[derive(Debug, Clone)]
pub(crate) struct MediaFrom(pub(crate) String);

/// The largest form that anybody fills in here; those that bring files see to it themselves.
const LARGEST_FORM: usize = 16 * 1024;
const STYLE: &str = include_str!("../static/style.css");
const LIVE: &str = include_str!("../static/live.js");

pub(crate) fn routes(portal: Portal, channel: Channel) -> Router {
    Router::new()
        .route("/", get(companies::show))
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/t/{tenant}", get(first::show))
        .route("/t/{tenant}/live", get(first::live))
        .route("/t/{tenant}/cards", get(cards::show))
        .route("/t/{tenant}/cards/{extension}", post(cards::open))
        .route("/t/{tenant}/calls/{call}", get(call::show))
        .route("/t/{tenant}/recordings/{recording}", get(recordings::hear))
        .route("/t/{tenant}/recordings/{recording}/hold", post(recordings::hold))
        .route("/t/{tenant}/recordings/{recording}/release", post(recordings::release))
        .route("/t/{tenant}/recordings/{recording}/delete", post(recordings::delete))
        .route("/t/{tenant}/sounds", get(sounds::show).post(sound_upload::add))
        .route("/t/{tenant}/sounds/{sound}", get(sounds::listen))
        .route("/t/{tenant}/sounds/{sound}/replace", get(sounds::ask).post(sound_upload::replace))
        .route("/t/{tenant}/sounds/{sound}/delete", post(sounds::delete))
        .route("/objects/{*key}", get(objects::read))
        .route("/mail", get(letters::show))
        .route("/static/style.css", get(async || ([(CONTENT_TYPE, "text/css")], STYLE)))
        .route("/static/live.js", get(async || ([(CONTENT_TYPE, "text/javascript")], LIVE)))
        .fallback(companies::nothing)
        .layer(from_fn(protect))
        .layer(from_fn_with_state(channel, note))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(portal)
}

/// What a browser must not do with our pages.
async fn protect(request: Request<axum::body::Body>, next: Next) -> Response<axum::body::Body> {
    let mut response = next.run(request).await;
    let from = response.extensions_mut().remove::<MediaFrom>();
    let headers = response.headers_mut();
    let policy = from.and_then(|MediaFrom(store)| format!("{POLICY} {store}").try_into().ok());
    let policy = policy.unwrap_or(HeaderValue::from_static(POLICY));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
