//! Who speaks: an extension that proves itself, or another company.

use crate::id::{TenantId, UserId};

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// An extension of the tenant.
    User(UserId),
    /// Somebody of another tenant, over the inner path.
    Elsewhere(TenantId),
}
