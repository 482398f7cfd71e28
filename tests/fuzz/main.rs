//! Fuzz bodies on stable: a fixed number of mutations from a fixed seed, the same on every machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test tells by failing")]

mod mutate;
mod stream;
mod wire;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use mutate::Mutations;

/// Cut in four, for four cores.
#[test]
fn broken_messages_neither_panic_nor_lose_a_byte_1() {
    break_messages(50_000, [1; 32]);
}

#[test]
fn broken_messages_neither_panic_nor_lose_a_byte_2() {
    break_messages(50_000, [2; 32]);
}

#[test]
fn broken_messages_neither_panic_nor_lose_a_byte_3() {
    break_messages(50_000, [3; 32]);
}

#[test]
fn broken_messages_neither_panic_nor_lose_a_byte_4() {
    break_messages(50_000, [4; 32]);
}

fn break_messages(count: u32, chance: [u8; 32]) {
    let seeds = messages("rfc4475").into_iter().chain(messages("rfc5118")).collect::<Vec<_>>();
    let mut mutations = Mutations::of(&seeds, chance);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..count {
        match wire::read_and_answer(mutations.next()) {
            wire::Outcome::Taken => taken += 1,
            wire::Outcome::Refused => refused += 1,
            wire::Outcome::Dropped => {}
        }
    }
    // Mutations that reach only one side of the checks would test nothing.
    assert!(taken > count / 10 && refused > count / 10, "{taken} taken, {refused} refused");
}

#[test]
fn broken_streams_are_cut_the_same_in_any_pieces() {
    let seeds = messages("rfc4475").into_iter().chain(messages("rfc5118")).collect::<Vec<_>>();
    let mut mutations = Mutations::of(&seeds, [5; 32]);
    let (streams, mut cut) = (8_000, 0);
    for _ in 0..streams {
        let stream = [mutations.next(), mutations.next(), mutations.next()].concat();
        cut += stream::cut_in_pieces(&stream);
    }
    // Streams that all end at once would test nothing.
    assert!(cut > streams, "{cut} messages");
}

/// The torture messages of that folder, in the order of their names.
fn messages(folder: &str) -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("torture").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| Bytes::from(fs::read(file).unwrap())).collect()
}
