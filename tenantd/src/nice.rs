//! How work that can wait steps back behind calls.

use std::io;

use nix::libc;

/// How many others go first (setpriority(2)).
const NICENESS: i32 = 10;

/// From now on this thread, and whoever it starts, has the processor when nobody else wants it. There is no
/// way back, so it is for threads and processes that end with their work.
///
/// # Errors
/// If the system forbids it.
pub fn step_back() -> io::Result<()> {
    // SAFETY: they take numbers and touch no memory of ours.
    let lowered = unsafe {
        match libc::getpriority(libc::PRIO_PROCESS, 0) {
            ..NICENESS => libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS),
            // Whoever started us let us step back further; to come forward may be forbidden.
            _ => 0,
        }
    };
    if lowered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    /// The 19th word of proc(5)'s `stat`; the second is a name in brackets.
    fn niceness() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let words = stat.rsplit_once(')').unwrap().1;
        words.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_steps_back_and_the_others_stay() {
        let before = niceness();
        let stepped_back = thread::spawn(|| {
            step_back().unwrap();
            niceness()
        });
        assert_eq!(stepped_back.join().unwrap(), NICENESS.max(before));
        assert_eq!(niceness(), before);
    }
}
