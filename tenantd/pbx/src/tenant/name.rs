//! How names and numbers are compared: a name as it is, a number without its dashes.
//!
//! RFC 3261 §19.1.1 (the user part), RFC 3966 §3 and §5.1.1 (visual separators, parameters).

use std::borrow::Cow;
use std::net::IpAddr;

use super::directory::{Directory, Place, User};
use crate::flow::within;
use crate::sip::address::Address;
use crate::sip::flaw::Flaw;
use crate::sip::host::same_host;
use crate::sip::uri::{Scheme, Uri};

/// A number longer than this is a mistake or an attack; E.164 has 15 digits, feature codes add some.
const LONGEST_NUMBER: usize = 64;

/// Whether `host` is the tenant's domain or an alias of it.
pub fn is_ours(directory: &Directory, host: &str) -> bool {
    let aliases = directory.aliases.iter().map(String::as_str);
    aliases.chain([directory.domain.as_str()]).any(|domain| same_host(domain, host))
}

/// Whom an address means, without telephone parameters and without the tenant's `*LABEL`; a
/// `tel:` means its number.
pub fn name_in<'a>(directory: &Directory, uri: &Uri<'a>) -> Cow<'a, str> {
    match uri.user() {
        Cow::Borrowed(user) => Cow::Borrowed(unlabelled(directory, user).0),
        Cow::Owned(user) => Cow::Owned(unlabelled(directory, &user).0.to_owned()),
    }
}

/// Whether those behind an address must say which company they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// They must: by one of the tenant's domains, or by its label.
    Ours,
    /// Where they come from says it.
    Any,
}

impl Host {
    /// What a phone there must say.
    pub fn needed_from(directory: &Directory, source: Option<IpAddr>) -> Self {
        let trusts = |source: IpAddr| {
            let mut ranges = directory.trusted.iter();
            ranges.any(|(network, length)| within(source.to_canonical(), *network, *length))
        };
        if source.is_some_and(trusts) { Self::Any } else { Self::Ours }
    }
}

/// Whether an address is one of `user`'s: its number or user name at the tenant's domain, its
/// number or a public number of it in a `tel:`.
pub fn is_address_of(
    directory: &Directory,
    user: &User,
    address: &Address<'_>,
    host: Host,
) -> Result<bool, Flaw> {
    let uri = address.uri()?;
    let written = uri.user();
    let (name, label) = unlabelled(directory, &written);
    let is_called = |name: &str| name == user.number || Some(name) == user.username.as_deref();
    Ok(match uri.scheme {
        // Who can write no domain writes the label, and some address behind the `@`.
        Scheme::Sip | Scheme::Sips => {
            let is_here = host == Host::Any || label == Label::Ours || is_ours(directory, uri.host);
            is_here && (is_called(name) || is_called(&normalised(name)))
        }
        Scheme::Tel => {
            let number = normalised(name);
            let leads_to = directory.numbers.get(number.as_ref());
            number == user.number || leads_to.is_some_and(|to| is_called(to))
        }
        Scheme::Other(_) => false,
    })
}

/// The extension that an address names, wherever it is.
pub fn user_in<'a>(directory: &'a Directory, address: &Address<'_>) -> Option<&'a User> {
    let name = name_in(directory, &address.uri().ok()?).into_owned();
    match directory.names.get(&name).or_else(|| directory.names.get(normalised(&name).as_ref()))? {
        Place::User(user) => directory.users.get(user),
        Place::Group(_) | Place::Announcement(_) | Place::Conference(_) => None,
    }
}

/// Whether a name had the tenant's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Ours,
    None,
}

/// A name without telephone parameters and without the tenant's label.
fn unlabelled<'a>(directory: &Directory, user: &'a str) -> (&'a str, Label) {
    let name = user.split_once(';').map_or(user, |(name, _)| name);
    match (name.rsplit_once('*'), directory.label.as_deref()) {
        (Some((name, written)), Some(label)) if written.eq_ignore_ascii_case(label) => {
            (name, Label::Ours)
        }
        (Some(_) | None, _) => (name, Label::None),
    }
}

/// What stands before the tenant's label in a user name for authentication.
pub fn before_label<'a>(directory: &Directory, username: &'a str) -> Option<&'a str> {
    match unlabelled(directory, username) {
        (name, Label::Ours) => Some(name),
        (_, Label::None) => None,
    }
}

