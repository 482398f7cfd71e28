//! A server's life: opens everything, finds its ground, serves, lets go, ends.

mod doors;
mod ground;
mod life;
mod setup;
mod sound;
mod taking;

pub use life::{Failure, run};
