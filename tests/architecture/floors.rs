//! The floors inside `pbx`, and what no floor may touch: a file uses what lies below it.

use super::paths::{module_of, named_in};
use super::tree::Tree;

const SRC: &str = "tenantd/pbx/src/";

/// Modules of the ground floor: words that everybody may use, and that use only each other.
const WORDS: &[&str] =
    &["moment", "id", "chance", "flow", "play", "media", "record", "story", "board"];

/// Modules above it, and which others each may use besides words.
const FLOORS: &[(&str, &[&str])] = &[
    ("sip", &[]),
    ("tenant", &["sip"]),
    ("dialplan", &["sip", "tenant"]),
    ("registrar", &["sip", "tenant", "output"]),
    ("presence", &["sip", "tenant", "output"]),
    // What a switch is told and what it wishes: facts and messages, no decisions.
    ("input", &["sip", "tenant"]),
    ("output", &["sip", "tenant"]),
    ("edge", &["sip", "tenant", "input"]),
    ("call", &["sip", "tenant", "dialplan", "registrar", "presence", "input", "output"]),
    (
        "switch",
        &["sip", "tenant", "dialplan", "registrar", "presence", "edge", "call", "input", "output"],
    ),
];

/// What decides nothing but acts, waits, or asks the world; and the paths that are harmless.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "libc",
    "log",
    "metrics",
    "nix",
    "rand",
    "tokio",
    "tracing",
];

/// Uses of a floor by one that lies below or beside it.
pub(crate) fn broken(tree: &Tree) -> Vec<String> {
    let mut broken = vec![];
    for (path, text) in tree.below(SRC) {
        let module = module_of(path.trim_start_matches(SRC));
        let Some(floor) = module.first() else { continue };
        let Some(below) = below(floor) else {
            let rule = "give it one in tests/architecture/floors.rs";
            broken.push(format!("{path}: {floor} has no floor yet: {rule}"));
            continue;
        };
        for named in named_in(text, &module) {
            let [root, used, ..] = named.segments.as_slice() else { continue };
            let is_fine = root != "crate"
                || used == floor
                || WORDS.contains(&used.as_str())
                || below.contains(&used.as_str())
                || !is_floor(used);
            if !is_fine {
                broken.push(format!("{path}:{}: {floor} must not use {used}", named.line));
            }
        }
    }
    broken.dedup();
    broken
}

/// Paths in `pbx` that lead to a clock, a socket, a file, a lock, a thread or a log.
pub(crate) fn impure(tree: &Tree) -> Vec<String> {
    let mut impure = vec![];
    for (path, text) in tree.below(SRC) {
        for named in named_in(text, &module_of(path.trim_start_matches(SRC))) {
            let name = named.segments.join("::");
            let is_below =
                |banned: &&str| name == **banned || name.starts_with(&format!("{banned}::"));
            if IMPURE.iter().any(is_below) {
                impure.push(format!("{path}:{}: {name} has no place in pbx", named.line));
            }
        }
    }
    impure.dedup();
    impure
}

/// What `floor` may use besides words; `None` if it is not a floor.
fn below(floor: &str) -> Option<&'static [&'static str]> {
    if WORDS.contains(&floor) {
        return Some(&[]);
    }
    FLOORS.iter().find(|(name, _)| *name == floor).map(|(_, below)| *below)
}

fn is_floor(name: &str) -> bool {
    FLOORS.iter().any(|(floor, _)| *floor == name)
}
