//! What encryption costs a packet of 20 ms, and what a handshake takes.
//!
//! `cargo bench -p media --bench encryption` prints the least of nine rounds: this machine may have
//! other work, which makes some rounds longer and none shorter.

#![expect(clippy::print_stdout, reason = "it is what a bench is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use media::toll::{Ended, Ends, Stream};
use pbx::media::{Key, Suite};

const ROUNDS: usize = 9;
const PACKETS: u32 = 100_000;
const HANDSHAKES: u32 = 200;

fn main() {
    let suites = [
        (Suite::AesCm128HmacSha1_80, 30),
        (Suite::AesCm128HmacSha1_32, 30),
        (Suite::AeadAes128Gcm, 28),
    ];
    for (suite, len) in suites {
        let mut stream = Stream::begin(&Key { suite, material: vec![7; len] });
        let none = least(PACKETS, || {
            black_box(stream.pass());
        });
        let seal = least(PACKETS, || {
            black_box(stream.seal()).expect("a packet is sealed");
        });
        let mut stream = Stream::begin(&Key { suite, material: vec![7; len] });
        let both = least(PACKETS, || {
            black_box(stream.seal_and_open()).expect("a packet is opened");
        });
        let (seal, open) = (seal.saturating_sub(none), both.saturating_sub(seal));
        println!("{suite:?}: seal {} ns, open {} ns", seal.as_nanos(), open.as_nanos());
    }
    let ends = Ends::make().expect("certificates can be made");
    let shake = least(HANDSHAKES, || assert_eq!(ends.shake(), Ended::Agreed));
    println!("handshake: {} us for one end", shake.as_micros() / 2);
}

fn least(times: u32, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let began_at = Instant::now();
        (0..times).for_each(|_| work());
        began_at.elapsed() / times
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}
