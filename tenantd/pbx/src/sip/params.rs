//! What stands behind the semicolons of a value: `;name=value;flag`.
//!
//! RFC 3261 §7.3.1: names are compared without regard to case, and space around `;` and `=` means
//! nothing.

use std::borrow::Cow;

use super::flaw::Flaw;
use super::letters::{Letters, only};
use super::list::{Pieces, SPACE, is_quoted, unquoted};

/// The parameters of a header field value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Reads `text`, which is empty or begins with a semicolon; `place` is the header's name.
    ///
    /// One semicolon too many at the very end is what some phones send, and is forgiven.
    pub fn parse(text: &'a str, place: &'static str) -> Result<Self, Flaw> {
        let text = text.trim_matches(SPACE);
        if text.is_empty() {
            return Ok(Self(text));
        }
        let text = text.strip_prefix(';').ok_or(Flaw::wrong(place, "text behind the address"))?;
        let params = Self(text.trim_end_matches(SPACE).strip_suffix(';').unwrap_or(text));
        if params.0.trim_matches(SPACE).is_empty() {
            return if text.trim_matches(SPACE).is_empty() {
                Ok(Self(""))
            } else {
                Err(Flaw::wrong(place, "a parameter without a name"))
            };
        }
        for (name, value) in params.iter() {
            if name.is_empty() {
                return Err(Flaw::wrong(place, "a parameter without a name"));
            }
            let is_word = |text: &str| only(Letters::Word, text.as_bytes());
            if !is_word(name) || value.is_some_and(|value| !value.contains('"') && !is_word(value))
            {
                return Err(Flaw::wrong(place, "space in a parameter"));
            }
            // Also inside a value: an open quote would swallow whatever is written behind it.
            let half_quoted = |value: &str| value.contains('"') && !is_quoted(value);
            if name.contains('"') || value.is_some_and(half_quoted) {
                return Err(Flaw::wrong(place, "a quote that is not closed, or not around all"));
            }
        }
        Ok(params)
    }

    /// Each parameter's name and value as written; a flag has no value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        Pieces::of(self.0, b';').map(|param| match param.split_once('=') {
            Some((name, value)) => {
                (name.trim_end_matches(SPACE), Some(value.trim_start_matches(SPACE)))
            }
            None => (param, None),
        })
    }

    /// The value as written; a flag's is empty.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// The value, without its quotes; a flag's is empty.
    pub fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).map(unquoted)
    }

    /// Whether there is a parameter of that name.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// All of them as written, without the first semicolon.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Params<'_>, Flaw> {
        Params::parse(text, "Contact")
    }

    #[test]
    fn names_have_no_case_and_space_means_nothing() {
        let params = parse(" ; Tag = x ;lr; q= 0.33").unwrap();
        assert_eq!(params.raw("tag"), Some("x"));
        assert_eq!(params.raw("LR"), Some(""));
        assert_eq!(params.raw("q"), Some("0.33"));
        assert_eq!(params.raw("a"), None);
    }

    #[test]
    fn semicolons_and_brackets_in_quotes_are_text() {
        let params = parse(r#";+sip.instance="<urn:uuid:1;2>";x="a\"b""#).unwrap();
        assert_eq!(params.value("+SIP.instance").as_deref(), Some("<urn:uuid:1;2>"));
        assert_eq!(params.value("x").as_deref(), Some(r#"a"b"#));
    }

    #[test]
    fn one_semicolon_too_many_is_forgiven_at_the_end_only() {
        assert_eq!(parse(";a=1;").unwrap().raw("a"), Some("1"));
        assert_eq!(parse(";").unwrap().iter().count(), 0);
        assert!(parse(";;").is_err());
        assert!(parse(";;a=1").is_err());
        assert!(parse(";=1").is_err());
        assert!(parse(r#";a="1"#).is_err());
        assert!(parse("a=1").is_err());
    }

    #[test]
    fn names_and_values_are_words() {
        for text in [";a b", ";a b=c", ";a=b c", ";a=b\rc", ";a=\u{7f}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse(";a=\"b c\"").unwrap().value("a").as_deref(), Some("b c"));
    }

    #[test]
    fn a_quote_is_around_a_whole_value_or_nowhere() {
        for text in [r#";a=b"c"#, r#";a="b"c"#, r#";a"b=c"#, r#";a=b"c;d""#] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(";a=<b;c=d").unwrap().raw("c"), Some("d"));
    }
}
