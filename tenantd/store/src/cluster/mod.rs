//! A Postgres of our own: started, found again and stopped by tenantd where no database is given.
//!
//! The system's own binaries run as a child that is never root. It listens on a Unix socket in a
//! folder that only its user can enter, which is also who may read its files: so whoever reaches
//! the socket is trusted, and no password is kept anywhere.

mod binaries;
mod home;
mod postmaster;
mod server;

pub use server::{Cluster, Condition, Failure};
