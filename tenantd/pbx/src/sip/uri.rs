//! An address: who, where, and by which means; `sip:101@acme.example;transport=tcp`.
//!
//! RFC 3261 §19.1 (sip, sips), RFC 3966 (tel). Other schemes are kept as they are.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use super::escape::{Case, decoded, same};
use super::flaw::Flaw;
use super::host::{host_and_port, ip, same_host};
use super::letters::{Letters, only};

/// An address, as spans of the text it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// All of it, as it came.
    pub text: &'a str,
    /// What kind of address it is.
    pub scheme: Scheme<'a>,
    /// Who, as written; of a `tel:` the number. See [`Uri::user`].
    pub user: Option<&'a str>,
    /// A password, which nobody should send.
    pub password: Option<&'a str>,
    /// Where, brackets included; empty for `tel:` and unknown schemes.
    pub host: &'a str,
    /// The port, if one is named.
    pub port: Option<u16>,
    /// Parameters as written, without the first semicolon.
    pub params: &'a str,
    /// Header fields as written, without the question mark.
    pub headers: &'a str,
}

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// RFC 3261.
    Sip,
    /// RFC 3261, RFC 5630: encrypted on each hop.
    Sips,
    /// RFC 3966: a telephone number.
    Tel,
    /// Any other; nothing behind it was read.
    Other(&'a str),
}

impl<'a> Uri<'a> {
    /// Reads an address.
    pub fn parse(text: &'a str) -> Result<Self, Flaw> {
        Self::read(text).map_err(|what| Flaw::wrong("URI", what))
    }

    fn read(text: &'a str) -> Result<Self, &'static str> {
        if !only(Letters::Address, text.as_bytes()) {
            return Err(match text.contains([' ', '\t']) {
                true => "space in an address",
                false => "a letter that no address may have",
            });
        }
        let (scheme, rest) = text.split_once(':').ok_or("no scheme")?;
        match Scheme::of(scheme).ok_or("no scheme")? {
            scheme @ (Scheme::Sip | Scheme::Sips) => Self::read_sip(text, scheme, rest),
            Scheme::Tel => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                if number.is_empty() {
                    return Err("no number");
                }
                Ok(Self { user: Some(number), params, ..Self::bare(text, Scheme::Tel) })
            }
            scheme @ Scheme::Other(_) => Ok(Self::bare(text, scheme)),
        }
    }

    /// The first `@` ends the user: neither a host nor, by the grammar, anything before it has one.
    fn read_sip(text: &'a str, scheme: Scheme<'a>, rest: &'a str) -> Result<Self, &'static str> {
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').ok_or(info)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        if user == Some("") {
            return Err("nobody before the '@'");
        }
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(place)?;
        Ok(Self { user, password, host, port, params, headers, ..Self::bare(text, scheme) })
    }

    fn bare(text: &'a str, scheme: Scheme<'a>) -> Self {
        Self {
            text,
            scheme,
            user: None,
            password: None,
            host: "",
            port: None,
            params: "",
            headers: "",
        }
    }

