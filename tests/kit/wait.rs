//! Waiting for something real to happen: until it does, or for so long and no longer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// How long a start of a server with an empty database may take on a slow machine.
pub const START: Duration = Duration::from_secs(60);

/// How long anything may take that needs a network round trip or two.
pub const SOON: Duration = Duration::from_secs(15);

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Looks again and again until there is something.
///
/// # Errors
/// Names `what` if it has not come `within` this time.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let began_at = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began_at.elapsed() > within {
            return Err(Failure::new(format!("{what}: not within {} s", within.as_secs_f32())));
        }
        sleep(LOOK_AGAIN_AFTER);
    }
}

/// Looks again and again for that time, and fails as soon as there is something to object to.
///
/// # Errors
/// With the objection.
pub fn unless(within: Duration, mut objection: impl FnMut() -> Outcome<Option<String>>) -> Outcome {
    let began_at = Instant::now();
    while began_at.elapsed() < within {
        if let Some(objection) = objection()? {
            return Err(Failure::new(objection));
        }
        sleep(LOOK_AGAIN_AFTER);
    }
    Ok(())
}