/// The digits of a number that is written for eyes, as `+43 (1) 505-641`; anything else as it is.
pub fn normalised(dialled: &str) -> Cow<'_, str> {
    if dialled.len() > LONGEST_NUMBER || !dialled.contains(is_separator) {
        return Cow::Borrowed(dialled);
    }
    // "+43 (0) 1 505641" names the trunk prefix only for those who dial within the country.
    let international = match dialled.trim_start().starts_with('+') {
        true => dialled.replacen("(0)", "", 1),
        false => dialled.to_owned(),
    };
    let number: String = international.chars().filter(|c| !is_separator(*c)).collect();
    if is_number(&number) { Cow::Owned(number) } else { Cow::Borrowed(dialled) }
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '(' | ')' | '-' | '/' | '.')
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::sample::{directory, user};

    #[test]
    fn a_number_loses_what_is_written_for_eyes() {
        let written = [
            ("+43 (1) 505641", "+431505641"),
            ("+43-1-505 64.1", "+431505641"),
            ("+43 (0)1/505641", "+431505641"),
            ("(0) 1 505641", "01505641"),
            ("101", "101"),
            ("+4312345", "+4312345"),
        ];
        for (dialled, digits) in written {
            assert_eq!(normalised(dialled), digits, "{dialled}");
        }
    }

    #[test]
    fn a_name_stays_as_it_is() {
        for name in ["klaus.darilion", "front-desk", "a/b", "", "()", "+", "+-", "*97", "1.2.x"] {
            assert_eq!(normalised(name), name);
        }
        let long = "1-".repeat(40);
        assert_eq!(normalised(&long), long);
    }

    #[test]
    fn telephone_parameters_and_our_label_are_not_part_of_a_name() {
        let acme = directory();
        for (uri, name) in [
            ("sip:+4312345;phone-context=acme.test@acme.test", "+4312345"),
            ("tel:+43-1-2345;phone-context=acme.test", "+43-1-2345"),
            ("sip:101*ACME@192.0.2.9", "101"),
            ("sip:%31%30%31*acme@192.0.2.9", "101"),
            ("sip:101*other@192.0.2.9", "101*other"),
            ("sip:*97@acme.test", "*97"),
            ("sip:klaus.darilion@acme.test", "klaus.darilion"),
            ("sip:acme.test", ""),
        ] {
            assert_eq!(name_in(&acme, &Uri::parse(uri).unwrap()), name, "{uri}");
        }
    }

    #[test]
    fn an_alias_may_be_an_address() {
        for host in ["acme.test", "ACME.Test", "acme.example", "192.0.2.1"] {
            assert!(is_ours(&directory(), host), "{host}");
        }
        for host in ["beta.test", "test", "", "192.0.2.2", "x.acme.test"] {
            assert!(!is_ours(&directory(), host), "{host}");
        }
    }

    #[test]
    fn an_extension_has_several_addresses() {
        let is_of_102 = |text: &str| {
            let acme = directory();
            let address = Address::parse(text, "From").unwrap();
            is_address_of(&acme, &acme.users[&user(102)], &address, Host::Ours).unwrap()
        };
        for text in [
            "<sip:102@acme.test>",
            "\"Klaus\" <sip:klaus.darilion@ACME.example:5070;transport=udp>;tag=1",
            "sips:%3102@192.0.2.1",
            "<sip:102*acme@203.0.113.5>",
            "<tel:102>",
            "<tel:1-0-2;phone-context=acme.test>",
        ] {
            assert!(is_of_102(text), "{text}");
        }
        for text in [
            "<sip:101@acme.test>",
            "<sip:102@beta.test>",
            "<sip:102*beta@203.0.113.5>",
            "<sip:acme.test>",
            "<sip:Klaus.Darilion@acme.test>",
            "<tel:101>",
            "<tel:klaus.darilion>",
            "<tel:+4312345>",
            "<urn:102>",
        ] {
            assert!(!is_of_102(text), "{text}");
        }
    }

    #[test]
    fn a_public_number_is_an_address_of_whom_it_rings() {
        let acme = directory();
        let address = Address::parse("<tel:+43-1-2345>", "From").unwrap();
        assert!(is_address_of(&acme, &acme.users[&user(101)], &address, Host::Ours).unwrap());
    }

    #[test]
    fn from_a_trusted_network_any_domain_is_ours_but_not_any_name() {
        let mut acme = directory();
        acme.trusted = vec![("198.51.100.0".parse().unwrap(), 24)];
        let is_his = |text: &str, source: &str| {
            let address = Address::parse(text, "From").unwrap();
            let host = Host::needed_from(&acme, source.parse().ok());
            is_address_of(&acme, &acme.users[&user(101)], &address, host).unwrap()
        };
        assert!(is_his("<sip:101@203.0.113.9>", "198.51.100.7"));
        assert!(is_his("<sip:101@203.0.113.9>", "::ffff:198.51.100.7"));
        assert!(!is_his("<sip:101@203.0.113.9>", "198.51.101.7"));
        assert!(!is_his("<sip:102@203.0.113.9>", "198.51.100.7"));
    }
}
