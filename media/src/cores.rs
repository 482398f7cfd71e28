//! Which core a thread of sound stays on, where it is to stay on one.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Whether threads of sound stay on cores of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pinning {
    /// The kernel moves them as it likes.
    #[default]
    Free,
    /// Each has a core that it stays on, unless there are more threads than cores.
    Pinned,
}

/// A core for each of so many threads, out of those that this process may use; none if there are too few.
pub(crate) fn cores_for(threads: usize, pinning: Pinning) -> Vec<usize> {
    match pinning {
        Pinning::Free => vec![],
        Pinning::Pinned => share(allowed().unwrap_or_default(), threads),
    }
}

fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

fn share(mut cores: Vec<usize>, threads: usize) -> Vec<usize> {
    if cores.len() < threads {
        return vec![];
    }
    cores.truncate(threads);
    cores
}

/// Keeps the present thread on this core.
pub(crate) fn stay_on(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_a_core_of_its_own_or_none_has() {
        assert_eq!(share(vec![1, 3, 5], 2), [1, 3]);
        assert_eq!(share(vec![1, 3, 5], 3), [1, 3, 5]);
        assert_eq!(share(vec![1, 3, 5], 4), [0; 0]);
        assert_eq!(cores_for(1, Pinning::Free), [0; 0]);
    }

    #[test]
    fn a_thread_stays_where_it_is_put_among_those_it_may_use() {
        let stayed = std::thread::spawn(|| {
            let core = cores_for(1, Pinning::Pinned)[0];
            stay_on(core).unwrap();
            (core, allowed().unwrap(), cores_for(2, Pinning::Pinned))
        });
        let (core, allowed, for_two) = stayed.join().unwrap();
        assert_eq!((allowed, for_two), (vec![core], vec![]));
    }
}
