//! The door: what needs no memory is answered here, and the rest is told whose it is.
//!
//! RFC 3261 §16.3 (what is checked first), §11 (OPTIONS), §22 (challenges). An edge knows domains,
//! tags and nothing else, so it can stand on every lane, in front of every tenant.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;

use crate::chance::Chance;
use crate::flow::{Advertised, Flow, Link, Path};
use crate::id::TenantId;
use crate::input::Placement;
use crate::moment::Moment;
use crate::sip::digest::{Algorithm, Occasion, challenge};
use crate::sip::flaw::Flaw;
use crate::sip::message::Message;
use crate::sip::method::{ALLOW, Method};
use crate::sip::name::Name;
use crate::sip::nonce::NonceKey;
use crate::sip::token::TokenKey;
use crate::sip::uri::Uri;
use crate::sip::{Draft, check};

mod placed;
mod sources;
#[cfg(test)]
mod tests;
mod trusted;

use placed::Placements;
use sources::Sources;
use trusted::Trusted;

/// What a draining server tells phones: come back when another has taken over.
const RETRY_AFTER_S: u16 = 10;
/// The key of tags that no dialog stands behind: an ACK to one is dropped.
const NO_DIALOG: u64 = 0;

/// What the door needs.
#[derive(Debug)]
pub struct Setup {
    /// Signs tags and branches; the same as the switches'.
    pub token_key: [u8; 16],
    /// Signs nonces; the same as the switches'.
    pub nonce_key: [u8; 16],
    /// This process: nonces of an earlier one are stale.
    pub boot: u32,
    /// What randomness starts from.
    pub seed: [u8; 32],
    /// Our addresses.
    pub advertised: Advertised,
    /// What strangers hear.
    pub unknown_domain: UnknownDomain,
}

/// What is done with a request for a domain that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownDomain {
    /// Nothing: scanners learn nothing.
    Drop,
    /// It is answered 404.
    Refuse,
}

/// What the door knows of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Who.
    pub tenant: TenantId,
    /// The number in its tags and branches.
    pub route: u64,
    /// Its canonical domain: the realm.
    pub realm: String,
    /// All its domains, lower case.
    pub domains: Vec<String>,
    /// Its short label, lower case, for phones that write `USER*LABEL`.
    pub label: Option<String>,
    /// Networks whose phones need not say whose they are, as (address, prefix length).
    pub trusted: Vec<(IpAddr, u8)>,
    /// Digests that extensions are offered which are not named below.
    pub offered: Vec<Algorithm>,
    /// Digests by SIP user name, where they differ.
    pub exceptions: BTreeMap<String, Vec<Algorithm>>,
}

/// What becomes of a datagram or message.
#[derive(Debug)]
pub enum Placed {
    /// It keeps a phone's way open: its tenant shall hear of it ([`crate::input::Input::KeptOpen`]).
    KeepsOpen(TenantId),
    /// Nothing.
    Drop(Dropped),
    /// It is answered here.
    Answer(Bytes),
    /// It is a tenant's.
    For {
        /// Whose.
        tenant: TenantId,
        /// What says so.
        by: Placement,
        /// The message.
        message: Message,
    },
}

/// Why something is dropped in silence; each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It only keeps a path open (RFC 5626 §3.5.1), nobody knows whose, or it was told lately.
    KeepAlive,
    /// It is not SIP, or so broken that nobody can be answered.
    NotSip,
    /// A response or ACK to nothing of ours.
    Stray,
    /// Nobody has that domain.
    UnknownDomain,
}

/// The door of one lane.
#[derive(Debug)]
pub struct Edge {
    tokens: TokenKey,
    nonces: NonceKey,
    chance: Chance,
    advertised: Advertised,
    unknown_domain: UnknownDomain,
    tenants: BTreeMap<TenantId, Served>,
    domains: BTreeMap<String, TenantId>,
    labels: BTreeMap<String, TenantId>,
    trusted: Trusted,
    routes: BTreeMap<u64, TenantId>,
    placed: Placements,
    sources: Sources,
    door: Door,
}

/// Whether new calls and registrations are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Draining,
}

