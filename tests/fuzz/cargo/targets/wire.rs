//! cargo-fuzz's wrapping of the fuzz body `wire`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    let _ = wire::read_and_answer(bytes::Bytes::copy_from_slice(data));
});
