//! A company: who belongs to it, what it may do, and who speaks for it.

pub mod directory;
