//! Who looks at a page, and whether they may: a cookie, a membership, and forms that are ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT_LANGUAGE, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use hmac::{Hmac, KeyInit, Mac};
use pbx::id::TenantId;
use pbx::moment::Moment;
use sha2::Sha256;
use store::accounts::{self, Account};

use crate::Portal;
use crate::catalogue::Language;
use crate::channel::Secrecy;
use crate::error::Problem;

/// Failures of one address that are forgiven.
const FORGIVEN: u32 = 5;
/// How long a failure counts.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Addresses that are remembered; with more, the oldest are forgotten all at once.
const MOST_REMEMBERED: usize = 10_000;

/// Who looks at a page.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    pub(crate) account: Account,
    pub(crate) token: String,
    pub(crate) language: Language,
}

/// The language of whoever asks, signed in or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaks(pub(crate) Language);

/// Whether a form was sent from a page of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Ours,
    Foreign,
}

impl FromRequestParts<Portal> for Speaks {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Portal) -> Result<Self, Problem> {
        Ok(Self(language(parts)))
    }
}

impl FromRequestParts<Portal> for Secrecy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Portal) -> Result<Self, Problem> {
        Ok(secrecy(parts))
    }
}

impl FromRequestParts<Portal> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Portal) -> Result<Self, Problem> {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let host = header(HOST).unwrap_or_default();
        // A browser says where a form comes from; a program without one has no cookie to steal.
        Ok(match header(ORIGIN) {
            None => Self::Ours,
            Some(origin) if origin.split_once("://").is_some_and(|(_, from)| from == host) => {
                Self::Ours
            }
            Some(_) => Self::Foreign,
        })
    }
}

impl FromRequestParts<Portal> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Problem> {
        let language = language(parts);
        let token = cookie(parts).ok_or(Problem::SignIn)?;
        let found = accounts::who(&portal.database, Portal::now(), &token).await;
        let account = found.map_err(|failure| Problem::Away(language, failure))?;
        let account = account.ok_or(Problem::SignIn)?;
        Ok(Self { account, token, language })
    }
}

impl Viewer {
    /// Whether they may see a tenant's pages.
    pub(crate) fn enter(&self, tenant: TenantId) -> Result<(), Problem> {
        match self.account.may_enter(tenant) {
            true => Ok(()),
            false => Err(Problem::Forbidden(self.language)),
        }
    }

    /// What our forms carry for this browser.
    pub(crate) fn csrf(&self, portal: &Portal) -> String {
        let mut mac = mac(portal);
        mac.update(self.token.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a form is one that we gave this browser.
    pub(crate) fn check_form(&self, portal: &Portal, csrf: &str) -> Result<(), Problem> {
        let ours = self.csrf(portal);
        let same = ours.len() == csrf.len()
            && ours.bytes().zip(csrf.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0;
        if same { Ok(()) } else { Err(Problem::Expired(self.language)) }
    }
}

fn mac(portal: &Portal) -> Hmac<Sha256> {
    Hmac::new_from_slice(&portal.cookie_key).expect("HMAC takes keys of any length")
}

fn language(parts: &Parts) -> Language {
    let accept = parts.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Language::preferred(accept.unwrap_or_default())
}

/// Every page is told; plain is what asks for less trust.
fn secrecy(parts: &Parts) -> Secrecy {
    parts.extensions.get().copied().unwrap_or(Secrecy::Plain)
}

fn cookie(parts: &Parts) -> Option<String> {
    let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).map(str::trim);
    let name = secrecy(parts).cookie_name();
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// Addresses that failed to sign in lately: after some failures they must wait.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Arc<Mutex<BTreeMap<String, (u32, Moment)>>>);

impl Throttle {
    /// Whether an address may try now.
    pub(crate) fn may_try(&self, now: Moment, email: &str) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = failures.get(&email.to_lowercase());
        recent.is_none_or(|(count, at)| *count < FORGIVEN || now - *at > REMEMBERED_FOR)
    }

    /// An address failed.
    pub(crate) fn fail(&self, now: Moment, email: &str) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_REMEMBERED {
            failures.clear();
        }
        let (count, at) = failures.entry(email.to_lowercase()).or_insert((0, now));
        *count = if now - *at > REMEMBERED_FOR { 1 } else { *count + 1 };
        *at = now;
    }

    /// An address got in.
    pub(crate) fn succeed(&self, email: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&email.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_failures_an_address_waits_ten_minutes() {
        let (throttle, start) = (Throttle::default(), Moment::from_secs(1_000));
        for _ in 0..FORGIVEN {
            assert!(throttle.may_try(start, "a@b.c"));
            throttle.fail(start, "A@b.c");
        }
        assert!(!throttle.may_try(start, "a@b.c"));
        assert!(throttle.may_try(start, "other@b.c"));
        assert!(throttle.may_try(start + Duration::from_secs(601), "a@b.c"));
        throttle.succeed("a@b.c");
        assert!(throttle.may_try(start, "a@b.c"));
    }
}
