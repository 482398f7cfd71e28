//! What processes have used, with all that they have started: CPU time and memory, from /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// A server: a process and all its children.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// What it is called in the output.
    pub(crate) name: &'static str,
    /// Its first process.
    pub(crate) root: u32,
    /// A child of it that is a tree of its own.
    pub(crate) without: Option<u32>,
}

struct Process {
    parent: u32,
    /// Its own, and those with its dead children's.
    own: u64,
    ticks: u64,
}

impl Tree {
    /// The CPU time of all processes so far, of those that have ended too.
    pub(crate) fn cpu(&self) -> Duration {
        let all = processes();
        let members = self.members(&all);
        let ticks = members.iter().filter_map(|pid| all.get(pid));
        seconds(ticks.map(|process| process.ticks).sum())
    }

    /// This process and what it has started, which is of use for [`Tree::cpu_alone`].
    pub(crate) fn of_this_process() -> Self {
        Self { name: "load", root: std::process::id(), without: None }
    }

    /// The CPU time of the first process alone, without what it has started.
    pub(crate) fn cpu_alone(&self) -> Duration {
        seconds(process(self.root).map_or(0, |process| process.own))
    }

    /// The memory of all processes in bytes, where shared pages are shared out.
    pub(crate) fn memory(&self) -> u64 {
        self.members(&processes()).iter().map(|pid| proportional(*pid)).sum()
    }

    fn members(&self, all: &BTreeMap<u32, Process>) -> BTreeSet<u32> {
        let mut members = BTreeSet::from([self.root]);
        loop {
            let before = members.len();
            let children = all.iter().filter(|(_, process)| members.contains(&process.parent));
            let children = children.map(|(pid, _)| *pid).filter(|pid| Some(*pid) != self.without);
            members.extend(children.collect::<Vec<u32>>());
            if members.len() == before {
                return members;
            }
        }
    }
}

/// The time that all cores of the machine have been busy, and that its host kept from it.
pub(crate) fn machine() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let at = |place: usize| ticks.get(place).copied().unwrap_or(0);
    // user, nice, system, (idle, waiting,) interrupts, soft interrupts, stolen
    (seconds(at(0) + at(1) + at(2) + at(5) + at(6)), seconds(at(7)))
}

fn seconds(ticks: u64) -> Duration {
    let each = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let each = each.and_then(|each| u32::try_from(each).ok()).unwrap_or(100);
    Duration::from_secs(ticks) / each.max(1)
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

fn process(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold spaces.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // utime, stime, and both of children that have been waited for
    let own = number(11)? + number(12)?;
    let ticks = own + number(13)? + number(14)?;
    Some(Process { parent: u32::try_from(number(1)?).ok()?, own, ticks })
}

fn proportional(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_child_counts_while_it_lives_and_after() {
        let tree = Tree { name: "this test", root: std::process::id(), without: None };
        let before = tree.cpu();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", busy]).status().unwrap();
        assert!(status.success());
        assert!(tree.cpu() > before, "counting to 200,000 took no time");
        assert!(tree.memory() > 100_000);
    }
}
