//! What can go wrong between us and Postgres, told apart by what helps: waiting, or a person.

use pbx::id::TenantId;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, is starting or stopping, or has no room: the same may work later.
    #[error("Postgres is away: {0}")]
    Away(#[source] sqlx::Error),
    /// It said no, and will say no again.
    #[error("Postgres refused: {0}")]
    Refused(#[source] sqlx::Error),
    /// A database address that is none; the address itself may hold a password and is not told.
    #[error("{0} is no Postgres address: {1}")]
    Address(&'static str, #[source] sqlx::Error),
    /// The roles of the design are missing, and this login may not make them.
    #[error("the database lacks roles or grants; a superuser must run: {0}")]
    Roles(String),
    /// A role that could look past row-level security.
    #[error("role {0} may bypass row-level security; take SUPERUSER and BYPASSRLS away from it")]
    Bypass(String),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A secret of this tenant does not open with the cluster key at hand.
    #[error("a secret of tenant {0} does not open: is this the right cluster key?")]
    Sealed(TenantId),
    /// A row holds what no version of ours writes.
    #[error("a row of {0} is damaged: {1}")]
    Damaged(&'static str, String),
    /// Too many passwords are being checked already.
    #[error("too many sign-ins at once")]
    Busy,
}

impl Failure {
    /// Whether the same may work later without anybody's help.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Busy)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let passes = match &error {
            sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| passes(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            _ => false,
        };
        if passes { Self::Away(error) } else { Self::Refused(error) }
    }
}

/// SQLSTATEs (Postgres, appendix A) of what passes: connection, resources, operator, deadlock,
/// and a standby that is not yet the primary.
fn passes(code: &str) -> bool {
    ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || ["40001", "40P01", "25006", "55P03"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_helps_against_an_absent_server_and_not_against_a_wrong_query() {
        assert!(Failure::from(sqlx::Error::PoolTimedOut).is_away());
        assert!(!Failure::from(sqlx::Error::RowNotFound).is_away());
        assert!(passes("57P03"), "the server is starting");
        assert!(passes("53100"), "the disk is full");
        assert!(!passes("42501"), "permission denied");
        assert!(!passes("23505"), "not unique");
    }
}
