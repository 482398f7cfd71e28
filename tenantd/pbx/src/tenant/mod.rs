//! A company: who belongs to it, what it may do, and who speaks for it.

pub mod directory;
pub mod guard;
pub mod identify;
pub mod limits;
pub mod name;
pub mod rooms;
#[cfg(test)]
pub(crate) mod sample;
