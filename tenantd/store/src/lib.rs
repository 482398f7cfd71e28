//! What outlives the process: Postgres, the keys for what is secret in it, and the object store.
//!
//! Each function asks one question or tells one thing. `node` and `provider` hold the only queries
//! that reach more than one tenant; everything else enters a tenant first and sees its rows alone.

pub mod accounts;
pub mod cluster;
pub mod database;
pub mod failure;
mod id;
pub mod migrate;
pub mod node;
pub mod object_work;
pub mod objects;
pub mod portal;
pub mod provider;
pub mod provision;
pub mod query;
pub mod recordings;
pub mod secrets;
pub mod sounds;
mod stamps;

pub use database::{Database, HOUSE, Role, Urls};
pub use failure::Failure;
pub use secrets::ClusterKey;
