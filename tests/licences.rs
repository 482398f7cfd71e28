//! What others wrote and we build on: under which licence, from where, and which of it is unwelcome.
//!
//! Everything is read from `cargo metadata`, so the answer is about what is really compiled.

use std::collections::BTreeMap;
use std::path::Path;

use kit::licence;
use kit::metadata::{Metadata, Package};

/// Licences under which code may become part of ours (Apache-2.0) or of its tests.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that must not be in the program, and why.
const UNWELCOME: &[(&str, &str)] = &[
    ("aws-lc-rs", "one TLS provider is enough, and it is ring"),
    ("aws-lc-sys", "one TLS provider is enough, and it is ring"),
    ("bindgen", "it needs libclang to build"),
    ("cmake", "it needs cmake to build"),
    ("native-tls", "one TLS library is enough, and it is rustls"),
    ("openssl-src", "libssl is the system's, which repairs it"),
    ("async-std", "one runtime is enough, and it is tokio"),
];

/// Packages of which two versions would be two worlds that do not understand each other, or would
/// be compiled twice for nothing.
const ONCE: &[&str] = &[
    "axum", "bytes", "hyper", "metrics", "postcard", "rustls", "serde", "sqlx", "tokio", "tracing",
];

/// Where packages come from.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_licence_lets_us_pass_the_program_on() {
    let metadata = everything();
    let refused: Vec<String> = metadata
        .others()
        .filter(|package| !is_allowed(package))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
    assert!(metadata.others().count() > 50, "cargo described hardly anything");
}

#[test]
fn all_packages_come_from_one_place() {
    let metadata = everything();
    let strange: Vec<String> = metadata
        .others()
        .filter(|package| package.source.as_deref() != Some(SOURCE))
        .map(|package| format!("{} comes from {:?}", package.name, package.source))
        .collect();
    assert!(strange.is_empty(), "\n{}\n", strange.join("\n"));
}

#[test]
fn nothing_unwelcome_is_in_the_program() {
    let metadata = everything();
    let shipped = metadata.shipped_in("tenantd");
    assert!(shipped.iter().any(|package| package.name == "tokio"), "nothing was looked at");
    let found: Vec<String> = UNWELCOME
        .iter()
        .filter(|(name, _)| shipped.iter().any(|package| package.name == *name))
        .map(|(name, why)| format!("{name}: {why}; see `cargo tree -i {name}`"))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn nothing_that_must_agree_is_there_twice() {
    let metadata = everything();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.shipped_in("tenantd") {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    for name in ONCE {
        let found = versions.get(name).map(Vec::as_slice).unwrap_or_default();
        assert!(found.len() <= 1, "{name} is there as {}", found.join(" and "));
    }
}

fn everything() -> Metadata {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Metadata::of_everything(&root).expect("cargo describes the workspace")
}

fn is_allowed(package: &Package) -> bool {
    let text = package.licence_text().unwrap_or_default();
    let stated = package.license.as_deref().or_else(|| licence::name_of(&text));
    licence::is_satisfied(stated.unwrap_or_default(), &|name| ALLOWED.contains(&name))
}
