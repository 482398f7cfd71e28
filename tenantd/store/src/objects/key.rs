//! The name of an object. It begins with the company that owns it, and is made here and nowhere else.

use std::fmt;

use pbx::id::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// What the company plays: prompts, music, announcements.
    Sound,
    /// A recorded call.
    Recording,
    /// What a caller left for somebody.
    Message,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Sound, Self::Recording, Self::Message];

    /// Its folder in a key, and its name in a row.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sounds",
            Self::Recording => "recordings",
            Self::Message => "messages",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where an object is: `tenant/<company>/<kind>/<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    tenant: TenantId,
    kind: Kind,
    id: Uuid,
}

impl ObjectKey {
    /// The key of one object of a company.
    pub const fn new(tenant: TenantId, kind: Kind, id: Uuid) -> Self {
        Self { tenant, kind, id }
    }

    /// What all keys of a company begin with, and nobody else's.
    pub fn all_of(tenant: TenantId) -> String {
        format!("tenant/{}/", tenant.0.hyphenated())
    }

    /// Whose it is.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Which one.
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// Reads a key exactly as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let (tenant, rest) = text.strip_prefix("tenant/")?.split_once('/')?;
        let (kind, id) = rest.split_once('/')?;
        let key = Self {
            tenant: TenantId(tenant.parse().ok()?),
            kind: Kind::named(kind)?,
            id: id.parse().ok()?,
        };
        // A UUID can be written in many ways; a key only in one.
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tenant, id) = (self.tenant.0.hyphenated(), self.id.hyphenated());
        write!(f, "tenant/{tenant}/{}/{id}", self.kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_with_its_company_and_is_read_back_only_as_written() {
        let tenant = TenantId(Uuid::from_u128(7));
        let key = ObjectKey::new(tenant, Kind::Sound, Uuid::from_u128(9));
        let text = key.to_string();
        assert!(text.starts_with(&ObjectKey::all_of(tenant)), "{text}");
        assert_eq!(ObjectKey::parse(&text), Some(key));
        let capital = text.replace("tenant", "Tenant");
        for other in [
            capital.as_str(),
            &text.replace('-', ""),
            &text.replace("sounds", "pictures"),
            &format!("{text}/"),
            &format!("/{text}"),
            "tenant/../sounds/x",
            "",
        ] {
            assert_eq!(ObjectKey::parse(other), None, "{other}");
        }
    }

    #[test]
    fn no_company_prefix_is_the_beginning_of_another() {
        let [one, two] = [1, 0x10].map(|n| ObjectKey::all_of(TenantId(Uuid::from_u128(n))));
        assert!(!one.starts_with(&two) && !two.starts_with(&one));
    }
}
