//! Names that only one may have: whose line it was that wanted one that somebody else has.
//!
//! Postgres checks them at the end, so that a file may swap names, and does not tell whose name it
//! was, because that row may be another tenant's. So a file that failed is carried once more, one
//! thing at a time and checked at once, and never committed.

use super::wanted::File;
use super::{NotApplied, Problem};

/// What somebody else has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clash {
    Domain,
    Label,
    PublicNumber,
    Name,
    Credential,
}

/// How a file is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Many rows at once.
    Together,
    /// Each thing by itself, so that what fails has a line.
    OneByOne,
}

impl Pace {
    /// How many rows are written at once.
    pub(super) fn rows(self) -> usize {
        match self {
            Self::Together => 2_000,
            Self::OneByOne => 1,
        }
    }
}

impl Clash {
    /// What an error of Postgres says, if it is about a name.
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        Some(match error.as_database_error()?.constraint()? {
            "domain_name" => Self::Domain,
            "tenant_label" => Self::Label,
            "number_number" => Self::PublicNumber,
            "dialled_name_name" => Self::Name,
            "extension_credential" => Self::Credential,
            _ => return None,
        })
    }

    /// Has it checked with each statement.
    pub(super) fn check_at_once(self) -> &'static str {
        match self {
            Self::Domain => "SET CONSTRAINTS domain_name IMMEDIATE",
            Self::Label => "SET CONSTRAINTS tenant_label IMMEDIATE",
            Self::PublicNumber => "SET CONSTRAINTS number_number IMMEDIATE",
            Self::Name => "SET CONSTRAINTS dialled_name_name IMMEDIATE",
            Self::Credential => "SET CONSTRAINTS extension_credential IMMEDIATE",
        }
    }

    fn reason(self, what: &str) -> String {
        match self {
            Self::Domain => format!("domain {what} belongs to another tenant"),
            Self::Label => format!("label {what} belongs to another tenant"),
            Self::PublicNumber => format!("number {what} belongs to another tenant"),
            Self::Name => format!("{what} or its user name is taken in its tenant"),
            Self::Credential => format!("{what} would sign in with the same name as another"),
        }
    }
}

impl File {
    /// What failed for this thing in this line.
    pub(super) fn blame(&self, line: usize, what: &str, error: sqlx::Error) -> NotApplied {
        match Clash::of(&error) {
            Some(clash) => NotApplied::File(self.clash(line, what, clash)),
            None => error.into(),
        }
    }

    fn clash(&self, line: usize, what: &str, clash: Clash) -> Problem {
        self.problem(line, clash.reason(what))
    }
}
