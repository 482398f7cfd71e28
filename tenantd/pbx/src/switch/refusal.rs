//! Why a request is not served: each variant is one answer.

use crate::registrar;
use crate::tenant::identify;

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No tenant owns the domain.
    UnknownDomain,
    /// Who speaks is not proved, or speaks for somebody else.
    Identity(identify::Refusal),
    /// It is not theirs to do.
    Forbidden,
    /// The registrar says why.
    Register(registrar::Refusal),
    /// What was asked cannot be read.
    BadRequest,
    /// We know the method, and do not serve it here.
    MethodNotAllowed,
    /// No such event package.
    BadEvent,
    /// It belongs to no dialog that we know.
    NoDialog,
    /// The same request came over two paths.
    LoopDetected,
    /// The session would have to be refreshed more often than we do.
    TooBrief,
    /// The server is about to stop.
    Draining,
    /// There is no room.
    Overloaded,
}

impl Refusal {
    /// The response's status code (RFC 3261 §21).
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::UnknownDomain => 404,
            Self::Identity(refusal) => refusal.status(),
            Self::Forbidden => 403,
            Self::Register(refusal) => refusal.status(),
            Self::BadRequest => 400,
            Self::MethodNotAllowed => 405,
            Self::BadEvent => 489,
            Self::NoDialog => 481,
            Self::LoopDetected => 482,
            Self::TooBrief => 422,
            Self::Draining | Self::Overloaded => 503,
        }
    }
}
