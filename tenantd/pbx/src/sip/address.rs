//! Somebody in a header: a name to show, an address to reach, and what else is said about them.
//!
//! RFC 3261 §20.10 (name-addr and addr-spec), §20.20 and §20.39.

use std::borrow::Cow;
use std::fmt::{self, Write};

use smallvec::SmallVec;

use super::cseq::whole;
use super::flaw::Flaw;
use super::list::{SPACE, quote_end, unquoted};
use super::params::Params;
use super::uri::Uri;

/// One value of a From, To, Contact, Route, Refer-To and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The name as written, with its quotes; empty if there is none. See [`Address::display`].
    pub name: &'a str,
    /// The address as written, without its brackets.
    pub uri_text: &'a str,
    /// The header's own parameters.
    pub params: Params<'a>,
    place: &'static str,
}

/// What a message's Contact header fields say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts<'a> {
    /// Nothing.
    None,
    /// `*`: all that are registered.
    Star,
    /// These, in their order.
    List(SmallVec<[Address<'a>; 2]>),
}

impl<'a> Address<'a> {
    /// Reads `"Name" <uri>;params` or `uri;params`; `place` is the header's name.
    pub fn parse(text: &'a str, place: &'static str) -> Result<Self, Flaw> {
        let flaw = |what| Flaw::wrong(place, what);
        let text = text.trim_matches(SPACE);
        let Some((name, rest)) = bracketed(text).map_err(flaw)? else {
            return Self::parse_bare(text, place);
        };
        let (uri_text, params) = rest.split_once('>').ok_or(flaw("no closing '>'"))?;
        let params = Params::parse(params, place)?;
        let address = Self {
            name: name.trim_end_matches(SPACE),
            uri_text: uri_text.trim_matches(SPACE),
            params,
            place,
        };
        address.uri().map(|_| address)
    }

    /// Without brackets a semicolon begins the header's parameters, and a comma or question mark
    /// is forbidden, for nobody could tell whose it is.
    fn parse_bare(text: &'a str, place: &'static str) -> Result<Self, Flaw> {
        let (uri_text, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let uri_text = uri_text.trim_end_matches(SPACE);
        if uri_text.contains(['?', ',']) {
            return Err(Flaw::wrong(place, "'?' or ',' in an address without '<' and '>'"));
        }
        let address = Self { name: "", uri_text, params: Params::parse(params, place)?, place };
        address.uri().map(|_| address)
    }

    /// The address, read.
    pub fn uri(&self) -> Result<Uri<'a>, Flaw> {
        Uri::parse(self.uri_text).map_err(|flaw| flaw.at(self.place))
    }

    /// The name to show, without quotes and escapes; empty if there is none.
    pub fn display(&self) -> Cow<'a, str> {
        unquoted(self.name)
    }

    /// The dialog's tag on this side; an empty one is none.
    pub fn tag(&self) -> Option<&'a str> {
        let mut tags = self.params.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tag"));
        tags.find_map(|(_, tag)| tag.filter(|tag| !tag.is_empty()))
    }

    /// A parameter's value, without its quotes; a flag's is empty.
    pub fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params.value(name)
    }

    /// How much it is preferred, in thousandths; `None` if it does not say, or not readably.
    pub fn q(&self) -> Option<u16> {
        let (whole, part) = {
            let text = self.params.raw("q")?;
            text.split_once('.').unwrap_or((text, ""))
        };
        if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let thousandths = format!("{part:0<3}").parse::<u16>().ok()?;
        match whole {
            "0" | "" => Some(thousandths),
            "1" if thousandths == 0 => Some(1_000),
            _ => None,
        }
    }

    /// How long it is good for, in seconds. What is no number counts as an hour (RFC 3261 §20.10).
    pub fn expires(&self) -> Option<u32> {
        let text = self.params.raw("expires")?;
        Some(whole(text).map_or(3_600, |seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
    }
}

/// The name in front of a `<`, and what follows that; `None` without a `<`.
fn bracketed(text: &str) -> Result<Option<(&str, &str)>, &'static str> {
    if let Some(rest) = text.strip_prefix('"') {
        let name_ends = quote_end(rest).ok_or("no closing quote")? + 2;
        let (name, rest) = text.split_at_checked(name_ends).ok_or("no closing quote")?;
        let uri =
            rest.trim_start_matches(SPACE).strip_prefix('<').ok_or("no '<' behind the name")?;
        return Ok(Some((name, uri)));
    }
    // In front of a bare address's parameters only: `sip:a@b;p="<x>"` has no brackets of its own.
    let Some((name, uri)) = text.split_once('<') else { return Ok(None) };
    match name {
        name if name.contains('"') && !name.contains(';') => Err("a quote inside the name"),
        name if name.contains('"') => Ok(None),
        name => Ok(Some((name, uri))),
    }
}

