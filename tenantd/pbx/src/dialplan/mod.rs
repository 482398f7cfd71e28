//! Where a dialled number leads: a function of the tenant's configuration, the caller and the number.

pub mod dialled;
pub mod route;

pub use dialled::dialled;
pub use route::{Destination, Reason, Route, route};
