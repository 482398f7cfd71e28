//! Every query by its name, so that a test can run each of them as everybody who must not see.

use crate::database::Role;

/// A query, and the role for which it is meant.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Who asks it.
    pub role: Role,
    /// What it is called where it is run.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

impl Query {
    /// A query of the switches.
    pub(crate) const fn node(name: &'static str, sql: &'static str) -> Self {
        Self { role: Role::Node, name, sql }
    }

    /// A query of a tenant's pages.
    pub(crate) const fn tenant(name: &'static str, sql: &'static str) -> Self {
        Self { role: Role::Tenant, name, sql }
    }

    /// A query of the provider.
    pub(crate) const fn provider(name: &'static str, sql: &'static str) -> Self {
        Self { role: Role::Provider, name, sql }
    }
}
