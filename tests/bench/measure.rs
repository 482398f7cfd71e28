//! One measurement: a load on a server, and what the server used for it.

use std::thread;
use std::time::{Duration, Instant};

use kit::failure::Outcome;

use crate::load::{Fleet, Phase, Plan, Report};
use crate::meter::{Tree, machine};
use crate::servers::Side;

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_for: Duration,
    pub(crate) count_for: Duration,
}

/// What all meters say at one moment.
struct Reading {
    at: Instant,
    trees: Vec<Duration>,
    own: Duration,
    busy: Duration,
    stolen: Duration,
}

/// What was used between two moments.
#[derive(Debug, Clone)]
pub(crate) struct Used {
    pub(crate) took: Duration,
    /// CPU of each process tree.
    pub(crate) trees: Vec<(&'static str, Duration)>,
    /// Cores that the load, all others, and the machine's host kept busy.
    pub(crate) load: f64,
    pub(crate) others: f64,
    pub(crate) stolen: f64,
}

/// A load's result, with what it cost.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) used: Used,
    pub(crate) units: u64,
    pub(crate) report: Report,
}

/// Meters that run.
pub(crate) struct Meters<'a> {
    trees: &'a [Tree],
    before: Reading,
}

impl<'a> Meters<'a> {
    /// Reads them for the first time.
    pub(crate) fn start(trees: &'a [Tree]) -> Self {
        Self { trees, before: Reading::take(trees) }
    }

    /// Reads them again.
    pub(crate) fn stop(self) -> Used {
        let (before, after) = (self.before, Reading::take(self.trees));
        let took = after.at - before.at;
        let each = self.trees.iter().zip(after.trees.iter().zip(&before.trees));
        let trees: Vec<_> = each
            .map(|(tree, (after, before))| (tree.name, after.saturating_sub(*before)))
            .collect();
        let cores = |used: Duration| used.as_secs_f64() / took.as_secs_f64();
        let own = after.own.saturating_sub(before.own);
        let watched: Duration = trees.iter().map(|(_, used)| *used).sum();
        let busy = after.busy.saturating_sub(before.busy);
        Used {
            took,
            trees,
            load: cores(own),
            others: cores(busy.saturating_sub(own + watched)),
            stolen: cores(after.stolen.saturating_sub(before.stolen)),
        }
    }
}

impl Reading {
    fn take(trees: &[Tree]) -> Self {
        let (busy, stolen) = machine();
        Self {
            at: Instant::now(),
            trees: trees.iter().map(Tree::cpu).collect(),
            own: Tree::of_this_process().cpu_alone(),
            busy,
            stolen,
        }
    }
}

impl Measure {
    /// CPU of all processes in µs for each unit of work.
    pub(crate) fn each(&self) -> f64 {
        self.used.trees.iter().map(|(_, used)| self.share(*used)).sum()
    }

    fn share(&self, used: Duration) -> f64 {
        used.as_secs_f64() * 1e6 / self.units.max(1) as f64
    }

    /// Units of work a second.
    pub(crate) fn rate(&self) -> f64 {
        self.units as f64 / self.used.took.as_secs_f64()
    }

    /// One line of what happened, for whoever watches.
    pub(crate) fn say(&self, name: &str) {
        let parts = self.used.trees.iter();
        let parts = parts.map(|(name, used)| format!("{name} {:.1}", self.share(*used)));
        let delay = |share: f64| f64::from(self.report.delay(share).unwrap_or(0)) / 1e3;
        let Used { load, others, stolen, .. } = self.used;
        eprintln!(
            "  {name}: {:.1} µs each ({}), {:.0}/s, p50 {:.2} p99 {:.2} ms, {} failed {:?}, sent again {:?}; \
             load {load:.2} cores ({:.1} µs each), others {others:.2}, stolen {stolen:.2}",
            self.each(),
            parts.collect::<Vec<_>>().join(", "),
            self.rate(),
            delay(0.5),
            delay(0.99),
            self.report.failures(),
            self.report.failed,
            self.report.repeated,
            load * 1e6 / self.rate().max(1.0),
        );
    }
}

/// Puts this load on a server, lets it warm up, and counts.
pub(crate) fn measure(plan: &Plan, side: &Side, window: Window) -> Outcome<Measure> {
    let fleet = Fleet::start(plan)?;
    fleet.wait_prepared()?;
    fleet.enter(Phase::Running);
    thread::sleep(window.warm_for);
    let meters = Meters::start(&side.trees);
    fleet.enter(Phase::Counting);
    thread::sleep(window.count_for);
    fleet.enter(Phase::Draining);
    let used = meters.stop();
    let report = fleet.finish()?;
    let measure = Measure { used, units: report.done, report };
    measure.say(&side.name);
    Ok(measure)
}