/// Writes any text as a quoted string (RFC 3261 §25.1).
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                letter if letter.is_control() => f.write_char(' ')?,
                letter => f.write_char(letter)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address<'_> {
        Address::parse(text, "Contact").unwrap_or_else(|flaw| panic!("{text}: {flaw}"))
    }

    #[test]
    fn a_name_in_quotes_may_look_like_an_address() {
        let spoof = address(r#""A <sip:boss@x>" <sip:eve@example.com>;tag=1"#);
        assert_eq!(spoof.display(), "A <sip:boss@x>");
        assert_eq!(spoof.uri_text, "sip:eve@example.com");
        assert_eq!(spoof.tag(), Some("1"));
        let escaped =
            address(r#""J Rosenberg \\\""       <sip:jdrosen@example.com>  ;  tag = 98asjd8"#);
        assert_eq!(escaped.display(), r#"J Rosenberg \""#);
        assert_eq!(escaped.tag(), Some("98asjd8"));
    }

    #[test]
    fn names_without_quotes_and_without_space() {
        assert_eq!(address("caller<sip:caller@example.com>;tag=323").display(), "caller");
        assert_eq!(address("Bell, Alexander <sip:a@b.c>").display(), "Bell, Alexander");
        assert_eq!(address("<sip:a@b.c>").display(), "");
        assert_eq!(address(r#""Watson" < sip:t@example.org >"#).uri_text, "sip:t@example.org");
    }

    #[test]
    fn without_brackets_parameters_are_the_headers() {
        let bare = address("sip:+19725552222@gw1.example.net;unknownparam");
        assert_eq!(bare.uri().unwrap().params, "");
        assert!(bare.params.has("unknownparam"));
        let inside = address("<sip:+19725552222@gw1.example.net;unknownparam>");
        assert_eq!(inside.uri().unwrap().param("unknownparam"), Some(""));
        assert!(!inside.params.has("unknownparam"));
        let instance = address(r#"sip:a@b;+sip.instance="<urn:uuid:1>""#);
        assert_eq!(instance.param("+sip.instance").as_deref(), Some("<urn:uuid:1>"));
    }

    #[test]
    fn refuses_what_cannot_be_told_apart() {
        let bad = [
            "",
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            r#""Mr. J. User <sip:j.user@example.com>"#,
            "Joe <sip:joe@example.org",
            r#""Joe" sip:joe@example.org"#,
            r#"Joe "x" <sip:joe@example.org>"#,
            "<sip:joe@example.org>;;;;",
            "<sip:joe@example.org> tag=1",
            "<>",
            "<example.org>",
        ];
        for text in bad {
            assert!(Address::parse(text, "Contact").is_err(), "{text}");
        }
        let flaw = Address::parse("<sip:joe@a b>", "From").unwrap_err();
        assert_eq!(flaw.to_string(), "From: space in an address");
    }

    #[test]
    fn preference_and_lifetime() {
        let q = |text: &str| address(&format!("<sip:a@b>;q={text}")).q();
        assert_eq!(
            [q("0.33"), q("1"), q("1.000"), q("0"), q(".5")].map(Option::unwrap),
            [330, 1_000, 1_000, 0, 500]
        );
        assert_eq!([q("1.1"), q("0.1234"), q("x"), q("2"), q("-1")], [None; 5]);
        let expires = |text: &str| address(&format!("<sip:a@b>;expires={text}")).expires();
        assert_eq!(expires("60"), Some(60));
        assert_eq!(expires("280297596632815"), Some(u32::MAX));
        assert_eq!(expires("soon"), Some(3_600));
        assert_eq!(address("<sip:a@b>").expires(), None);
    }

    #[test]
    fn any_text_can_be_quoted_and_read_back() {
        for name in ["Ada", r#"a "b" \ c"#, "Jürgen, <x>"] {
            let text = format!("{} <sip:a@b>", Quoted(name));
            assert_eq!(address(&text).display(), name);
        }
        assert_eq!(Quoted("a\r\nVia: x").to_string(), "\"a  Via: x\"");
    }
}
