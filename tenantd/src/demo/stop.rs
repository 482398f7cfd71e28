//! Ending a demo from another terminal.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Failure;
use crate::lock::{Lock, Owner};

const STOP_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Ends the demo that runs in this folder.
///
/// # Errors
/// If none runs there, or it does not end.
pub fn stop(data_dir: &Path) -> Result<(), Failure> {
    let Some(Owner { pid: Some(pid), .. }) = Lock::owner(data_dir)? else {
        return Err(Failure::NotRunning(data_dir.display().to_string()));
    };
    // Gone in this moment is what we want.
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let give_up_at = Instant::now() + STOP_WITHIN;
    while Instant::now() < give_up_at {
        if Lock::owner(data_dir)?.is_none() {
            return Ok(());
        }
        sleep(LOOK_AGAIN_AFTER);
    }
    Err(Failure::DoesNotEnd(pid))
}
