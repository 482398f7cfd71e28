//! What people click, what programs call, and what monitors ask.

pub mod boards;
pub mod probes;
