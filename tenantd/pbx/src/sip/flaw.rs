//! What is wrong with a message that cannot be read, told so that its sender can mend it.
//!
//! RFC 3261 §21.4.1 asks for a reason phrase that names the mistake; §21.5.7 is for the size.

use thiserror::Error;

/// Why a message, or a part of it, cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The part is there, but not as it must be.
    #[error("{place}: {what}")]
    Wrong {
        /// Which part: a header's name, or `Request line` and the like.
        place: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The part must be there.
    #[error("{0}: missing")]
    Missing(&'static str),
    /// The part may be there only once.
    #[error("{0}: more than one")]
    Repeated(&'static str),
    /// A limit of ours is passed.
    #[error("{0}")]
    TooLarge(&'static str),
}

impl Flaw {
    /// A part that is not as it must be.
    pub(crate) const fn wrong(place: &'static str, what: &'static str) -> Self {
        Self::Wrong { place, what }
    }

    /// The same flaw, found in a part of `place`.
    pub(crate) fn at(self, place: &'static str) -> Self {
        match self {
            Self::Wrong { what, .. } => Self::Wrong { place, what },
            Self::Missing(_) | Self::Repeated(_) | Self::TooLarge(_) => self,
        }
    }

    /// The status code that tells the sender.
    pub fn status(&self) -> u16 {
        match self {
            Self::Wrong { .. } | Self::Missing(_) | Self::Repeated(_) => 400,
            Self::TooLarge(_) => 513,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_place_and_the_mistake() {
        assert_eq!(Flaw::wrong("From", "no closing '>'").to_string(), "From: no closing '>'");
        assert_eq!(Flaw::Missing("Call-ID").to_string(), "Call-ID: missing");
        assert_eq!(Flaw::TooLarge("too many header fields").status(), 513);
    }
}