    /// Who, with escapes read; empty if nobody.
    pub fn user(&self) -> Cow<'a, str> {
        self.user.map_or(Cow::Borrowed(""), decoded)
    }

    /// The host's address, if it is no name.
    pub fn ip(&self) -> Option<IpAddr> {
        ip(self.host)
    }

    /// Each parameter's name and value as written; a flag has no value.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + Clone + use<'a> {
        let params = self.params.split(';').filter(|param| !param.is_empty());
        params.map(|param| match param.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (param, None),
        })
    }

    /// A parameter's value as written; a flag's is empty.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params()
            .find(|(found, _)| same(found, name, Case::Ignored))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// Each header field that a request to this address shall have, as written.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        let headers = self.headers.split('&').filter(|header| !header.is_empty());
        headers.map(|header| header.split_once('=').unwrap_or((header, "")))
    }

    /// Whether two addresses mean the same (RFC 3261 §19.1.4, RFC 3966 §4).
    pub fn same_as(&self, other: &Uri<'_>) -> bool {
        if self.text == other.text {
            return true; // also where a parameter stands twice, of which the RFC says nothing
        }
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => self.same_sip(other),
            (Scheme::Tel, Scheme::Tel) => self.same_tel(other),
            (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other(_), _) => false,
        }
    }

    fn same_sip(&self, other: &Uri<'_>) -> bool {
        let text = |a: Option<&str>, b: Option<&str>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => same(a, b, Case::Matters),
            (Some(_) | None, _) => false,
        };
        text(self.user, other.user)
            && text(self.password, other.password)
            && same_host(self.host, other.host)
            && self.port == other.port
            && self.agrees_with(other)
            && other.agrees_with(self)
            && self.headers().count() == other.headers().count()
            && self.headers().all(|(name, value)| {
                other.headers().any(|(other_name, other_value)| {
                    same(name, other_name, Case::Ignored) && same(value, other_value, Case::Matters)
                })
            })
    }

    /// Whether each of our parameters is equal there, or is one that may be missing.
    fn agrees_with(&self, other: &Uri<'_>) -> bool {
        const NEVER_MISSING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        self.params().all(|(name, value)| match other.param(name) {
            Some(theirs) => same(value.unwrap_or_default(), theirs, Case::Ignored),
            None => !NEVER_MISSING.iter().any(|fixed| fixed.eq_ignore_ascii_case(name)),
        })
    }

    /// Visual separators mean nothing; parameters are compared whole, in any order.
    fn same_tel(&self, other: &Uri<'_>) -> bool {
        let digits = |uri: &Uri<'_>| {
            let number = uri.user.unwrap_or_default().chars();
            number
                .filter(|c| !"-.()".contains(*c))
                .map(|c| c.to_ascii_lowercase())
                .collect::<String>()
        };
        let within = |a: &Uri<'_>, b: &Uri<'_>| {
            a.params().all(|(name, value)| {
                b.params().any(|(other_name, other_value)| {
                    name.eq_ignore_ascii_case(other_name)
                        && value
                            .unwrap_or_default()
                            .eq_ignore_ascii_case(other_value.unwrap_or_default())
                })
            })
        };
        digits(self) == digits(other) && within(self, other) && within(other, self)
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<'a> Scheme<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let known = [("sip", Self::Sip), ("sips", Self::Sips), ("tel", Self::Tel)];
        if let Some((_, scheme)) = known.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            return Some(*scheme);
        }
        let mut bytes = text.bytes();
        let begins = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        (begins && goes_on).then_some(Self::Other(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).unwrap_or_else(|flaw| panic!("{text}: {flaw}"))
    }

    #[test]
    fn reads_each_part() {
        let all =
            uri("sips:alice:secret@example.com:5061;transport=tcp;lr?Subject=x&Priority=urgent");
        assert_eq!(all.scheme, Scheme::Sips);
        assert_eq!((all.user, all.password), (Some("alice"), Some("secret")));
        assert_eq!((all.host, all.port), ("example.com", Some(5061)));
        assert_eq!((all.param("TRANSPORT"), all.param("lr")), (Some("tcp"), Some("")));
        assert_eq!(all.param("ttl"), None);
        let headers: Vec<_> = all.headers().collect();
        assert_eq!(headers, [("Subject", "x"), ("Priority", "urgent")]);
        assert_eq!(uri("SIP:example.com").user, None);
    }

    #[test]
    fn the_user_may_hold_what_elsewhere_would_cut() {
        let semicolon = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!(semicolon.user(), "user;par=u@example.net");
        assert_eq!(semicolon.host, "example.com");
        let slashes = uri("sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com");
        assert_eq!(slashes.user, Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
        assert_eq!(uri("sip:*72#@pbx.test").user(), "*72#");
    }

    #[test]
    fn telephone_numbers_and_strange_schemes() {
        let tel = uri("tel:+43-1-234;phone-context=example.com");
        assert_eq!((tel.scheme, tel.user), (Scheme::Tel, Some("+43-1-234")));
        assert_eq!(tel.param("phone-context"), Some("example.com"));
        assert_eq!(uri("isbn:2983792873").scheme, Scheme::Other("isbn"));
        assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other("soap.beep"));
    }

    #[test]
    fn ipv6_hosts_keep_their_brackets() {
        let with_port = uri("sip:user@[2001:db8::10]:5070");
        assert_eq!((with_port.host, with_port.port), ("[2001:db8::10]", Some(5070)));
        assert_eq!(with_port.ip(), Some("2001:db8::10".parse().unwrap()));
        assert!(Uri::parse("sip:2001:db8::10").is_err());
        assert!(Uri::parse("sip:user@2001:db8::10").is_err());
    }

    #[test]
    fn refuses_what_is_no_address() {
        let bad = [
            "",
            "example.com",
            ":x",
            "1sip:x",
            "sip:",
            "sip:@example.com",
            "sip::pw@example.com",
            "sip:alice@evil@good",
            "sip:a b@example.com",
            "<sip:user@example.com>",
            "sip:user@example.com:",
            "sip:user@example.com:99999",
            "sip:user@exa\u{0}mple.com",
            "tel:",
            "tel:;x=y",
        ];
        for text in bad {
            assert!(Uri::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_that_mean_the_same() {
        let pairs = [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
            ("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2"),
            ("urn:service:sos", "urn:service:sos"),
        ];
        for (a, b) in pairs {
            assert!(uri(a).same_as(&uri(b)) && uri(b).same_as(&uri(a)), "{a} {b}");
        }
    }

    #[test]
    fn addresses_that_do_not() {
        let pairs = [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
            ("tel:911", "tel:911;phone-context=+1"),
            ("urn:service:sos", "urn:service:SOS"),
        ];
        for (a, b) in pairs {
            assert!(!uri(a).same_as(&uri(b)) && !uri(b).same_as(&uri(a)), "{a} {b}");
        }
    }
}
