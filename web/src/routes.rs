//! Every URL of the portal, in one table.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderValue, Request, Response};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::routing::{get, post};

use crate::Portal;
use crate::channel::{Channel, note};
use crate::page::{call, cards, companies, first, letters, login, objects};

/// The largest form that anybody fills in here.
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
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                  img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
