//! Reading how a phone proves its password, in every dialect that phones speak, and checking it.
//!
//! RFC 7616 §3.4, and the older forms of RFC 2617 and RFC 2069. Spacing, quotes and case are read
//! leniently. The `uri` is hashed as it was sent, because proxies rewrite the one in the first line.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;

use super::digest::{Algorithm, Hashed};

/// What an Authorization or Proxy-Authorization field says.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials<'a> {
    username: Cow<'a, str>,
    realm: Cow<'a, str>,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    algorithm: Algorithm,
    session: Session,
    counted: Option<Counted<'a>>,
}

/// Whether the nonces are hashed into the first half (`MD5-sess`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    No,
    Yes,
}

/// The `qop` and `nc` of RFC 2617 and later, as they were hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted<'a> {
    qop: &'a str,
    nc: &'a str,
    count: u32,
}

/// Why a field cannot be used. The answer is a new challenge: no password has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is no digest.
    OtherScheme,
    /// Something is missing or cannot be read.
    Incomplete,
    /// We do not know the algorithm.
    OtherAlgorithm,
    /// It protects the body too (`auth-int`), for which we did not ask.
    OtherProtection,
}

/// Whether a password was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It was.
    Right,
    /// It was not.
    Wrong,
}

/// The credentials for `realm` among all fields of a message, by the first of the `offered`
/// algorithms that any of them uses.
pub fn choose<'a>(
    fields: impl Iterator<Item = &'a str>,
    realm: &str,
    offered: &[Algorithm],
) -> Option<Credentials<'a>> {
    fields
        .filter_map(|field| Credentials::parse(field).ok())
        .filter(|credentials| credentials.realm.eq_ignore_ascii_case(realm))
        .filter_map(|credentials| {
            let rank = offered.iter().position(|offer| *offer == credentials.algorithm)?;
            Some((rank, credentials))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, credentials)| credentials)
}

impl<'a> Credentials<'a> {
    /// Reads a field's value.
    pub fn parse(field: &'a str) -> Result<Self, Unusable> {
        let (scheme, list) = field.trim().split_once([' ', '\t']).ok_or(Unusable::OtherScheme)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(Unusable::OtherScheme);
        }
        let said = Said::read(list)?;
        let (algorithm, session) = match said.algorithm {
            None => (Algorithm::Md5, Session::No),
            Some(name) => algorithm_named(name).ok_or(Unusable::OtherAlgorithm)?,
        };
        let counted = match said.qop {
            Some(qop) if !qop.is_empty() => Some(Counted::read(qop, said.nc)?),
            Some(_) | None => None,
        };
        let cnonce = said.cnonce.unwrap_or_default();
        if cnonce.is_empty() && (counted.is_some() || session == Session::Yes) {
            return Err(Unusable::Incomplete);
        }
        Ok(Self {
            username: unescaped(said.username.ok_or(Unusable::Incomplete)?),
            realm: unescaped(said.realm.ok_or(Unusable::Incomplete)?),
            nonce: said.nonce.ok_or(Unusable::Incomplete)?,
            uri: said.uri.ok_or(Unusable::Incomplete)?,
            response: said.response.ok_or(Unusable::Incomplete)?,
            cnonce,
            algorithm,
            session,
            counted,
        })
    }

    /// The user name, as it came.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The user name's two halves, if it is of the form `user@domain`.
    pub fn user_and_domain(&self) -> Option<(&str, &str)> {
        self.username.rsplit_once('@')
    }

    /// Whose password it is.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The nonce that was answered.
    pub fn nonce(&self) -> &str {
        self.nonce
    }

    /// How often the phone has used the nonce, this time included; `None` in the form of RFC 2069,
    /// which does not count.
    pub fn count(&self) -> Option<u32> {
        self.counted.map(|counted| counted.count)
    }

    /// By which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The proof itself, as it came: the same one again is a repeat, not a new guess.
    pub fn response(&self) -> &str {
        self.response
    }

    /// Whether they prove the password behind `secret`, for a request with this method.
    pub fn verify(&self, method: &str, secret: &Hashed) -> Proof {
        if secret.algorithm() != self.algorithm {
            return Proof::Wrong;
        }
        let (nonce, cnonce) = (self.nonce.as_bytes(), self.cnonce.as_bytes());
        let hash = |parts: &[&[u8]]| Hashed::of(self.algorithm, parts).hex();
        let first = match self.session {
            Session::No => secret.hex(),
            Session::Yes => hash(&[secret.hex().as_bytes(), nonce, cnonce]),
        };
        let second = hash(&[method.as_bytes(), self.uri.as_bytes()]);
        let expected = match self.counted {
            Some(Counted { qop, nc, .. }) => hash(&[
                first.as_bytes(),
                nonce,
                nc.as_bytes(),
                cnonce,
                qop.as_bytes(),
                second.as_bytes(),
            ]),
            None => hash(&[first.as_bytes(), nonce, second.as_bytes()]),
        };
        match same(self.response.as_bytes(), expected.as_bytes()) {
            true => Proof::Right,
            false => Proof::Wrong,
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl<'a> Counted<'a> {
    fn read(qop: &'a str, nc: Option<&'a str>) -> Result<Self, Unusable> {
        if !qop.eq_ignore_ascii_case("auth") {
            return Err(Unusable::OtherProtection);
        }
        let nc = nc.ok_or(Unusable::Incomplete)?;
        if nc.is_empty() || !nc.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Unusable::Incomplete);
        }
        let count = u32::from_str_radix(nc, 16).map_err(|_| Unusable::Incomplete)?;
        Ok(Self { qop, nc, count })
    }
}

