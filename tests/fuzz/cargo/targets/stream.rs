//! cargo-fuzz's wrapping of the fuzz body `stream`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../stream.rs"]
mod stream;

fuzz_target!(|data: &[u8]| {
    let _ = stream::cut_in_pieces(data);
});
