//! What the tests are made with.

pub mod baresip;
pub mod browser;
pub mod cluster;
pub mod company;
pub mod demo;
pub mod digest;
pub mod ear;
pub mod failure;
pub mod folder;
pub mod http;
pub mod ladder;
pub mod licence;
pub mod metadata;
pub mod ports;
pub mod postgres;
pub mod probe;
pub mod program;
pub mod scene;
pub mod server;
pub mod sim;
pub mod sipp;
pub mod tone;
pub mod ulaw;
pub mod wait;
pub mod wav;
