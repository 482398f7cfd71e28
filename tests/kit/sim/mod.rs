//! A whole company in a virtual world: switches, phones, a network and a clock that nobody waits for.
//!
//! The switch and its door are the real ones; the driver, the sound and the database around them
//! are played here, step by step, so that every timer can be driven and every run repeats.

pub mod company;
pub mod network;
pub mod nodes;
pub mod phone;
pub mod router;
pub mod trunk;
mod turns;
mod twins;
pub mod world;

pub use company::{Company, company};
pub use network::Network;
pub use phone::skills::{Power, Pracks, Rings, Skills, Tongue};
pub use phone::{Habit, Phone, State};
pub use router::Router;
pub use trunk::{Brought, CARRIER, Offer};
pub use world::{Closing, FINGERPRINT, World};
