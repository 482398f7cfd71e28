//! What it costs to record calls: the same calls once recorded and once not, from their first packet until
//! all that is to be done for them is done.
//!
//! Copying and writing while they talk are counted, rendering after their end, the rows, and the way
//! into the object store, which is a folder here. The plain calls are counted for just as long.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kit::failure::Outcome;
use kit::wait;

use super::packets::up;
use super::talking::{Talking, report};
use super::{Extent, Row, Settings, Verdict, median};
use crate::measure::{Measure, Meters};
use crate::ours::{Ours, settle};

const CALLS: usize = 300;
/// Shorter than people talk: what a recording costs once weighs more here.
const TALK_FOR: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(60)];
const RENDERED_WITHIN: Duration = Duration::from_secs(300);
const MOST: f64 = 1.3;

/// When a measurement is over.
enum Until {
    /// So many more recordings are in the object store.
    Kept(usize),
    /// So much time has passed since the last call ended.
    Passed(Duration),
}

pub(super) fn calls(settings: &Settings) -> Outcome<Vec<Row>> {
    let talk_for = match (settings.extent, TALK_FOR) {
        (Extent::Quick, [short, _]) => short,
        (Extent::Full, [_, long]) => long,
    };
    let population = settings.population();
    let ours = settings.start_alone(population)?;
    let (mut recorded, mut plain) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        ours.apply_with(population, "record = \"always\"\n")?;
        let (measure, rested_for) = measure(settings, &ours, (talk_for, Until::Kept(CALLS)))?;
        measure.say("recorded");
        recorded.push(measure);
        ours.apply_with(population, "record = \"off\"\n")?;
        let (measure, _) = self::measure(settings, &ours, (talk_for, Until::Passed(rested_for)))?;
        measure.say("plain");
        plain.push(measure);
    }
    let pairs = recorded.iter().zip(&plain);
    let ratio = median(pairs.map(|(recorded, plain)| recorded.each() / plain.each()));
    let told = |measures: &[Measure]| {
        let lost: u64 = measures.iter().map(|measure| measure.report.failures()).sum();
        format!("{:.1} µs a packet, {lost} lost", median(measures.iter().map(Measure::each)))
    };
    Ok(vec![Row {
        work: format!(
            "{CALLS} relayed calls of {} s, recorded, rendered and stored",
            talk_for.as_secs()
        ),
        target: "≤ 1.3 of plain ones",
        ours: told(&recorded),
        peer: format!("plain: {}", told(&plain)),
        result: format!("{ratio:.2}"),
        verdict: Verdict::at_most(ratio, MOST),
    }])
}

/// Also says for how long something was still done after the last call.
fn measure(
    settings: &Settings,
    ours: &Ours,
    (talk_for, until): (Duration, Until),
) -> Outcome<(Measure, Duration)> {
    let side = ours.side()?;
    settle(&side)?;
    let kept = ours.data().join("objects");
    let before = recordings_in(&kept);
    let (fleet, phones) = up(settings, &side, CALLS)?;
    let meters = Meters::start(&side.trees);
    let talking = Talking::start(settings, phones);
    thread::sleep(talk_for);
    let traffic = talking.stop()?;
    let failed = fleet.finish()?.failed;
    let ended_at = Instant::now();
    match until {
        Until::Passed(rest) => thread::sleep(rest),
        Until::Kept(calls) => wait::until("the recordings in the store", RENDERED_WITHIN, || {
            // Looking for them costs the load, and not the server.
            thread::sleep(Duration::from_millis(200));
            Ok((recordings_in(&kept) >= before + calls).then_some(()))
        })?,
    }
    let (used, rested_for) = (meters.stop(), ended_at.elapsed());
    let mut report = report(&traffic);
    report.failed.extend(failed);
    Ok((Measure { used, units: traffic.heard, report }, rested_for))
}

/// How many recordings a folder holds that is an object store.
fn recordings_in(folder: &Path) -> usize {
    let files = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let tenants = files(&folder.join("tenant"));
    tenants.map(|tenant| files(&tenant.path().join("recordings")).count()).sum()
}
