//! cargo-fuzz's wrapping of the fuzz body `sdp`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sdp.rs"]
mod sdp;

fuzz_target!(|data: &[u8]| {
    let _ = sdp::read_and_relay(data);
});
