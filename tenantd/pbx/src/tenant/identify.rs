//! Who speaks: an extension that proves its password, or another company on this system.
//!
//! RFC 3261 §22 with RFC 7616 and RFC 8760. Names are no secret-keepers: whether a user exists is not
//! told, so an unknown one is challenged and refused exactly like a wrong password. What is told to
//! the one who knows the password: whether the From is his (403).

use std::time::Duration;

use smallvec::SmallVec;

use super::directory::{Algorithm, Directory, User, Written};
use super::guard::{Guard, Verdict};
use super::name::{Host, before_label, is_address_of, is_ours, user_in};
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
    Wrong { username: &'c str, nonce: &'c str },
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
                self.check_names(user, Host::needed_from(self.directory, source), request)?;
                Ok(Speaker::User(user.id))
            }
            Checked::Missing => {
                Err(Refusal::NeedsPassword(self.challenge(now, asked_by, offered, Occasion::First)))
            }
            Checked::Stale => {
                Err(Refusal::NeedsPassword(self.challenge(now, asked_by, offered, Occasion::Stale)))
            }
            // With the nonce that it answered: some phones (baresip) see a refusal only by that, and
            // answer every new nonce with the same wrong password for ever.
            Checked::Wrong { username, nonce } => Err(Refusal::WrongPassword {
                username: username.chars().take(LONGEST_TOLD).collect(),
                verdict: self.guard.fail(now, source, username),
                challenge: self.challenge_with(nonce, asked_by, offered, Occasion::First),
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
                Checked::Wrong { username: credentials.username(), nonce: credentials.nonce() }
            }
        }
    }

    /// From, and for a REGISTER also To, name the user: nobody speaks or registers for another.
    fn check_names(&self, user: &User, host: Host, request: &Message) -> Result<(), Refusal> {
        let is_his =
            |address: Result<_, Flaw>| is_address_of(self.directory, user, &address?, host);
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
        self.challenge_with(&nonce, asked_by, offered, occasion)
    }

    fn challenge_with(
        &self,
        nonce: &str,
        asked_by: Asker,
        offered: &[Algorithm],
        occasion: Occasion,
    ) -> Challenge {
        let value =
            |algorithm: &Algorithm| challenge(&self.directory.domain, nonce, *algorithm, occasion);
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
        Some(_) | None => match before_label(directory, credentials.username()) {
            Some(name) => (user(name), Written::WithLabel),
            None => (None, Written::Alone),
        },
    }
}

