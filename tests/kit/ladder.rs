//! A call flow as a text file: what was said, line by line, compared with what is kept.
//!
//! With `UPDATE_LADDERS` set (`./infra/test --ladders`) the files are written again, and their
//! difference is the review.

use std::fs;
use std::path::PathBuf;

use crate::failure::{Failure, Outcome};

/// Compares a ladder with `tests/ladders/NAME.ladder`.
///
/// # Errors
/// If they differ, or the file is missing.
pub fn check(name: &str, said: &str) -> Outcome {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("ladders/{name}.ladder"));
    if std::env::var_os("UPDATE_LADDERS").is_some() {
        return Ok(fs::write(&path, said)?);
    }
    let kept = fs::read_to_string(&path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    if kept == said {
        return Ok(());
    }
    let differs = kept.lines().zip(said.lines()).position(|(kept, said)| kept != said);
    let line = differs.unwrap_or(kept.lines().count().min(said.lines().count())) + 1;
    Err(Failure::new(format!(
        "{name}: line {line} differs; ./infra/test --ladders rewrites it\n--- kept\n{kept}\n--- said\n{said}"
    )))
}
