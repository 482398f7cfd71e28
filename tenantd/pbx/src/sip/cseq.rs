//! Which request of a dialog this is: a number that counts up, and the method again.
//!
//! RFC 3261 §20.16.

use super::flaw::Flaw;
use super::letters::is_token;
use super::list::SPACE;
use super::method::Method;

/// A CSeq header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Counts up with each request.
    pub number: u32,
    /// The request's method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads `314159 INVITE`.
    pub fn parse(text: &'a str) -> Result<Self, Flaw> {
        let text = text.trim_matches(SPACE);
        let (number, method) =
            text.split_once([' ', '\t']).ok_or(Flaw::wrong("CSeq", "a number and a method"))?;
        let method = method.trim_start_matches(SPACE);
        if !is_token(method.as_bytes()) {
            return Err(Flaw::wrong("CSeq", "no method"));
        }
        let number = whole(number).and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or(Flaw::wrong("CSeq", "no number below 2**32"))?;
        Ok(Self { number, method: Method::of(method) })
    }
}

/// A number made of digits only; one too large for us is as large as we can say.
pub(crate) fn whole(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_in_front_and_space_between_mean_nothing() {
        let cseq = CSeq::parse("0009   INVITE").unwrap();
        assert_eq!(cseq, CSeq { number: 9, method: Method::Invite });
    }

    #[test]
    fn a_number_too_large_or_none_is_refused() {
        assert_eq!(CSeq::parse("4294967295 BYE").unwrap().number, u32::MAX);
        for text in ["4294967296 BYE", "36893488147419103232 BYE", "-1 BYE", "+1 BYE", "1", "BYE"] {
            assert!(CSeq::parse(text).is_err(), "{text}");
        }
        assert!(CSeq::parse("1 INVITE x").is_err());
    }
}