impl Edge {
    /// A door that knows nobody yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            tokens: TokenKey::new(setup.token_key),
            nonces: NonceKey::new(setup.nonce_key, setup.boot),
            chance: Chance::from_seed(setup.seed),
            advertised: setup.advertised,
            unknown_domain: setup.unknown_domain,
            tenants: BTreeMap::new(),
            domains: BTreeMap::new(),
            labels: BTreeMap::new(),
            trusted: Trusted::default(),
            routes: BTreeMap::new(),
            placed: Placements::default(),
            sources: Sources::default(),
            door: Door::Open,
        }
    }

    /// A tenant came, or its configuration changed.
    pub fn learn(&mut self, served: Served) {
        self.forget(served.tenant);
        for domain in &served.domains {
            self.domains.insert(domain.clone(), served.tenant);
        }
        if let Some(label) = &served.label {
            self.labels.insert(label.clone(), served.tenant);
        }
        self.trusted.learn(served.tenant, &served.trusted);
        self.routes.insert(served.route, served.tenant);
        self.tenants.insert(served.tenant, served);
    }

    /// Gives back what is of no use any more; to be called now and then.
    pub fn tidy(&mut self, now: Moment) {
        self.placed.forget_old(now);
    }

    /// A tenant is gone.
    pub fn forget(&mut self, tenant: TenantId) {
        if let Some(served) = self.tenants.remove(&tenant) {
            self.routes.remove(&served.route);
            self.trusted.forget(tenant, &served.trusted);
            for domain in served.domains {
                if self.domains.get(&domain) == Some(&tenant) {
                    self.domains.remove(&domain);
                }
            }
            if let Some(label) =
                served.label.filter(|label| self.labels.get(label) == Some(&tenant))
            {
                self.labels.remove(&label);
            }
        }
    }

    /// Our public addresses changed.
    pub fn advertise(&mut self, advertised: Advertised) {
        self.advertised = advertised;
    }

    /// What becomes of bytes that came over `flow`.
    pub fn place(&mut self, now: Moment, flow: &Flow, bytes: Bytes) -> Placed {
        match bytes.first() {
            None | Some(0 | b'\r' | b'\n') if bytes.iter().all(|b| b"\0\r\n".contains(b)) => {
                return match self.keeps_open(now, flow) {
                    Some(tenant) => Placed::KeepsOpen(tenant),
                    None => Placed::Drop(Dropped::KeepAlive),
                };
            }
            Some(first) if !first.is_ascii_graphic() && !first.is_ascii_whitespace() => {
                return Placed::Drop(Dropped::NotSip);
            }
            _ => {}
        }
        match Message::parse(bytes) {
            Ok(message) if message.is_request() => self.place_request(now, flow, message),
            Ok(message) => self.place_response(message),
            Err(malformed) => match malformed.answer() {
                Some(draft) => Placed::Answer(addressed(draft, flow).finish()),
                None => Placed::Drop(Dropped::NotSip),
            },
        }
    }

    /// Something came over `flow` that is no SIP but keeps a phone's way open, as a STUN request does:
    /// whose phone it is, if its tenant shall hear of it.
    pub fn keeps_open(&mut self, now: Moment, flow: &Flow) -> Option<TenantId> {
        match flow {
            Flow::Net(Path { link: Link::Udp, peer, .. }) => self.sources.hear(now, *peer),
            Flow::Net(_) | Flow::Inner(_) => None,
        }
    }

    /// The server is about to stop: what is new is refused before anybody is asked for a password.
    pub fn drain(&mut self) {
        self.door = Door::Draining;
    }

    /// A refusal that no transaction stands behind: the lane has no room for the request.
    pub fn overloaded(&mut self, flow: &Flow, request: &Message) -> Option<Bytes> {
        if !request.is_request() || request.method() == Method::Ack {
            return None;
        }
        let draft = addressed(Draft::response(request, 503, None), flow);
        Some(draft.to_tag(&self.tag(0)).header(Name::RetryAfter, 5).finish())
    }

    fn place_response(&self, message: Message) -> Placed {
        let branch = message.via().ok().and_then(|via| via.branch().map(str::to_owned));
        let opened = branch.and_then(|branch| self.tokens.read(&branch));
        match opened.and_then(|opened| self.routes.get(&opened.route)) {
            Some(tenant) => Placed::For { tenant: *tenant, by: Placement::Known, message },
            None => Placed::Drop(Dropped::Stray),
        }
    }

    fn place_request(&mut self, now: Moment, flow: &Flow, message: Message) -> Placed {
        if let Err(refusal) = check(&message) {
            return match refusal.answer(&message) {
                Some(draft) => Placed::Answer(addressed(draft, flow).finish()),
                None => Placed::Drop(Dropped::Stray),
            };
        }
        let tag = message.to().ok().and_then(|to| to.tag());
        if let Some(opened) = tag.and_then(|tag| self.tokens.read(tag)) {
            let tenant = self.routes.get(&opened.route).copied();
            return match (opened.key, tenant) {
                (NO_DIALOG, _) if message.method() == Method::Ack => Placed::Drop(Dropped::Stray),
                (_, Some(tenant)) => Placed::For { tenant, by: Placement::Known, message },
                (_, None) => self.refuse(flow, &message, 481, 0),
            };
        }
        let thread = Placements::thread(&message);
        if let Some((tenant, by)) = thread.and_then(|thread| self.placed.find(now, thread)) {
            return Placed::For { tenant, by, message };
        }
        let placed = self.place_by_domain(now, flow, message);
        if let (Some(thread), Placed::For { tenant, by, message }) = (thread, &placed)
            && message.method() == Method::Invite
        {
            self.placed.keep(now, thread, (*tenant, *by));
        }
        placed
    }

    fn place_by_domain(&mut self, now: Moment, flow: &Flow, message: Message) -> Placed {
        let asked = match message.method() {
            Method::Register => message.to().and_then(|to| to.uri()),
            _ => message.uri(),
        };
        let (host, user) = match &asked {
            Ok(uri) => (uri.host.to_ascii_lowercase(), uri.user.is_some()),
            Err(_) => (String::new(), false),
        };
        if let Some(tenant) = self.domains.get(&host).copied() {
            return self.serve(now, flow, message, tenant);
        }
        if message.method() == Method::Options && !user && self.is_ours(flow, &host) {
            return self.answer_options(flow, &message);
        }
        let from = message.from().ok().and_then(|from| from.uri().ok());
        let from = from.map(|uri| uri.host.to_ascii_lowercase());
        if let Some(tenant) = from.and_then(|host| self.domains.get(&host).copied()) {
            return Placed::For { tenant, by: Placement::From, message };
        }
        match self.labelled(&message).or_else(|| self.trusted.only_one(flow.peer()?.ip())) {
            Some(tenant) => self.serve(now, flow, message, tenant),
            None => self.turn_away(flow, &message),
        }
    }

    /// The tenant whose label stands behind a `*`: in whom it is for, or in who sends it. Phones
    /// that can write no domain register as `101*acme` and then dial plain numbers.
    fn labelled(&self, message: &Message) -> Option<TenantId> {
        let named = |uri: Result<Uri<'_>, Flaw>| {
            let user = uri.ok()?.user().into_owned();
            let (_, label) = user.split(';').next()?.rsplit_once('*')?;
            self.labels.get(&label.to_ascii_lowercase()).copied()
        };
        let to = || match message.method() {
            Method::Register => named(message.to().and_then(|to| to.uri())),
            _ => named(message.uri()),
        };
        to().or_else(|| named(message.from().and_then(|from| from.uri())))
    }

    /// A request for a domain that we serve: what can be said without memory is said here.
    fn serve(&mut self, now: Moment, flow: &Flow, message: Message, tenant: TenantId) -> Placed {
        let Some(served) = self.tenants.get(&tenant) else {
            return self.turn_away(flow, &message);
        };
        let route = served.route;
        let within = message.to().is_ok_and(|to| to.tag().is_some());
        match message.method() {
            Method::Ack => return Placed::Drop(Dropped::Stray),
            Method::Cancel => {}
            Method::Options if !within => return self.answer_options(flow, &message),
            Method::Other(_) => return self.refuse(flow, &message, 501, route),
            // What only keeps a dialog alive, or changes it, has nothing to say without one.
            Method::Notify | Method::Info | Method::Update | Method::Prack | Method::Message
                if !within =>
            {
                return self.refuse(flow, &message, 405, route);
            }
            Method::Bye => return self.refuse(flow, &message, 481, route),
            _ if within => return self.refuse(flow, &message, 481, route),
            Method::Invite | Method::Register if self.door == Door::Draining => {
                return self.refuse(flow, &message, 503, route);
            }
            _ if !has_credentials(&message) => return self.challenge(now, flow, &message, tenant),
            Method::Register => {
                if let Flow::Net(Path { link: Link::Udp, peer, .. }) = flow {
                    self.sources.learn(*peer, tenant);
                }
            }
            _ => {}
        }
        Placed::For { tenant, by: Placement::Domain, message }
    }

    /// The first challenge: nobody is remembered for asking (RFC 3261 §22.1, §26.3.2.4).
    fn challenge(
        &mut self,
        now: Moment,
        flow: &Flow,
        request: &Message,
        tenant: TenantId,
    ) -> Placed {
        let Some(served) = self.tenants.get(&tenant) else {
            return Placed::Drop(Dropped::UnknownDomain);
        };
        let from = request.from().ok().and_then(|from| from.uri().ok());
        let user = from.map(|uri| uri.user().into_owned()).unwrap_or_default();
        let unlabelled = user.rsplit_once('*').filter(|(_, label)| {
            served.label.as_deref().is_some_and(|ours| ours.eq_ignore_ascii_case(label))
        });
        let user = unlabelled.map_or(user.as_str(), |(user, _)| user);
        let offered = served.exceptions.get(user).unwrap_or(&served.offered).clone();
        let (realm, route) = (served.realm.clone(), served.route);
        let (status, name) = challenge_of(request.method());
        let tag = self.tag(route);
        let draft = addressed(Draft::response(request, status, None), flow).to_tag(&tag);
        let nonce = self.nonces.issue(now, &mut self.chance, route);
        let draft = offered.iter().fold(draft, |draft, algorithm| {
            draft.header(name, challenge(&realm, &nonce, *algorithm, Occasion::First))
        });
        Placed::Answer(draft.finish())
    }

    fn answer_options(&mut self, flow: &Flow, request: &Message) -> Placed {
        let tag = self.tag(0);
        let draft = addressed(Draft::response(request, 200, None), flow)
            .to_tag(&tag)
            .header(Name::Allow, ALLOW)
            .header(Name::Accept, "application/sdp");
        Placed::Answer(draft.finish())
    }

    fn turn_away(&mut self, flow: &Flow, request: &Message) -> Placed {
        match (self.unknown_domain, request.method()) {
            (UnknownDomain::Drop, _) | (UnknownDomain::Refuse, Method::Ack) => {
                Placed::Drop(Dropped::UnknownDomain)
            }
            (UnknownDomain::Refuse, _) => self.refuse(flow, request, 404, 0),
        }
    }

    fn refuse(&mut self, flow: &Flow, request: &Message, status: u16, route: u64) -> Placed {
        if request.method() == Method::Ack {
            return Placed::Drop(Dropped::Stray);
        }
        let draft =
            addressed(Draft::response(request, status, None), flow).to_tag(&self.tag(route));
        let draft = match status {
            405 | 501 => draft.header(Name::Allow, ALLOW),
            503 => draft.header(Name::RetryAfter, RETRY_AFTER_S),
            _ => draft,
        };
        Placed::Answer(draft.finish())
    }

    fn tag(&self, route: u64) -> String {
        self.tokens.tag(route, NO_DIALOG).to_string()
    }

    /// Whether a host is an address of ours, as the peer reached it or as we advertise it.
    fn is_ours(&self, flow: &Flow, host: &str) -> bool {
        let Flow::Net(path) = flow else { return false };
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
        ip.is_ok_and(|ip| ip == path.local.ip() || self.advertised.external.contains(&ip))
    }
}

/// The status and header of a challenge: a registrar's own, or that of who stands between.
pub fn challenge_of(method: Method<'_>) -> (u16, Name) {
    match method {
        Method::Register => (401, Name::WwwAuthenticate),
        _ => (407, Name::ProxyAuthenticate),
    }
}

/// Whether a request brings a password, right or wrong.
pub fn has_credentials(request: &Message) -> bool {
    request.first(Name::Authorization).is_some()
        || request.first(Name::ProxyAuthorization).is_some()
}

fn addressed(draft: Draft, flow: &Flow) -> Draft {
    match flow.peer() {
        Some(peer) => draft.received(peer),
        None => draft,
    }
}
