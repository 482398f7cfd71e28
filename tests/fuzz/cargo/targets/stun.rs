//! cargo-fuzz's wrapping of the fuzz body `stun`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../stun.rs"]
mod stun;

fuzz_target!(|data: &[u8]| {
    let _ = stun::ask(data);
});
