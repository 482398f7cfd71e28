//! What 20 ms of a call cost that is packed anew, both ways; `cargo bench -p media --bench codecs`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::{Duration, Instant};

use media::codec::{Decoder, Encoder, LONGEST, LONGEST_PAYLOAD, Rate};
use pbx::media::CodecKind;

const OPUS: CodecKind = CodecKind::Opus { stereo: false, fec: true, most: None };
const FRAMES: usize = 500;
const ROUNDS: usize = 7;

fn main() {
    for (one, other, rate) in [
        (CodecKind::Pcma, OPUS, Rate::Narrow),
        (CodecKind::G722, OPUS, Rate::Wide),
        (CodecKind::Pcmu, CodecKind::Pcma, Rate::Narrow),
    ] {
        let there = (0..ROUNDS).map(|_| way(&one, &other, rate)).min().unwrap_or_default();
        let back = (0..ROUNDS).map(|_| way(&other, &one, rate)).min().unwrap_or_default();
        let calls = Duration::from_millis(20).as_secs_f64() / (there + back).as_secs_f64();
        println!("{one:?} to {other:?} {there:?}, back {back:?}: {calls:.0} calls a core");
    }
}

/// One direction: unpacked and packed, for a frame.
fn way(from: &CodecKind, to: &CodecKind, rate: Rate) -> Duration {
    let mut speaker = Encoder::new(from, rate).expect("it is one of ours");
    let mut decoder = Decoder::new(from, rate).expect("it is one of ours");
    let mut encoder = Encoder::new(to, rate).expect("it is one of ours");
    let mut spent = Duration::ZERO;
    for frame in 0..FRAMES {
        let sound: Vec<i16> = (0..20 * rate.per_ms()).map(|n| voice(frame, n, rate)).collect();
        let (mut packed, mut unpacked, mut again) =
            ([0; LONGEST_PAYLOAD], [0; LONGEST], [0; LONGEST_PAYLOAD]);
        let len = speaker.encode(&sound, &mut packed);
        let began_at = Instant::now();
        let count = decoder.decode(packed.get(..len).unwrap_or_default(), &mut unpacked);
        encoder.encode(unpacked.get(..count).unwrap_or_default(), &mut again);
        spent += began_at.elapsed();
    }
    spent / FRAMES as u32
}

/// A voice, more or less: a pitch that moves, its overtones, and syllables.
fn voice(frame: usize, n: usize, rate: Rate) -> i16 {
    let at = (frame * 20 * rate.per_ms() + n) as f64 / f64::from(rate.hertz());
    let pitch = 140.0 + 30.0 * (at * 3.0).sin();
    let loud = 3_000.0 * (0.5 + 0.5 * (at * 25.0).sin());
    let tones =
        (1..14).map(|k| (std::f64::consts::TAU * pitch * f64::from(k) * at).sin() / f64::from(k));
    (loud * tones.sum::<f64>()) as i16
}
