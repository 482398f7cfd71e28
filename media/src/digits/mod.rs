//! Keys that are pressed during a call: heard as events or as tones, and let hear as either.
//!
//! RFC 4733 (telephone events), ITU-T Q.23 and Q.24 (the tones).

pub(crate) mod ear;
pub(crate) mod event;
pub(crate) mod press;
pub(crate) mod tone;
