//! What outlives the process: Postgres now, the object store from a later issue on.

pub mod cluster;
