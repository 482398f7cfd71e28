//! Fuzz bodies on stable: mutations of a kept corpus, for as long as `FUZZ_SECONDS` says.
//!
//! The row of mutations is the same on every machine; more time only goes further along it. Each
//! body is a plain function, which cargo-fuzz wraps as well (`tests/fuzz/cargo`). What was found
//! once is kept in `tests/fuzz/corpus`, and comes first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test tells by failing")]

mod mutate;
mod rtp;
mod sdp;
mod stream;
mod stun;
mod upload;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kit::folder::Folder;
use kit::hostile;
use mutate::{BINARY, Mutations, SDP, SIP, Salt};

/// Unless `FUZZ_SECONDS` says otherwise, as it does in `infra/test`.
const FUZZ_FOR: Duration = Duration::from_secs(2);
/// Fewer say nothing, however slow the machine.
const LEAST: u32 = 2_000;
/// The same where each input takes a process.
const PROCESSES: u32 = 100;

/// How far an input got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// It was turned away at the door.
    Shallow,
    /// It was understood, at least in part.
    Deep,
}

#[test]
fn broken_messages_neither_panic_nor_lose_a_byte() {
    let (mut taken, mut refused) = (0, 0);
    let ran = fuzz(&[torture(), corpus("wire")].concat(), SIP, 1, |message| {
        match wire::read_and_answer(message) {
            wire::Outcome::Taken => taken += 1,
            wire::Outcome::Refused => refused += 1,
            wire::Outcome::Dropped => return Depth::Shallow,
        }
        Depth::Deep
    });
    // Mutations that reach only one side of the checks would test nothing.
    assert!(taken > ran / 10 && refused > ran / 10, "{taken} taken, {refused} refused of {ran}");
}

#[test]
fn broken_streams_are_cut_the_same_in_any_pieces() {
    let messages = [torture(), corpus("wire")].concat();
    // A stream is a row of messages, each broken by itself.
    let mut others = Mutations::of(&messages, SIP, [6; 32]);
    let mut cut = 0;
    let ran = fuzz(&messages, SIP, 5, |message| {
        let stream = [others.next(), message, others.next()].concat();
        let found = stream::cut_in_pieces(&stream);
        cut += found;
        if found > 0 { Depth::Deep } else { Depth::Shallow }
    });
    // Streams that all end at once would test nothing.
    assert!(cut > ran as usize, "{cut} messages in {ran} streams");
}

#[test]
fn broken_descriptions_become_none_that_a_phone_cannot_read() {
    fuzz(&corpus("sdp"), SDP, 2, |body| match sdp::read_and_relay(&body) {
        true => Depth::Deep,
        false => Depth::Shallow,
    });
}

#[test]
fn a_storm_of_broken_packets_is_never_sent_where_nobody_asked_for_it() {
    fuzz(&corpus("rtp"), BINARY, 3, |row| match rtp::play(&row) {
        0 => Depth::Shallow,
        _ => Depth::Deep,
    });
}

#[test]
fn broken_questions_get_whole_answers_or_none() {
    fuzz(&corpus("stun"), BINARY, 4, |datagram| match stun::ask(&datagram) {
        0 => Depth::Shallow,
        _ => Depth::Deep,
    });
}

#[test]
fn broken_recordings_are_read_or_refused_and_cost_only_their_own_process() {
    let folder = Folder::new("fuzz-upload").unwrap();
    // Their beginnings say what they are, and are read sooner.
    let seeds: Vec<Bytes> = files(&own("fixtures/sounds"))
        .into_iter()
        .map(|file| file.slice(..file.len().min(6_000)))
        .chain(hostile::all().into_iter().map(|hostile| Bytes::from(hostile.bytes)))
        .filter(|file| file.len() < 20_000)
        .collect();
    fuzz_at_least(PROCESSES, &seeds, BINARY, 7, |recording| upload::read(&folder, &recording));
}

/// Feeds a body with the corpus and then with mutations of it; returns how many inputs there were.
fn fuzz(seeds: &[Bytes], salt: Salt, chance: u8, body: impl FnMut(Bytes) -> Depth) -> u32 {
    fuzz_at_least(LEAST, seeds, salt, chance, body)
}

fn fuzz_at_least(
    least: u32,
    seeds: &[Bytes],
    salt: Salt,
    chance: u8,
    mut body: impl FnMut(Bytes) -> Depth,
) -> u32 {
    assert!(!seeds.is_empty(), "there is no corpus");
    let mut run = |input: Bytes| {
        let _teller = Teller(input.clone());
        body(input)
    };
    for seed in seeds {
        run(seed.clone());
    }
    let mut mutations = Mutations::of(seeds, salt, [chance; 32]);
    let (began_at, fuzz_for) = (Instant::now(), fuzz_for());
    let (mut ran, mut deep) = (0, 0);
    while ran < least || began_at.elapsed() < fuzz_for {
        ran += 1;
        deep += u32::from(run(mutations.next()) == Depth::Deep);
    }
    eprintln!("{ran} inputs in {:?}, {deep} of them deep", began_at.elapsed());
    assert!(deep > ran / 10, "only {deep} of {ran} inputs were understood");
    ran
}

fn fuzz_for() -> Duration {
    let told = std::env::var("FUZZ_SECONDS").ok();
    told.map_or(FUZZ_FOR, |seconds| Duration::from_secs_f64(seconds.parse().unwrap()))
}

/// Shows the input at which a body panicked.
struct Teller(Bytes);

impl Drop for Teller {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the input, to be kept in tests/fuzz/corpus once it is understood:");
            eprintln!("{:?}", self.0);
        }
    }
}

/// The torture messages, which belong to another test.
fn torture() -> Vec<Bytes> {
    ["rfc4475", "rfc5118"].iter().flat_map(|folder| files(&own("torture").join(folder))).collect()
}

fn corpus(of: &str) -> Vec<Bytes> {
    files(&own("fuzz/corpus").join(of))
}

fn own(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// A folder's files, in the order of their names.
fn files(folder: &Path) -> Vec<Bytes> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| Bytes::from(fs::read(file).unwrap())).collect()
}
