//! Names for things that outlive a process: UUIDv7s, each with a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A company.
    TenantId,
    /// An extension of a tenant.
    UserId,
    /// A ring group of a tenant.
    GroupId,
    /// A conference of a tenant.
    ConferenceId,
    /// A public number.
    NumberId,
    /// A sound of a tenant.
    SoundId,
    /// An announcement of a tenant.
    AnnouncementId,
    /// A call and its record.
    CallId,
    /// What is kept of a call's sound.
    RecordingId,
    /// One phone's registration.
    BindingId,
    /// An entry of the journal.
    RecordId,
}

/// A machine that runs tenantd, as Postgres numbers it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u16);
