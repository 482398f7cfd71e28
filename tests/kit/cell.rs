//! The process in which tenantd reads an uploaded recording, run as tenantd runs it.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, Outcome};
use crate::folder::Folder;
use crate::server::tenantd;
use crate::wait;

/// What it takes at most, as tenantd does unless it is told otherwise.
const LARGEST: u64 = 32 << 20;
const LONGEST: Duration = Duration::from_secs(600);
/// A cell's own limit on the processor's time is below this.
const WITHIN: Duration = Duration::from_secs(100);

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// With so many samples.
    Samples(usize),
    /// With a refusal of this word.
    Refused(String),
    /// It was ended, by this signal.
    Ended(i32),
}

/// Has a recording read.
///
/// # Errors
/// If the process says what no reader says, or goes on for too long.
pub fn read(folder: &Folder, bytes: &[u8]) -> Outcome<Said> {
    let (input, output) = (folder.path().join("cell-in"), folder.path().join("cell-out"));
    std::fs::write(&input, bytes)?;
    let longest = LONGEST.as_millis();
    let mut cell = Command::new(tenantd()?)
        .args(["read-sound", &format!("--largest={LARGEST}"), &format!("--longest-ms={longest}")])
        .env_clear()
        .stdin(File::open(input)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut out = cell.stdout.take().ok_or_else(|| Failure::new("no output"))?;
    let copied = std::thread::spawn(move || {
        let mut said = Vec::new();
        out.read_to_end(&mut said).map(|_| said)
    });
    let status = wait::until("the end of a cell", WITHIN, || Ok(cell.try_wait()?));
    if status.is_err() {
        cell.kill()?;
    }
    let status = status?;
    let said = copied.join().map_err(|_| Failure::new("the reader panicked"))??;
    std::fs::write(output, &said)?;
    if let Some(signal) = status.signal() {
        return Ok(Said::Ended(signal));
    }
    let end = said.iter().position(|byte| *byte == b'\n').unwrap_or(said.len());
    let (line, samples) = said.split_at(end);
    let line = String::from_utf8(line.to_vec())?;
    match line.split_once(' ') {
        Some(("refused", word)) => Ok(Said::Refused(word.to_owned())),
        Some(("samples", count)) if samples.len() == 1 + 2 * count.parse::<usize>()? => {
            Ok(Said::Samples(count.parse()?))
        }
        Some(_) | None => Err(Failure::new(format!("{status}: {line:?}, {} bytes", samples.len()))),
    }
}
