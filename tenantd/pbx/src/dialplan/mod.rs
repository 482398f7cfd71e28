//! Where a dialled number leads: a function of the tenant's configuration, the caller and the number.

pub mod route;

pub use crate::tenant::name::name_in;
pub use route::{Destination, Reason, Route, route};