/// The parameters that matter, as they were written between their quotes.
#[derive(Default)]
struct Said<'a> {
    username: Option<&'a str>,
    realm: Option<&'a str>,
    nonce: Option<&'a str>,
    uri: Option<&'a str>,
    response: Option<&'a str>,
    algorithm: Option<&'a str>,
    cnonce: Option<&'a str>,
    qop: Option<&'a str>,
    nc: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn read(mut list: &'a str) -> Result<Self, Unusable> {
        let mut said = Self::default();
        loop {
            list = list.trim_start_matches([' ', '\t', '\r', '\n', ',', ';']);
            if list.is_empty() {
                return Ok(said);
            }
            let (name, rest) = list.split_once('=').ok_or(Unusable::Incomplete)?;
            let (value, rest) = value(rest.trim_start()).ok_or(Unusable::Incomplete)?;
            if let Some(place) = said.place(name.trim_end()) {
                place.get_or_insert(value);
            }
            list = rest;
        }
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        let places = [
            ("username", &mut self.username),
            ("realm", &mut self.realm),
            ("nonce", &mut self.nonce),
            ("uri", &mut self.uri),
            ("response", &mut self.response),
            ("algorithm", &mut self.algorithm),
            ("cnonce", &mut self.cnonce),
            ("qop", &mut self.qop),
            ("nc", &mut self.nc),
        ];
        places
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map(|(_, place)| place)
    }
}

/// A value, without its quotes, and what follows it.
fn value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(',').unwrap_or((text, ""));
        return Some((value.trim_end(), rest));
    };
    let mut escaped = false;
    for (at, letter) in quoted.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((quoted.get(..at)?, quoted.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            _ => plain.push(letter),
        }
    }
    Cow::Owned(plain)
}

fn algorithm_named(name: &str) -> Option<(Algorithm, Session)> {
    let known = [
        ("MD5", Algorithm::Md5, Session::No),
        ("MD5-sess", Algorithm::Md5, Session::Yes),
        ("SHA-256", Algorithm::Sha256, Session::No),
        ("SHA-256-sess", Algorithm::Sha256, Session::Yes),
    ];
    let (_, algorithm, session) =
        known.into_iter().find(|(text, ..)| name.eq_ignore_ascii_case(text))?;
    Some((algorithm, session))
}

