//! How many calls are relayed in time, and how late they are beside others that are converted.
//!
//! Whether a count holds depends on the machine and on who else uses it: the row says how busy
//! others kept it.

use std::time::Duration;

use kit::failure::Outcome;

use super::relayed::{self, Calls, Kind, Pairs, SETTLES_FOR, Stage, failures};
use super::{Row, Settings, Verdict, median, talking};
use crate::measure::Measure;
use crate::relays::Who;

/// Counts of calls, of which one is tried after the other.
const STEPS: [usize; 11] = [250, 500, 750, 1_000, 1_250, 1_500, 1_750, 2_000, 2_500, 3_000, 3_500];
/// What the target asks for, and where it begins.
const ENOUGH: usize = 1_500;
/// One in a hundred packets may be later.
const LATE: Duration = Duration::from_millis(1);
/// Phones that send fewer packets than they should have no cores left, and say nothing of the relay.
const KEPT_UP: f64 = 0.99;
const RELAYED: usize = 100;
const CONVERTED: usize = 100;

/// What was tried.
struct Try {
    calls: usize,
    measure: Measure,
}

impl Try {
    fn run(settings: &Settings, who: Who, calls: usize) -> Outcome<Self> {
        let mut stage = Stage::start(settings, who)?;
        stage.connect(Calls { count: calls, between: [Kind::Plain; 2] })?;
        let trees = [stage.relay.tree()];
        let phones = std::mem::take(&mut stage.phones);
        let measure = talking::measure(settings, &trees, phones, SETTLES_FOR)?;
        measure.say(&format!("{who:?} at {calls} calls"));
        if let Some(counted) = stage.relay.counted()? {
            eprintln!("    {counted}");
        }
        Ok(Self { calls, measure })
    }

    fn holds(&self) -> bool {
        self.measure.report.failures() == 0 && late(&self.measure) < LATE && self.kept_up()
    }

    fn kept_up(&self) -> bool {
        let lost = self.measure.report.failures() as f64;
        self.measure.units as f64 + lost >= self.wanted() * KEPT_UP
    }

    /// Packets of all phones, 50 a second each.
    fn wanted(&self) -> f64 {
        self.calls as f64 * 100.0 * self.measure.used.took.as_secs_f64()
    }

    fn told(&self) -> String {
        let Self { calls, measure } = self;
        let idle = if self.kept_up() { "" } else { ", the phones themselves too slow" };
        let used = measure.used.trees.iter().map(|(_, used)| used.as_secs_f64()).sum::<f64>();
        format!(
            "{calls} calls: p99 {:.2} ms{}{idle}, {:.2} cores, others {:.1}",
            late(measure).as_secs_f64() * 1e3,
            failures(std::slice::from_ref(measure)),
            used / measure.used.took.as_secs_f64(),
            measure.used.others,
        )
    }
}

/// The delay that one packet in a hundred exceeds.
fn late(measure: &Measure) -> Duration {
    Duration::from_micros(measure.report.delay(0.99).unwrap_or(0).into())
}

pub(super) fn most_calls(settings: &Settings) -> Outcome<Vec<Row>> {
    let ours = climb(settings, Who::Ours)?;
    let missing = relayed::missing(settings);
    let peer = match missing {
        None => climb(settings, Who::Rtpengine)?,
        Some(_) => vec![],
    };
    let held = most_held(&ours);
    Ok(vec![Row {
        work: "calls relayed on 2 cores, no packet lost, p99 of the added delay < 1 ms".to_owned(),
        target: "≥ 1,500",
        ours: told(&ours),
        peer: missing.map_or_else(|| format!("rtpengine: {}", told(&peer)), str::to_owned),
        result: format!("{held} beside {}", most_held(&peer)),
        verdict: if held >= ENOUGH { Verdict::Met } else { Verdict::Missed },
    }])
}

/// Up from where the target is as long as it holds, else down until it does.
fn climb(settings: &Settings, who: Who) -> Outcome<Vec<Try>> {
    let first = Try::run(settings, who, ENOUGH)?;
    let (goes_up, mut tries) = (first.holds(), vec![first]);
    let mut steps: Vec<usize> = match goes_up {
        true => STEPS.into_iter().filter(|step| *step > ENOUGH).collect(),
        false => STEPS.into_iter().rev().filter(|step| *step < ENOUGH).collect(),
    };
    if settings.extent == super::Extent::Quick {
        // Every other step: a minute for both.
        steps = steps.into_iter().skip(usize::from(!goes_up)).step_by(2).collect();
    }
    for calls in steps {
        let tried = Try::run(settings, who, calls)?;
        let holds = tried.holds();
        tries.push(tried);
        if holds != goes_up {
            break;
        }
    }
    Ok(tries)
}

fn most_held(tries: &[Try]) -> usize {
    tries.iter().filter(|tried| tried.holds()).map(|tried| tried.calls).max().unwrap_or(0)
}

/// The last that held and the first that did not.
fn told(tries: &[Try]) -> String {
    let held = tries.iter().filter(|tried| tried.holds()).max_by_key(|tried| tried.calls);
    let not = tries.iter().filter(|tried| !tried.holds()).min_by_key(|tried| tried.calls);
    let parts = [("", held), ("not ", not)];
    let parts =
        parts.into_iter().filter_map(|(how, tried)| Some(format!("{how}{}", tried?.told())));
    parts.collect::<Vec<_>>().join("; ")
}

/// Calls that are converted take long turns of the threads that relay others.
pub(super) fn beside_converted(settings: &Settings) -> Outcome<Vec<Row>> {
    let plain = Calls { count: RELAYED, between: [Kind::Plain; 2] };
    let converted = Calls { count: CONVERTED, between: [Kind::Alaw, Kind::Opus] };
    // Once alone, to see what the machine does to it: a minute for all.
    let alone = Pairs::measure(&Settings { pairs: 1, ..settings.clone() }, &[plain])?;
    let both = Pairs::measure(settings, &[plain, converted])?;
    let p99 =
        |measures: &[Measure]| median(measures.iter().map(|one| late(one).as_secs_f64() * 1e3));
    let told = |alone: &[Measure], both: &[Measure]| {
        format!("{:.2} ms alone, {:.2} ms beside{}", p99(alone), p99(both), failures(both))
    };
    let peer = both.peer_told(|measures| told(&alone.peer, measures));
    Ok(vec![Row {
        work: format!(
            "p99 of the added delay, {RELAYED} relayed calls beside {CONVERTED} converted ones"
        ),
        target: "< 1 ms",
        ours: told(&alone.ours, &both.ours),
        peer,
        result: format!("{:.2} ms", p99(&both.ours)),
        verdict: Verdict::at_most(p99(&both.ours), LATE.as_secs_f64() * 1e3),
    }])
}
