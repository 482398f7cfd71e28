//! The parts of the daemon: what touches the network, the disk and the clock around the switches.
//!
//! `main` wires them; they are a library so that tests can drive each of them alone.

pub mod boards;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dispatch;
pub mod driver;
pub mod feed;
pub mod health;
pub mod homes;
pub mod intake;
pub mod journal;
pub mod lanes;
pub mod listen;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod net;
pub mod nice;
pub mod nodes;
pub mod postgres;
pub mod reach;
pub mod recordings;
pub mod resolver;
pub mod secret;
pub mod serve;
pub mod signals;
pub mod sounds;
pub mod uploads;
pub mod write_behind;

#[cfg(test)]
mod scratch;