/// Whether the password is right; for nobody it takes as long.
fn proof(
    user: Option<&User>,
    written: Written,
    method: Method<'_>,
    credentials: &Credentials<'_>,
) -> Proof {
    // Of those who write their domain or label, some hash it and some do not.
    let ways: &[Written] = match written {
        Written::Alone => &[Written::Alone],
        Written::WithDomain => &[Written::WithDomain, Written::Alone],
        Written::WithLabel => &[Written::WithLabel, Written::Alone],
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::flow::{InnerPath, Path};
    use crate::id::NodeId;
    use crate::sip::digest::{md5, sha256};
    use crate::sip::nonce::NonceKey;
    use crate::tenant::guard;
    use crate::tenant::sample::{directory, password, tenant, user};

    const HOUR: Duration = Duration::from_secs(3_600);

    /// A tenant with its door.
    struct World {
        directory: Directory,
        nonces: Nonces,
        guard: Guard,
        chance: Chance,
        now: Moment,
    }

    /// Who a phone says it is, and how it proves that.
    #[derive(Clone, Copy)]
    struct Phone<'a> {
        username: &'a str,
        password: &'a str,
        algorithm: Algorithm,
        from: &'a str,
        to: &'a str,
    }

    const ADA: Phone<'_> = Phone {
        username: "101",
        password: "secret of 101",
        algorithm: Algorithm::Md5,
        from: "<sip:101@acme.test>",
        to: "<sip:101@acme.test>",
    };

    impl World {
        fn new() -> Self {
            let mut chance = Chance::from_seed([3; 32]);
            Self {
                directory: directory(),
                nonces: Nonces::new(NonceKey::new([1; 16], 1), HOUR, 100),
                guard: Guard::new(&mut chance, guard::LIMIT),
                chance,
                now: Moment::from_secs(1_000),
            }
        }

        fn identify(&mut self, request: &Message) -> Result<Speaker, Refusal> {
            self.identify_over(&Flow::Net(path()), request)
        }

        fn identify_over(&mut self, flow: &Flow, request: &Message) -> Result<Speaker, Refusal> {
            let Self { directory, nonces, guard, chance, now } = self;
            Door { directory, nonces, guard, chance }.identify(*now, flow, request)
        }

        /// The first request of a phone, and the challenge it meets.
        fn asked(&mut self, method: &str, phone: Phone<'_>) -> Challenge {
            match self.identify(&request(method, phone, "")) {
                Err(Refusal::NeedsPassword(challenge)) => challenge,
                other => panic!("no challenge: {other:?}"),
            }
        }

        /// What a phone meets that answers its challenge.
        fn tries(&mut self, method: &str, phone: Phone<'_>) -> Result<Speaker, Refusal> {
            let challenge = self.asked(method, phone);
            self.identify(&request(method, phone, &proved(method, phone, nonce(&challenge), 1)))
        }
    }

    fn path() -> Path {
        let (local, peer) = ("192.0.2.1:5060", "198.51.100.1:40001");
        Path::udp(NodeId(1), local.parse().unwrap(), peer.parse().unwrap())
    }

    fn request(method: &str, phone: Phone<'_>, authorization: &str) -> Message {
        let Phone { from, to, .. } = phone;
        let text = format!(
            "{method} sip:acme.test SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa\r\n\
             From: {from};tag=1\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\
             {authorization}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn nonce(challenge: &Challenge) -> &str {
        let value = challenge.values().next().unwrap();
        value.split_once("nonce=\"").unwrap().1.split_once('"').unwrap().0
    }

    /// The header row with which a phone answers.
    fn proved(method: &str, phone: Phone<'_>, nonce: &str, count: u32) -> String {
        let Phone { username, password, algorithm, .. } = phone;
        let hash = |parts: &[&str]| match algorithm {
            Algorithm::Md5 => hex(&md5(parts)),
            Algorithm::Sha256 => hex(&sha256(parts)),
        };
        let nc = format!("{count:08x}");
        let secret = hash(&[username, "acme.test", password]);
        let target = hash(&[method, "sip:acme.test"]);
        let response = hash(&[&secret, nonce, &nc, "cn", "auth", &target]);
        let header = if method == "REGISTER" { "Authorization" } else { "Proxy-Authorization" };
        format!(
            "{header}: Digest username=\"{username}\", realm=\"acme.test\", nonce=\"{nonce}\", \
             uri=\"sip:acme.test\", response=\"{response}\", algorithm={}, qop=auth, nc={nc}, \
             cnonce=\"cn\"\r\n",
            algorithm.as_str()
        )
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_wrong(result: &Result<Speaker, Refusal>) -> bool {
        matches!(result, Err(Refusal::WrongPassword { .. }))
    }

    #[test]
    fn who_proves_his_password_is_believed() {
        let mut world = World::new();
        for method in ["REGISTER", "INVITE", "REFER", "SUBSCRIBE", "MESSAGE", "PUBLISH"] {
            assert_eq!(world.tries(method, ADA), Ok(Speaker::User(user(101))), "{method}");
        }
    }

    #[test]
    fn a_registrar_asks_with_401_and_the_others_with_407() {
        let mut world = World::new();
        let register = world.asked("REGISTER", ADA);
        assert_eq!((register.status(), register.header()), (401, Name::WwwAuthenticate));
        let invite = world.asked("INVITE", ADA);
        assert_eq!((invite.status(), invite.header()), (407, Name::ProxyAuthenticate));
        assert!(register.values().all(|value| !value.contains("stale")));

        let asked = request("INVITE", ADA, "");
        let bytes = Refusal::NeedsPassword(invite).answer(&asked).finish();
        let answer = Message::parse(bytes).unwrap();
        assert_eq!(answer.status(), Some(407));
        assert!(answer.first(Name::ProxyAuthenticate).unwrap().starts_with("Digest realm=\"acme"));
    }

    #[test]
    fn credentials_in_the_other_header_are_read_too() {
        let mut world = World::new();
        let challenge = world.asked("INVITE", ADA);
        let row = proved("INVITE", ADA, nonce(&challenge), 1).replace("Proxy-", "");
        assert!(world.identify(&request("INVITE", ADA, &row)).is_ok());
    }

    #[test]
    fn a_user_name_of_its_own_for_authentication_is_used() {
        let mut world = World::new();
        let address = "<sip:103@acme.test>";
        let phone = Phone {
            username: "auth103",
            password: "secret of 103",
            from: address,
            to: address,
            ..ADA
        };
        assert_eq!(world.tries("REGISTER", phone), Ok(Speaker::User(user(103))));
        let by_number = Phone { username: "103", ..phone };
        assert!(is_wrong(&world.tries("REGISTER", by_number)));
    }

    #[test]
    fn a_user_name_may_be_written_with_the_domain() {
        let mut world = World::new();
        let phone = Phone { username: "101@acme.test", ..ADA };
        assert_eq!(world.tries("REGISTER", phone), Ok(Speaker::User(user(101))));
        let foreign = Phone { username: "101@beta.test", ..ADA };
        assert!(is_wrong(&world.tries("REGISTER", foreign)));
    }

    #[test]
    fn a_user_name_with_a_domain_that_the_phone_did_not_hash_is_right_too() {
        let mut world = World::new();
        let challenge = world.asked("REGISTER", ADA);
        let written = |domain, count| {
            let row = proved("REGISTER", ADA, nonce(&challenge), count);
            let username = format!("username=\"101@{domain}\"");
            request("REGISTER", ADA, &row.replace("username=\"101\"", &username))
        };
        assert!(world.identify(&written("ACME.example", 1)).is_ok());
        assert!(is_wrong(&world.identify(&written("beta.test", 2))));
    }

    #[test]
    fn a_phone_without_a_domain_writes_the_label() {
        let mut world = World::new();
        let address = "<sip:101*acme@203.0.113.9>";
        let plain = Phone { from: address, to: address, ..ADA };
        assert_eq!(world.tries("REGISTER", plain), Ok(Speaker::User(user(101))));
        assert_eq!(world.tries("INVITE", plain), Ok(Speaker::User(user(101))));
        for username in ["101*acme", "101*beta"] {
            let phone = Phone { username, ..plain };
            let is_ours = username == "101*acme";
            assert_eq!(world.tries("REGISTER", phone).is_ok(), is_ours, "{username}");
        }
        let guess = Phone { username: "101*acme", password: "guess", ..plain };
        assert!(is_wrong(&world.tries("REGISTER", guess)));
        let others = Phone { from: "<sip:101*beta@203.0.113.9>", ..plain };
        assert_eq!(world.tries("INVITE", others), Err(Refusal::NotHis));
    }

    #[test]
    fn a_phone_in_a_trusted_network_needs_no_domain_but_its_password() {
        let mut world = World::new();
        let address = "<sip:101@203.0.113.9>";
        let phone = Phone { from: address, to: address, ..ADA };
        assert_eq!(world.tries("REGISTER", phone), Err(Refusal::NotHis));
        world.directory.trusted = vec![("198.51.100.0".parse().unwrap(), 24)];
        assert_eq!(world.tries("REGISTER", phone), Ok(Speaker::User(user(101))));
        assert!(is_wrong(&world.tries("REGISTER", Phone { password: "guess", ..phone })));
        let other = Phone { from: "<sip:102@203.0.113.9>", ..phone };
        assert_eq!(world.tries("INVITE", other), Err(Refusal::NotHis));
    }

    #[test]
    fn a_wrong_password_is_asked_for_again_told_and_slowed_down() {
        let mut world = World::new();
        let phone = Phone { password: "guess", ..ADA };
        for _ in 0..5 {
            let Err(refusal) = world.tries("REGISTER", phone) else { panic!("believed") };
            assert_eq!((refusal.status(), refusal.delay()), (401, Duration::ZERO));
        }
        let Err(refusal) = world.tries("REGISTER", phone) else { panic!("believed") };
        assert_eq!(refusal.delay(), Duration::from_secs(1));
        let Refusal::WrongPassword { username, verdict, challenge } = refusal else {
            panic!("no wrong password")
        };
        assert_eq!((username.as_str(), world.guard.failures()), ("101", 6));
        assert_eq!(verdict, Verdict::BeginSlowing(Duration::from_secs(1)));
        assert!(!challenge.values().any(|value| value.contains("stale")));
        assert!(world.tries("REGISTER", ADA).is_ok(), "the right one is never delayed");
        let Err(refusal) = world.tries("REGISTER", phone) else { panic!("believed") };
        assert_eq!(refusal.delay(), Duration::ZERO, "and it clears the name");
    }

    #[test]
    fn a_wrong_password_is_asked_for_with_the_nonce_that_it_answered() {
        let mut world = World::new();
        let phone = Phone { password: "guess", ..ADA };
        let first = world.asked("REGISTER", phone);
        let row = proved("REGISTER", phone, nonce(&first), 1);
        match world.identify(&request("REGISTER", phone, &row)) {
            Err(Refusal::WrongPassword { challenge, .. }) => {
                assert_eq!(nonce(&challenge), nonce(&first));
            }
            other => panic!("no wrong password: {other:?}"),
        }
        // The right password may then answer it as well.
        let row = proved("REGISTER", ADA, nonce(&first), 2);
        assert!(world.identify(&request("REGISTER", ADA, &row)).is_ok());
    }

    #[test]
    fn an_unknown_user_is_met_like_a_wrong_password() {
        let mut world = World::new();
        let address = "<sip:199@acme.test>";
        let known = Phone { password: "guess", ..ADA };
        let unknown = Phone { username: "199", from: address, to: address, ..known };
        for method in ["REGISTER", "INVITE"] {
            let shape = |challenge: &Challenge| {
                let values = challenge.values();
                let texts: Vec<_> = values.map(|v| v.replace(nonce(challenge), "N")).collect();
                (challenge.status(), texts)
            };
            let (first, other) = (world.asked(method, known), world.asked(method, unknown));
            assert_eq!(shape(&first), shape(&other));
            let challenged = |result| match result {
                Err(Refusal::WrongPassword { challenge, verdict, .. }) => (challenge, verdict),
                other => panic!("{other:?}"),
            };
            let first = challenged(world.tries(method, known));
            let other = challenged(world.tries(method, unknown));
            assert_eq!(shape(&first.0), shape(&other.0));
            assert_eq!(first.1, other.1);
        }
    }

    #[test]
    fn nobody_has_a_password_not_even_the_one_made_of_zeros() {
        let mut world = World::new();
        let address = "<sip:199@acme.test>";
        let phone = Phone { username: "199", from: address, to: address, ..ADA };
        let challenge = world.asked("REGISTER", phone);
        let target = hex(&md5(&["REGISTER", "sip:acme.test"]));
        let zeros = hex(&[0; 16]);
        let nonce = nonce(&challenge);
        let response = hex(&md5(&[&zeros, nonce, "00000001", "cn", "auth", &target]));
        let row = proved("REGISTER", phone, nonce, 1);
        let (before, rest) = row.split_once("response=\"").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        let row = format!("{before}response=\"{response}\"{after}");
        assert!(is_wrong(&world.identify(&request("REGISTER", phone, &row))));
    }

    #[test]
    fn an_old_nonce_is_stale_and_no_failure_even_with_a_wrong_password() {
        let mut world = World::new();
        let wrong = Phone { password: "guess", ..ADA };
        for phone in [ADA, wrong] {
            let challenge = world.asked("REGISTER", phone);
            world.now += HOUR + Duration::from_secs(1);
            let row = proved("REGISTER", phone, nonce(&challenge), 1);
            let Err(Refusal::NeedsPassword(again)) =
                world.identify(&request("REGISTER", phone, &row))
            else {
                panic!("not asked again")
            };
            assert!(again.values().all(|value| value.contains("stale=true")));
        }
        assert_eq!(world.guard.failures(), 0);
    }

    #[test]
    fn a_nonce_of_another_tenant_is_stale() {
        let mut world = World::new();
        let challenge = world.asked("REGISTER", ADA);
        world.directory.route += 1;
        let row = proved("REGISTER", ADA, nonce(&challenge), 1);
        let answer = world.identify(&request("REGISTER", ADA, &row));
        assert!(matches!(answer, Err(Refusal::NeedsPassword(_))));
    }

    #[test]
    fn a_proof_can_be_used_once() {
        let mut world = World::new();
        let challenge = world.asked("INVITE", ADA);
        let proof =
            |count| request("INVITE", ADA, &proved("INVITE", ADA, nonce(&challenge), count));
        assert!(world.identify(&proof(1)).is_ok());
        assert!(matches!(world.identify(&proof(1)), Err(Refusal::NeedsPassword(_))));
        assert!(world.identify(&proof(2)).is_ok());
    }

    #[test]
    fn each_user_is_offered_what_is_configured_and_held_to_it() {
        let mut world = World::new();
        let ada = world.directory.users.get_mut(&user(101)).unwrap();
        ada.digest = vec![Algorithm::Sha256, Algorithm::Md5];
        let challenge = world.asked("REGISTER", ADA);
        let values: Vec<&str> = challenge.values().collect();
        assert_eq!(values.len(), 2);
        assert!(values[0].contains("algorithm=SHA-256") && values[1].contains("algorithm=MD5"));
        let sha256 = Phone { algorithm: Algorithm::Sha256, ..ADA };
        assert!(world.tries("REGISTER", sha256).is_ok());
        assert!(world.tries("REGISTER", ADA).is_ok());

        world.directory.users.get_mut(&user(101)).unwrap().digest = vec![Algorithm::Sha256];
        assert!(world.tries("REGISTER", sha256).is_ok());
        let weak = world.tries("REGISTER", ADA);
        assert!(matches!(weak, Err(Refusal::NeedsPassword(_))), "and that is no failure");
    }

    #[test]
    fn credentials_for_another_realm_or_of_another_kind_are_no_failure() {
        let mut world = World::new();
        let challenge = world.asked("REGISTER", ADA);
        let row = proved("REGISTER", ADA, nonce(&challenge), 1);
        let foreign = row.replace("realm=\"acme.test\"", "realm=\"beta.test\"");
        for row in [foreign.as_str(), "Authorization: Basic eDp5\r\n", "Authorization: Digest\r\n"]
        {
            let answer = world.identify(&request("REGISTER", ADA, row));
            assert!(matches!(answer, Err(Refusal::NeedsPassword(_))), "{row}");
        }
        assert_eq!(world.guard.failures(), 0);
        let both = format!("{foreign}{row}");
        assert!(world.identify(&request("REGISTER", ADA, &both)).is_ok());
    }

    #[test]
    fn nobody_speaks_or_registers_for_another() {
        let mut world = World::new();
        let other = "<sip:102@acme.test>";
        let lent = Phone { from: other, ..ADA };
        for (method, phone) in [
            ("INVITE", lent),
            ("REGISTER", lent),
            ("REGISTER", Phone { to: other, ..ADA }),
            ("INVITE", Phone { from: "<sip:101@beta.test>", ..ADA }),
            ("INVITE", Phone { from: "<sip:anonymous@anonymous.invalid>", ..ADA }),
        ] {
            let Err(refusal) = world.tries(method, phone) else { panic!("believed") };
            assert_eq!((refusal.status(), &refusal), (403, &Refusal::NotHis));
        }
        assert_eq!(world.guard.failures(), 0);
        assert!(world.tries("INVITE", Phone { to: other, ..ADA }).is_ok(), "he may call them");
    }

    #[test]
    fn a_from_may_be_an_alias_a_user_name_or_a_telephone_number() {
        let mut world = World::new();
        let klaus = password(102);
        for from in ["<sip:102@acme.example>", "sip:klaus.darilion@acme.test", "<tel:102>"] {
            let phone = Phone { username: "klaus.darilion", password: &klaus, from, ..ADA };
            assert_eq!(world.tries("INVITE", phone), Ok(Speaker::User(user(102))), "{from}");
        }
    }

    #[test]
    fn another_company_needs_no_password_and_is_no_user() {
        let mut world = World::new();
        let inner = Flow::Inner(InnerPath { here: tenant(1), there: tenant(2) });
        let speaker = world.identify_over(&inner, &request("INVITE", ADA, ""));
        assert_eq!(speaker, Ok(Speaker::Elsewhere(tenant(2))));
    }

    #[test]
    fn a_claimed_name_is_told_shortened() {
        let mut world = World::new();
        let name = "ä".repeat(200);
        let Err(Refusal::WrongPassword { username, .. }) =
            world.tries("REGISTER", Phone { username: &name, ..ADA })
        else {
            panic!("believed")
        };
        assert_eq!(username.chars().count(), 64);
    }
}
