//! The parts of the daemon: what touches the network, the disk and the clock around the switches.
//!
//! `main` wires them; they are a library so that tests can drive each of them alone.

pub mod config;
pub mod metrics;
