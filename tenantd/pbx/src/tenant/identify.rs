//! Who speaks: an extension that proves its password, or another company on this system.
//!
//! RFC 3261 §22 with RFC 7616 and RFC 8760. Names are no secret-keepers: whether a user exists is not
//! told, so an unknown one is challenged and refused exactly like a wrong password. What is told to
//! the one who knows the password: whether the From is his (403).

use std::time::Duration;

use smallvec::SmallVec;

use super::directory::{Algorithm, Directory, User, Written};
use super::guard::{Guard, Verdict};
use super::name::{is_address_of, is_ours, user_in};
use crate::chance::Chance;
use crate::flow::Flow;
use crate::id::{TenantId, UserId};
use crate::moment::Moment;
use crate::sip::authorization::{Credentials, Proof, choose};
use crate::sip::digest::{Hashed, Occasion, challenge};
use crate::sip::draft::Draft;
use crate::sip::flaw::Flaw;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::name::Name;
use crate::sip::nonce::Nonces;

/// What is offered to users nobody knows, and to those for whom nothing is configured.
const USUAL_OFFER: &[Algorithm] = &[Algorithm::Md5];
const EVERY_ALGORITHM: &[Algorithm] = &[Algorithm::Sha256, Algorithm::Md5];
/// So much of a claimed user name is worth a log line.
const LONGEST_TOLD: usize = 64;

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// An extension of the tenant.
    User(UserId),
    /// Somebody of another tenant, over the inner path.
    Elsewhere(TenantId),
}

/// Why somebody is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No password was proved yet, or with a nonce that is stale: no failure.
    NeedsPassword(Challenge),
    /// A password was proved wrong, or nobody has that name.
    WrongPassword {
        /// The name that was claimed, shortened.
        username: String,
        /// When to answer.
        verdict: Verdict,
        /// What to answer.
        challenge: Challenge,
    },
    /// He is who he is, but From or To name somebody else.
    NotHis,
    /// From or To cannot be read.
    BadRequest(Flaw),
}

/// The question for a password: one value for each algorithm offered, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    asked_by: Asker,
    values: SmallVec<[String; 2]>,
}

/// In which role the question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Registrar,
    Proxy,
}

/// All it takes to find out who speaks.
#[derive(Debug)]
pub struct Door<'a> {
    /// The tenant.
    pub directory: &'a Directory,
    /// The nonces in use.
    pub nonces: &'a mut Nonces,
    /// Who failed lately; of this tenant only.
    pub guard: &'a mut Guard,
    /// For new nonces.
    pub chance: &'a mut Chance,
}

/// What was made of a request's credentials.
enum Checked<'a, 'c> {
    Proved(&'a User),
    Missing,
    Stale,
    Wrong { username: &'c str },
}

impl<'a> Door<'a> {
    /// Finds out who makes a request that came over `flow`: any but ACK and CANCEL, which cannot be
    /// asked back, and those within a dialog, which its flow proves.
    pub fn identify(
        &mut self,
        now: Moment,
        flow: &Flow,
        request: &Message,
    ) -> Result<Speaker, Refusal> {
        if let Flow::Inner(path) = flow {
            return Ok(Speaker::Elsewhere(path.there));
        }
        let source = flow.peer().map(|peer| peer.ip());
        let asked_by = Asker::of(request.method());
        let claimed = match asked_by {
            Asker::Registrar => request.to()?,
            Asker::Proxy => request.from()?,
        };
        let rows = || {
            let names = [Name::Authorization, Name::ProxyAuthorization].into_iter();
            names.flat_map(|name| request.fields(name))
        };
        let realm = &self.directory.domain;
        let user = match choose(rows(), realm, EVERY_ALGORITHM) {
            Some(credentials) => holder(self.directory, &credentials).0,
            None => user_in(self.directory, &claimed),
        };
        let offered = user.map_or(USUAL_OFFER, offer);
        let credentials = choose(rows(), realm, offered);
        match self.check(now, request.method(), credentials.as_ref()) {
            Checked::Proved(user) => {
                self.guard.succeed(source, credentials.as_ref().map_or("", Credentials::username));
                self.check_names(user, request)?;
                Ok(Speaker::User(user.id))
            }
            Checked::Missing => {
                Err(Refusal::NeedsPassword(self.challenge(now, asked_by, offered, Occasion::First)))
            }
            Checked::Stale => {
                Err(Refusal::NeedsPassword(self.challenge(now, asked_by, offered, Occasion::Stale)))
            }
            Checked::Wrong { username } => Err(Refusal::WrongPassword {
                username: username.chars().take(LONGEST_TOLD).collect(),
                verdict: self.guard.fail(now, source, username),
                challenge: self.challenge(now, asked_by, offered, Occasion::First),
            }),
        }
    }

    fn check<'c>(
        &mut self,
        now: Moment,
        method: Method<'_>,
        credentials: Option<&'c Credentials<'_>>,
    ) -> Checked<'a, 'c> {
        let Some(credentials) = credentials else { return Checked::Missing };
        let route = self.directory.route;
        let Ok(nonce) = self.nonces.examine(now, route, credentials.nonce()) else {
            return Checked::Stale;
        };
        let (user, written) = holder(self.directory, credentials);
        match (proof(user, written, method, credentials), user) {
            (Proof::Right, Some(user)) => {
                match self.nonces.spend(now, nonce, credentials.count()) {
                    Ok(()) => Checked::Proved(user),
                    Err(_) => Checked::Stale,
                }
            }
            // A right guess at nobody's password is as wrong as any other.
            (Proof::Right, None) | (Proof::Wrong, _) => {
                Checked::Wrong { username: credentials.username() }
            }
        }
    }

    /// From, and for a REGISTER also To, name the user: nobody speaks or registers for another.
    fn check_names(&self, user: &User, request: &Message) -> Result<(), Refusal> {
        let is_his = |address: Result<_, Flaw>| is_address_of(self.directory, user, &address?);
        let is_from_him = is_his(request.from())?;
        let is_for_him = match Asker::of(request.method()) {
            Asker::Registrar => is_his(request.to())?,
            Asker::Proxy => true,
        };
        if is_from_him && is_for_him { Ok(()) } else { Err(Refusal::NotHis) }
    }

    fn challenge(
        &mut self,
        now: Moment,
        asked_by: Asker,
        offered: &[Algorithm],
        occasion: Occasion,
    ) -> Challenge {
        let nonce = self.nonces.issue(now, self.chance, self.directory.route);
        let value =
            |algorithm: &Algorithm| challenge(&self.directory.domain, &nonce, *algorithm, occasion);
        Challenge { asked_by, values: offered.iter().map(value).collect() }
    }
}

fn offer(user: &User) -> &[Algorithm] {
    if user.digest.is_empty() { USUAL_OFFER } else { &user.digest }
}

/// Whose name the credentials bear, if anybody's.
fn holder<'a>(
    directory: &'a Directory,
    credentials: &Credentials<'_>,
) -> (Option<&'a User>, Written) {
    let user = |name: &str| directory.users.get(directory.credentials.get(name)?);
    if let Some(user) = user(credentials.username()) {
        return (Some(user), Written::Alone);
    }
    match credentials.user_and_domain() {
        Some((name, domain)) if is_ours(directory, domain) => (user(name), Written::WithDomain),
        Some(_) | None => (None, Written::Alone),
    }
}

