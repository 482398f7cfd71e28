//! What the tests are made with.

pub mod licence;
pub mod metadata;
