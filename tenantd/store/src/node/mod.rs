//! What the switches ask and tell: the only place of the role `tenantd_node`, across all tenants.

pub mod bindings;
pub mod calls;
pub mod directory;
pub mod feed;
pub mod jobs;
pub mod leases;
pub mod nodes;
pub mod upkeep;
mod write;

pub use write::{Skipped, Writer, Written, write};

use crate::query::Query;

/// Every query of the switches.
pub const QUERIES: &[&[Query]] = &[
    bindings::QUERIES,
    calls::QUERIES,
    directory::QUERIES,
    feed::QUERIES,
    jobs::QUERIES,
    leases::QUERIES,
    nodes::QUERIES,
    upkeep::QUERIES,
    write::QUERIES,
];

/// One column of many rows, as `unnest` takes it.
fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
