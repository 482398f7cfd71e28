//! Sound that nobody says: prompts, music and tones, for one phone or for very many at the same time.
//!
//! Samples wait on the `shelf`, which all threads share. Each thread packs a sound once for all its
//! listeners with the same codec, as it is heard: `reel` is a sound in packets, the `booth` keeps
//! the reels of a thread, and a `playback` is where one phone is in which of them.

pub(crate) mod booth;
pub(crate) mod playback;
pub(crate) mod reel;
pub(crate) mod shelf;
#[cfg(test)]
mod tests;
mod tones;
