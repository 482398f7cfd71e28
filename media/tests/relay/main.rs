//! Two phones talk through real ports, and whoever else sends there is not heard.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod own_socket;
mod phone;
mod ports;
mod stage;
mod talk;
mod way;
