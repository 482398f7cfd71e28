//! What is kept of calls' sound: a copy of what phones say, written as it goes, and heard later.
//!
//! `tap` copies on the threads of sound, `writer` writes what they copied, `log` is how that lies in a
//! file; `render` makes a WAV file of it when the call is over, with a `track` a phone on one `timeline`.

mod log;
mod render;
pub(crate) mod tap;
mod timeline;
mod track;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

pub use render::{Failure, Rendering};
pub use writer::Folder;

/// The end of the name of a part that is being written, or that a killed process left:
/// `<recording>.<part>.open`.
pub const OPEN: &str = "open";
/// The same when the call is over.
pub const WHOLE: &str = "whole";
