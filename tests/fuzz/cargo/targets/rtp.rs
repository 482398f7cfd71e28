//! cargo-fuzz's wrapping of the fuzz body `rtp`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../rtp.rs"]
mod rtp;

fuzz_target!(|data: &[u8]| {
    let _ = rtp::play(data);
});
