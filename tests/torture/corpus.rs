//! The messages of the torture RFCs and what must become of each, as files beside this one.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// A message and its verdict.
pub(crate) struct Case {
    /// Folder and name, as `rfc4475/wsinv`.
    pub(crate) name: String,
    /// What must become of it.
    pub(crate) verdict: Verdict,
    /// The message.
    pub(crate) bytes: Bytes,
}

/// What parsing and checking must make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is well formed.
    Taken,
    /// It is malformed, and nobody is told.
    Dropped,
    /// It is answered with this code.
    Refused(u16),
}

/// Every line of the manifest.
pub(crate) fn cases() -> Vec<Case> {
    let manifest = fs::read_to_string(folder().join("manifest.tsv")).unwrap();
    let lines = manifest.lines().filter(|line| !line.starts_with('#'));
    lines.map(case).collect()
}

fn case(line: &str) -> Case {
    let columns: Vec<_> = line.split('\t').collect();
    let [name, _section, verdict, _why] = columns[..] else { panic!("not four columns: {line}") };
    Case {
        name: name.to_owned(),
        verdict: match verdict {
            "taken" => Verdict::Taken,
            "dropped" => Verdict::Dropped,
            code => Verdict::Refused(code.parse().unwrap()),
        },
        bytes: message(name),
    }
}

/// The message of that name.
pub(crate) fn message(name: &str) -> Bytes {
    let path = folder().join(format!("{name}.dat"));
    Bytes::from(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Where the messages are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("torture")
}
