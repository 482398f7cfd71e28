//! Letters written as `%41` in addresses: reading them, writing them, comparing across them.
//!
//! RFC 3261 §19.1.2 and §19.1.4, RFC 3986 §2.1.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// What escaped text says. A `%` that begins no escape is itself; text that would not be UTF-8 is
/// left as it is.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = Letters(text.as_bytes()).map(|letter| letter.byte).collect();
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Writes any text as the user part of an address.
#[derive(Debug, Clone, Copy)]
pub struct EscapedUser<'a>(pub &'a str);

impl fmt::Display for EscapedUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            // `unreserved` and `user-unreserved`, without `;`, `?` and `/`: some phones cut there.
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&byte) {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Whether two texts say the same: an escaped letter equals the plain one unless it is reserved.
pub(crate) fn same(a: &str, b: &str, case: Case) -> bool {
    let mut a = Letters(a.as_bytes());
    let mut b = Letters(b.as_bytes());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.equals(b, case) => {}
            (Some(_) | None, Some(_)) | (Some(_), None) => return false,
        }
    }
}

/// Whether `A` and `a` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Matters,
    Ignored,
}

#[derive(Clone, Copy)]
struct Letter {
    byte: u8,
    escaped: bool,
}

impl Letter {
    fn equals(self, other: Self, case: Case) -> bool {
        let alike = match case {
            Case::Matters => self.byte == other.byte,
            Case::Ignored => self.byte.eq_ignore_ascii_case(&other.byte),
        };
        alike && (self.escaped == other.escaped || !b";/?:@&=+$,".contains(&self.byte))
    }
}

struct Letters<'a>(&'a [u8]);

impl Iterator for Letters<'_> {
    type Item = Letter;

    fn next(&mut self) -> Option<Letter> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(Letter { byte: high * 16 + low, escaped: true });
        }
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(Letter { byte, escaped: false })
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_once_and_only_where_they_are_whole() {
        assert_eq!(decoded("sips%3Auser%40example.com"), "sips:user@example.com");
        assert_eq!(decoded("%2523100"), "%23100");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%4"), "%4");
        assert_eq!(decoded("%zz%"), "%zz%");
        assert_eq!(decoded("null-%00-null"), "null-\0-null");
        assert_eq!(decoded("J%C3%BCrgen"), "Jürgen");
        assert_eq!(decoded("%FF"), "%FF");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["101", "*72#", "a b", "user;par=u@example.net", "Jürgen/1?x:%40"] {
            let written = EscapedUser(text).to_string();
            assert!(written.is_ascii() && !written.contains(['@', ';', ':', '?', '/', ' ']));
            assert_eq!(decoded(&written), text);
        }
    }

    #[test]
    fn escaped_letters_equal_plain_ones_unless_reserved() {
        assert!(same("%61lice", "alice", Case::Matters));
        assert!(!same("%61lice", "Alice", Case::Matters));
        assert!(same("%41LICE", "alice", Case::Ignored));
        assert!(!same("a%3Bb", "a;b", Case::Matters));
        assert!(same("a%3bb", "a%3Bb", Case::Matters));
        assert!(!same("a", "ab", Case::Matters));
    }
}
