//! Whether memory comes back: after very many registrations and calls it should be as before.

use std::thread;
use std::time::Duration;

use kit::failure::Outcome;

use super::beside::Load;
use super::memory::{RESTS_FOR, many, memory};
use super::{Row, Settings, Verdict};
use crate::load::{Fleet, Pace, Phase, Preparation, Renewal, Work};
use crate::servers::Side;

const CALL_LASTS: Duration = Duration::from_millis(500);
const CALLS_A_SECOND: f64 = 500.0;
const WINDOW: usize = 64;
/// What has been seen of everything before the first look.
const FIRST: (usize, usize) = (20_000, 1_000);

pub(super) fn growth(settings: &Settings) -> Outcome<Vec<Row>> {
    let ours = settings.start_alone(settings.population())?;
    let side = ours.side()?;
    busy(settings, &side, FIRST)?;
    thread::sleep(RESTS_FOR);
    let before = memory(&side);
    let (registrations, calls) = many(settings);
    busy(settings, &side, (registrations, calls))?;
    let at_once = memory(&side);
    thread::sleep(RESTS_FOR);
    let after = memory(&side);
    // What the first round made large once need not grow again; what leaks does.
    busy(settings, &side, (registrations, calls))?;
    thread::sleep(RESTS_FOR);
    let again = memory(&side);
    let mib = |bytes: &[u64], place: usize| bytes.get(place).copied().unwrap_or(0) >> 20;
    let more = match (before.first(), after.first()) {
        (Some(before), Some(after)) => *after as f64 / *before as f64 - 1.0,
        (_, _) => f64::NAN,
    };
    Ok(vec![Row {
        work: format!("growth after {registrations} registrations and {calls} calls, after 40 s"),
        target: "within 5 %",
        ours: format!(
            "tenantd {} MiB before, {} at once, {} after, {} after as many again; Postgres {} MiB \
             before, {} after",
            mib(&before, 0),
            mib(&at_once, 0),
            mib(&after, 0),
            mib(&again, 0),
            mib(&before, 1),
            mib(&after, 1),
        ),
        peer: "–".to_owned(),
        result: format!("{:+.1} %", more * 100.0),
        verdict: Verdict::at_most(more, 0.05),
    }])
}

fn busy(settings: &Settings, side: &Side, (registrations, calls): (usize, usize)) -> Outcome {
    let register = Work::Register(Renewal::Fresh);
    run(
        settings,
        side,
        Load::new(settings, register, WINDOW, Preparation::Nothing),
        registrations,
    )?;
    let pace = Pace::Upto { count: calls, rate: CALLS_A_SECOND };
    let call = Work::Call(CALL_LASTS);
    let load = Load { pace, ..Load::new(settings, call, 0, Preparation::Come) };
    run(settings, side, load, calls)
}

fn run(settings: &Settings, side: &Side, load: Load, count: usize) -> Outcome {
    let fleet = Fleet::start(&load.plan(settings, side))?;
    fleet.wait_prepared()?;
    fleet.enter(Phase::Counting);
    fleet.wait_done(count, Duration::from_secs(900))?;
    let report = fleet.finish()?;
    eprintln!("  {count} done, {} failed {:?}", report.failures(), report.failed);
    Ok(())
}
