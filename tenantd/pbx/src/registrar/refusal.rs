//! Why a REGISTER is not carried out: each reason is an answer.

use thiserror::Error;

use crate::sip::flaw::Flaw;

/// A REGISTER that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A Contact, Expires, Call-ID or Path that cannot be used.
    #[error("{0}")]
    BadRequest(#[from] Flaw),
    /// The expiry is shorter than allowed.
    #[error("Interval Too Brief")]
    TooBrief {
        /// The shortest that is, in seconds.
        min_expires: u32,
    },
    /// A later REGISTER of the same phone was already carried out (RFC 3261 §10.3 (7)).
    #[error("CSeq Out of Order")]
    OutOfOrder,
}

impl Refusal {
    /// The response's status code.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(flaw) => flaw.status(),
            Self::TooBrief { .. } => 423,
            Self::OutOfOrder => 500,
        }
    }

    /// The Min-Expires of the response.
    pub fn min_expires(&self) -> Option<u32> {
        match self {
            Self::TooBrief { min_expires } => Some(*min_expires),
            Self::BadRequest(_) | Self::OutOfOrder => None,
        }
    }
}