/// Whether the password is right; for nobody it takes as long.
fn proof(
    user: Option<&User>,
    written: Written,
    method: Method<'_>,
    credentials: &Credentials<'_>,
) -> Proof {
    // Of those who write their domain, some hash it and some do not.
    let ways: &[Written] = match written {
        Written::Alone => &[Written::Alone],
        Written::WithDomain => &[Written::WithDomain, Written::Alone],
    };
    let algorithm = credentials.algorithm();
    let mut proof = Proof::Wrong;
    for way in ways {
        let secret = match (user, algorithm) {
            (Some(user), _) => user.secrets.hashed(algorithm, *way),
            (None, Algorithm::Md5) => Hashed::Md5([0; 16]),
            (None, Algorithm::Sha256) => Hashed::Sha256([0; 32]),
        };
        if credentials.verify(method.as_str(), &secret) == Proof::Right {
            proof = Proof::Right;
        }
    }
    proof
}

impl Asker {
    fn of(method: Method<'_>) -> Self {
        if method == Method::Register { Self::Registrar } else { Self::Proxy }
    }
}

impl Challenge {
    /// The response's status code.
    pub fn status(&self) -> u16 {
        match self.asked_by {
            Asker::Registrar => 401,
            Asker::Proxy => 407,
        }
    }

    /// The header field that asks.
    pub fn header(&self) -> Name {
        match self.asked_by {
            Asker::Registrar => Name::WwwAuthenticate,
            Asker::Proxy => Name::ProxyAuthenticate,
        }
    }

    /// Its values, each a row of its own: many phones read no list.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }
}

impl Refusal {
    /// The response's status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::NeedsPassword(challenge) | Self::WrongPassword { challenge, .. } => {
                challenge.status()
            }
            Self::NotHis => 403,
            Self::BadRequest(flaw) => flaw.status(),
        }
    }

    /// How long the answer is held back.
    pub fn delay(&self) -> Duration {
        match self {
            Self::WrongPassword { verdict, .. } => verdict.delay(),
            Self::NeedsPassword(_) | Self::NotHis | Self::BadRequest(_) => Duration::ZERO,
        }
    }

    /// The response, but for its tag.
    pub fn answer(&self, to: &Message) -> Draft {
        match self {
            Self::NeedsPassword(challenge) | Self::WrongPassword { challenge, .. } => {
                let draft = Draft::response(to, self.status(), None);
                let header = challenge.header();
                challenge.values().fold(draft, |draft, value| draft.header(header, value))
            }
            Self::NotHis => Draft::response(to, self.status(), None),
            Self::BadRequest(flaw) => Draft::response(to, self.status(), Some(&flaw.to_string())),
        }
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self::BadRequest(flaw)
    }
}
