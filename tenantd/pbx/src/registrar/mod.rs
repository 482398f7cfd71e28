//! Where the phones of a company are: who is registered, from where, and until when.
//!
//! RFC 3261 §10, with instances and reg-ids of RFC 5626 and the Path of RFC 3327. One [`Registrar`]
//! serves one tenant. It answers from memory, says what must be stored ([`Change`]), and takes back
//! what was stored when the process starts again.

pub mod ask;
pub mod bindings;
pub mod change;
pub mod keepalive;
pub mod listed;
pub mod policy;
pub mod refusal;
pub mod register;
pub mod restore;
mod same;
#[cfg(test)]
mod tests;

pub use ask::{Ask, Asked, AskedContact, alg};
pub use bindings::{Registered, Standing};
pub use change::{Change, Outcome};
pub use keepalive::Keepalive;
pub use listed::Listed;
pub use policy::Policy;
pub use refusal::Refusal;
pub use register::Registrar;
