//! Signing in and out.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::accounts;

use crate::Portal;
use crate::catalogue::Language;
use crate::channel::Secrecy;
use crate::error::{Problem, page};
use crate::guard::{Origin, Speaks, Viewer};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    t: Language,
    problem: &'a str,
    email: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    email: String,
    password: String,
}

#[derive(Deserialize)]
pub(crate) struct Signed {
    pub(crate) csrf: String,
}

pub(crate) async fn show(Speaks(t): Speaks) -> Response {
    page(&LoginPage { t, problem: "", email: "" }).into_response()
}

pub(crate) async fn sign_in(
    State(portal): State<Portal>,
    Speaks(t): Speaks,
    secrecy: Secrecy,
    origin: Origin,
    Form(login): Form<Login>,
) -> Response {
    let again = |status: StatusCode, key: &str| {
        let text = LoginPage { t, problem: t.get(key), email: &login.email };
        (status, page(&text)).into_response()
    };
    if origin == Origin::Foreign {
        return Problem::Expired(t).into_response();
    }
    let now = Portal::now();
    if !portal.throttle.may_try(now, &login.email) {
        return again(StatusCode::TOO_MANY_REQUESTS, "login.busy");
    }
    match accounts::sign_in(&portal.database, now, &login.email, &login.password).await {
        Ok(Some(token)) => {
            portal.throttle.succeed(&login.email);
            let age = accounts::SESSION_FOR.as_secs();
            let cookie = secrecy.cookie(&token, age);
            ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Ok(None) => {
            portal.throttle.fail(now, &login.email);
            again(StatusCode::UNAUTHORIZED, "login.wrong")
        }
        Err(store::Failure::Busy) => again(StatusCode::SERVICE_UNAVAILABLE, "login.busy"),
        Err(failure) => {
            tracing::warn!("nobody can sign in: {failure}");
            again(StatusCode::SERVICE_UNAVAILABLE, "login.away")
        }
    }
}

pub(crate) async fn sign_out(
    State(portal): State<Portal>,
    viewer: Viewer,
    secrecy: Secrecy,
    Form(form): Form<Signed>,
) -> Result<Response, Problem> {
    viewer.check_form(&portal, &form.csrf)?;
    let done = accounts::sign_out(&portal.database, &viewer.token).await;
    done.map_err(|failure| Problem::Away(viewer.language, failure))?;
    let cookie = secrecy.cookie("", 0);
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}
