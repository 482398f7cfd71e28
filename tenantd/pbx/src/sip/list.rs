//! Values in one line: cut at commas or semicolons, but never inside quotes, and at commas never
//! inside angle brackets.
//!
//! RFC 3261 §7.3.1 (a header field row that combines several values) and §25.1 (quoted-string).

use std::borrow::Cow;

/// What may stand around a word and means nothing: no other letter that some call space.
pub(crate) const SPACE: [char; 2] = [' ', '\t'];

/// The pieces of a line, trimmed, empty ones included; an empty line has none.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Pieces<'a> {
    /// Cuts `text` at `separator`.
    pub fn of(text: &'a str, separator: u8) -> Self {
        Self { rest: Some(text).filter(|text| !text.trim_matches(SPACE).is_empty()), separator }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let end = piece_end(rest.as_bytes(), self.separator);
        self.rest = rest.get(end + 1..);
        rest.get(..end).map(|piece| piece.trim_matches(SPACE))
    }
}

/// Where the first piece of `text` ends: at `separator`, or at the end.
///
/// An unclosed quote or bracket takes all that follows with it; whoever reads the piece finds out.
pub(crate) fn piece_end(text: &[u8], separator: u8) -> usize {
    let Some(special) = memchr::memchr3(separator, b'"', b'<', text) else { return text.len() };
    let mut within = Within::Nothing;
    for (at, &byte) in text.iter().enumerate().skip(special) {
        within = match (within, byte) {
            (Within::Nothing, b'"') => Within::Quotes,
            // Parameters stand behind the brackets: one in them is a letter like any other.
            (Within::Nothing, b'<') if separator == b',' => Within::Brackets,
            (Within::Nothing, byte) if byte == separator => return at,
            (Within::Quotes, b'\\') => Within::Escape,
            (Within::Quotes, b'"') | (Within::Brackets, b'>') => Within::Nothing,
            (Within::Escape, _) => Within::Quotes,
            (Within::Nothing | Within::Quotes | Within::Brackets, _) => within,
        };
    }
    text.len()
}

#[derive(Clone, Copy)]
enum Within {
    Nothing,
    Quotes,
    Escape,
    Brackets,
}

/// What a quoted string says; text that is not quoted says itself.
pub fn unquoted(text: &str) -> Cow<'_, str> {
    let Some(quoted) = text.strip_prefix('"') else { return Cow::Borrowed(text) };
    let quoted = quoted.strip_suffix('"').unwrap_or(quoted);
    if !quoted.contains('\\') {
        return Cow::Borrowed(quoted);
    }
    let mut said = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => said.extend(letters.next()),
            letter => said.push(letter),
        }
    }
    Cow::Owned(said)
}

/// Whether `text` is one whole quoted string.
pub(crate) fn is_quoted(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('"') else { return false };
    quote_end(rest).is_some_and(|end| end + 1 == rest.len())
}

/// Where the closing quote is, in text that follows an opening one.
pub(crate) fn quote_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        Pieces::of(text, b',').collect()
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_cut() {
        assert_eq!(
            pieces(r#""Bell, \"A,\"" <sip:a,b@x> , <sip:c@y>;p="1,2""#),
            [r#""Bell, \"A,\"" <sip:a,b@x>"#, r#"<sip:c@y>;p="1,2""#]
        );
    }

    #[test]
    fn empty_pieces_are_kept_for_whoever_minds() {
        assert_eq!(pieces("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(pieces("  "), [] as [&str; 0]);
    }

    #[test]
    fn an_unclosed_quote_takes_the_rest_with_it() {
        assert_eq!(pieces(r#"a, "b, c"#), ["a", r#""b, c"#]);
        assert_eq!(pieces(r#"a, "b\"#), ["a", r#""b\"#]);
    }

    #[test]
    fn brackets_hold_commas_and_no_semicolons() {
        assert_eq!(pieces("<a,b"), ["<a,b"]);
        assert_eq!(Pieces::of("<a;b", b';').collect::<Vec<_>>(), ["<a", "b"]);
    }

    #[test]
    fn a_quoted_string_says_what_was_escaped() {
        assert_eq!(unquoted(r#""J \"R\" \\""#), r#"J "R" \"#);
        assert_eq!(unquoted("plain"), "plain");
        assert_eq!(unquoted(r#""ends in a backslash\"#), "ends in a backslash");
        assert!(is_quoted(r#""a\"b""#));
        assert!(!is_quoted(r#""a"b""#));
        assert!(!is_quoted(r#"""#));
    }
}
