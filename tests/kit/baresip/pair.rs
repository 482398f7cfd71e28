//! Two phones in a call.

use crate::baresip::Phone;
use crate::failure::Outcome;

/// So many packets are a second and a half of sound.
const A_WHILE: u64 = 75;

/// Waits until two phones are in a call and each has heard the other for a while.
///
/// # Errors
/// If one of them is not, or hears nothing, in time.
pub fn talking(one: &mut Phone, other: &mut Phone) -> Outcome {
    established(one, other)?;
    one.wait_for_sound(A_WHILE)?;
    other.wait_for_sound(A_WHILE)
}

/// The first calls the second, which has this number; each hears the other for a while.
///
/// # Errors
/// If the call does not come about, or one of them hears nothing.
pub fn call(caller: &mut Phone, number: &str, callee: &mut Phone) -> Outcome {
    caller.dial(number)?;
    talking(caller, callee)
}

/// The first hangs up; returns once the call is over for both, so that all is written down.
///
/// # Errors
/// If it does not end for one of them.
pub fn part(one: &mut Phone, other: &mut Phone) -> Outcome {
    one.hang_up()?;
    one.wait_for("CALL_CLOSED")?;
    other.wait_for("CALL_CLOSED").map(drop)
}

/// The first calls the second, which has this number, and hangs up after a while; each has heard
/// the tone of the other.
///
/// # Errors
/// If the call does not come about, or one of them heard something else.
pub fn converse(caller: &mut Phone, number: &str, callee: &mut Phone) -> Outcome {
    call(caller, number, callee)?;
    part(caller, callee)?;
    caller.check_heard(callee.tone.into())?;
    callee.check_heard(caller.tone.into())
}

/// The first calls the second, which has this number, and hangs up at once.
///
/// # Errors
/// If the call does not come about.
pub fn briefly(caller: &mut Phone, number: &str, callee: &mut Phone) -> Outcome {
    caller.dial(number)?;
    established(caller, callee)?;
    part(caller, callee)
}

fn established(one: &mut Phone, other: &mut Phone) -> Outcome {
    for phone in [one, other] {
        phone.wait_for("CALL_ESTABLISHED")?;
    }
    Ok(())
}