/// Compares in a time that does not depend on where the two differ.
fn same(sent: &[u8], expected: &[u8]) -> bool {
    let differing = sent
        .iter()
        .zip(expected)
        .fold(0, |bits, (left, right)| bits | (left.to_ascii_lowercase() ^ right));
    sent.len() == expected.len() && black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    const MUFASA: &str = concat!(
        r#"Digest username="Mufasa", realm="testrealm@host.com", "#,
        r#"nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, "#,
        r#"nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", "#,
        r#"opaque="5ccc069c403ebaf9f0171e9517f40e41""#
    );

    #[test]
    fn the_example_of_rfc_2617_is_right() {
        let secret =
            Hashed::password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        let credentials = Credentials::parse(MUFASA).unwrap();
        assert_eq!(credentials.verify("GET", &secret), Proof::Right);
        assert_eq!(credentials.verify("PUT", &secret), Proof::Wrong);
        let other =
            Hashed::password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle of Life");
        assert_eq!(credentials.verify("GET", &other), Proof::Wrong);
    }

    #[test]
    fn the_examples_of_rfc_7616_are_right() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let field = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                 uri=\"/dir/index.html\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
                 response=\"{response}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let credentials = Credentials::parse(&field).unwrap();
            let secret = Hashed::password(
                credentials.algorithm(),
                "Mufasa",
                "http-auth@example.org",
                "Circle of Life",
            );
            assert_eq!(credentials.verify("GET", &secret), Proof::Right, "{algorithm}");
        }
    }

    #[test]
    fn the_example_of_rfc_2069_as_corrected_is_right() {
        let field = concat!(
            r#"Digest username="Mufasa", realm="testrealm@host.com", "#,
            r#"nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", "#,
            r#"response="1949323746fe6a43ef61f9606e7febea""#
        );
        let secret =
            Hashed::password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "CircleOfLife");
        let credentials = Credentials::parse(field).unwrap();
        assert_eq!(credentials.verify("GET", &secret), Proof::Right);
        assert_eq!(credentials.count(), None);
    }

    /// A REGISTER of 101 to acme.test; each `rest` and its response come from another program.
    fn registers(rest: &str) -> Proof {
        let field = format!(
            "Digest username=\"101\", realm=\"acme.test\", nonce=\"abc123\", \
             uri=\"sip:acme.test\", {rest}"
        );
        let credentials = Credentials::parse(&field).unwrap();
        let secret = Hashed::password(credentials.algorithm(), "101", "acme.test", "s3cret:x");
        credentials.verify("REGISTER", &secret)
    }

    #[test]
    fn every_dialect_is_understood() {
        let long = "26cb903c21fcc043567b2dfbcf668f53fe5e0cce85fc2b6379fee7c83c48b9c7";
        let session = "aea753c8cacb191fee81e41ca2accaf4ed59e5d46292bb530cde810fb1346eaf";
        for rest in [
            r#"response="6caa6139ae52c400924f1d56d509182b",qop=auth,nc=00000001,cnonce="0a4f113b""#,
            r#"response=6caa6139ae52c400924f1d56d509182b,qop="auth",nc="00000001",cnonce=0a4f113b"#,
            r#"Response = "6CAA6139AE52C400924F1D56D509182B" , QOP=auth ,, NC = 00000001,
               cnonce="0a4f113b", algorithm="md5","#,
            r#"response="105bf0dc9dabb849644074656d17c2bd",qop=AUTH,nc=A,cnonce="0a4f113b""#,
            r#"response="1333addd26500f6738395f6c6320a1f5", algorithm=MD5"#,
            r#"response="1333addd26500f6738395f6c6320a1f5", qop="""#,
            r#"response="5f6071e7e03cf1142f921fa8605223fb",qop=auth,nc=00000001,cnonce="0a4f113b",
               algorithm=MD5-sess"#,
            r#"response="b7748656c2649aa109dd373be848e193",cnonce="0a4f113b",algorithm="MD5-SESS""#,
            &format!(
                r#"response="{long}",qop=auth,nc=00000001,cnonce="0a4f113b",algorithm=sha-256"#
            ),
            &format!(
                r#"response="{session}",qop=auth,nc=00000001,cnonce="0a4f113b",
                   algorithm=SHA-256-sess"#
            ),
        ] {
            assert_eq!(registers(rest), Proof::Right, "{rest}");
        }
    }

    #[test]
    fn a_piece_of_the_proof_proves_nothing() {
        let whole = "6caa6139ae52c400924f1d56d509182b";
        let rest = r#"qop=auth,nc=00000001,cnonce="0a4f113b""#;
        for piece in ["", "6c", &whole[..31], &format!("{whole}0")] {
            assert_eq!(registers(&format!("response=\"{piece}\",{rest}")), Proof::Wrong);
        }
    }

    #[test]
    fn a_user_name_may_carry_its_domain() {
        let field = r#"Digest username="101@acme.test",realm="acme.test",nonce="abc123",
            uri="sip:acme.test",response="960f653d0d7b5e1f9024c14d51eb495c",qop=auth,nc=00000001,
            cnonce="0a4f113b""#;
        let credentials = Credentials::parse(field).unwrap();
        assert_eq!(credentials.user_and_domain(), Some(("101", "acme.test")));
        let secret =
            Hashed::password(Algorithm::Md5, credentials.username(), "acme.test", "s3cret:x");
        assert_eq!(credentials.verify("REGISTER", &secret), Proof::Right);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let with = |rest: &str| {
            let field = format!("Digest username=u,realm=r,nonce=n,uri=u,response=r{rest}");
            Credentials::parse(&field).map(|credentials| credentials.count())
        };
        assert_eq!(with(",qop=auth,nc=ffffffff,cnonce=c"), Ok(Some(u32::MAX)));
        assert_eq!(with(",qop=auth-int,nc=1,cnonce=c"), Err(Unusable::OtherProtection));
        assert_eq!(with(",algorithm=SHA-512-256"), Err(Unusable::OtherAlgorithm));
        for broken in [
            ",qop=auth",
            ",qop=auth,nc=1",
            ",qop=auth,nc=,cnonce=c",
            ",qop=auth,nc=+1,cnonce=c",
            ",qop=auth,nc=100000000,cnonce=c",
            ",algorithm=MD5-sess",
            ",opaque",
            ",opaque=\"x",
        ] {
            assert_eq!(with(broken), Err(Unusable::Incomplete), "{broken}");
        }
        assert_eq!(Credentials::parse("Basic QWxhZGRpbg=="), Err(Unusable::OtherScheme));
        assert_eq!(Credentials::parse("Digest"), Err(Unusable::OtherScheme));
        assert_eq!(Credentials::parse("Digest username=u"), Err(Unusable::Incomplete));
    }

    #[test]
    fn of_several_fields_the_one_for_our_realm_and_best_algorithm_is_chosen() {
        let field = |realm: &str, algorithm: &str, username: &str| {
            format!(
                "Digest username={username},realm=\"{realm}\",nonce=n,uri=u,response=r,\
                 algorithm={algorithm}"
            )
        };
        let fields = [
            field("other.test", "SHA-256", "a"),
            "Basic x".to_owned(),
            field("Acme.test", "MD5", "b"),
            field("acme.test", "SHA-256", "c"),
        ];
        let chosen = |offered: &[Algorithm]| {
            choose(fields.iter().map(String::as_str), "acme.test", offered)
                .map(|credentials| credentials.username().to_owned())
        };
        assert_eq!(chosen(&[Algorithm::Sha256, Algorithm::Md5]).as_deref(), Some("c"));
        assert_eq!(chosen(&[Algorithm::Md5]).as_deref(), Some("b"));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn quotes_inside_quotes_belong_to_the_name() {
        let field = r#"Digest username="a\"b\\c, realm=x",realm=r,nonce=n,uri=u,response=r"#;
        let credentials = Credentials::parse(field).unwrap();
        assert_eq!((credentials.username(), credentials.realm()), ("a\"b\\c, realm=x", "r"));
    }

    #[test]
    fn nothing_that_is_sent_can_hurt() {
        let mut chance = Chance::from_seed([8; 32]);
        let secret =
            Hashed::password(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        for _ in 0..20_000 {
            let mut text = MUFASA.as_bytes().to_vec();
            for _ in 0..=chance.below(4) {
                let at = chance.below(text.len() as u64) as usize;
                match chance.below(3) {
                    0 => text[at] = chance.number() as u8,
                    1 => drop(text.remove(at)),
                    _ => text.insert(at, b"\",=\\ ;\xc3"[chance.below(7) as usize]),
                }
            }
            let text = String::from_utf8_lossy(&text);
            if let Ok(credentials) = Credentials::parse(&text) {
                let _ = credentials.verify("GET", &secret);
            }
        }
    }

    #[test]
    fn no_proof_is_shown() {
        let shown = format!("{:?}", Credentials::parse(MUFASA).unwrap());
        assert!(!shown.contains("6629fae4") && !shown.contains("0a4f113b"), "{shown}");
    }
}
