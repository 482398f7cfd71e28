//! What a registered phone and a call take of memory, 40 s after the last message.
//!
//! By then what RFC 3261 keeps of a transaction (Timer J, 32 s) is gone.

use std::thread;
use std::time::Duration;

use kit::failure::Outcome;

use super::beside::Load;
use super::{Extent, Row, Settings, Verdict};
use crate::load::{Fleet, Pace, Phase, Plan, Preparation, Sound, Work};
use crate::meter::Tree;
use crate::ours::settle;
use crate::peers::kamailio::Setup;
use crate::servers::Side;

pub(super) const RESTS_FOR: Duration = Duration::from_secs(40);
/// Calls before the first look, so that what is made once is not charged to those after.
const WARMING_CALLS: usize = 50;
const CALLS: usize = 1_000;
const SET_UP: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn binding(settings: &Settings) -> Outcome<Vec<Row>> {
    let population = settings.crowd();
    let phones = population.tenants * population.users;
    let load = Load { population, ..Load::new(settings, Work::Options, 0, Preparation::Come) };
    let mut ours = settings.start(population)?;
    // What `apply` needed is not to hide what phones need.
    ours.stop()?;
    ours.run()?;
    let each_of = |side: &Side| -> Outcome<Vec<(&'static str, f64)>> {
        settle(side)?;
        let before = memory(side);
        prepare(&load.plan(settings, side))?;
        thread::sleep(RESTS_FOR);
        Ok(growth(side, &before, phones))
    };
    let mine = each_of(&ours.side()?)?;
    let peer = settings.start_peer(Setup::InMemory, population)?;
    let theirs = match peer.side()? {
        Some(peer) => each_of(&peer)?,
        None => vec![],
    };
    let own = mine.first().map_or(f64::NAN, |(_, each)| *each);
    Ok(vec![Row {
        work: format!("memory (PSS) of a registered phone, {phones} of them, after 40 s"),
        target: "≤ 0.8 KiB",
        ours: told(&mine),
        peer: peer.told(&told(&theirs)),
        result: format!("{own:.2} KiB"),
        verdict: Verdict::at_most(own, 0.8),
    }])
}

pub(super) fn call(settings: &Settings) -> Outcome<Vec<Row>> {
    let mut ours = settings.start(settings.population())?;
    let load = Load::new(settings, Work::Stay(Sound::Described), 0, Preparation::Come);
    prepare(&load.plan(settings, &ours.side()?))?;
    // What all the registrations needed is not to hide what calls need.
    ours.stop()?;
    ours.run()?;
    let side = ours.side()?;
    let load = Load { preparation: Preparation::Nothing, ..load };
    let stay = |count| Load { pace: Pace::Upto { count, rate: SET_UP }, ..load };
    let fleet = up(&stay(WARMING_CALLS).plan(settings, &side), WARMING_CALLS)?;
    fleet.finish()?;
    thread::sleep(RESTS_FOR);
    let before = memory(&side);
    let fleet = up(&stay(CALLS).plan(settings, &side), CALLS)?;
    thread::sleep(RESTS_FOR);
    let mine = growth(&side, &before, CALLS);
    let report = fleet.finish()?;
    let own = mine.first().map_or(f64::NAN, |(_, each)| *each);
    Ok(vec![Row {
        work: format!("memory (PSS) of a call, {CALLS} of them, 40 s after the last answer"),
        target: "≤ 16 KiB",
        ours: match report.failures() {
            0 => told(&mine),
            failed => format!("{}, {failed} failed", told(&mine)),
        },
        peer: "–".to_owned(),
        result: format!("{own:.1} KiB"),
        verdict: Verdict::at_most(own, 16.0),
    }])
}

fn up(plan: &Plan, calls: usize) -> Outcome<Fleet> {
    let fleet = Fleet::start(plan)?;
    fleet.wait_prepared()?;
    fleet.enter(Phase::Running);
    fleet.wait_up(calls / plan.cores.len() * plan.cores.len(), PATIENCE)?;
    Ok(fleet)
}

/// Registers all phones once.
pub(super) fn prepare(plan: &Plan) -> Outcome {
    let fleet = Fleet::start(plan)?;
    fleet.wait_prepared()?;
    let report = fleet.finish()?;
    if report.failures() > 0 {
        eprintln!("  some phones could not register: {:?}", report.failed);
    }
    Ok(())
}

/// What each process tree has.
pub(super) fn memory(side: &Side) -> Vec<u64> {
    side.trees.iter().map(Tree::memory).collect()
}

/// What each has more than before in KiB, for each of so many.
fn growth(side: &Side, before: &[u64], count: usize) -> Vec<(&'static str, f64)> {
    let now = side.trees.iter().zip(memory(side)).zip(before);
    let each = now.map(|((tree, now), before)| {
        let more = now as f64 - *before as f64;
        eprintln!("  {}: {} KiB before, {} KiB now", tree.name, before / 1024, now / 1024);
        (tree.name, more / 1024.0 / count as f64)
    });
    each.collect()
}

fn told(each: &[(&'static str, f64)]) -> String {
    let parts = each.iter().map(|(name, each)| format!("{name} {each:.2} KiB"));
    parts.collect::<Vec<_>>().join(", ")
}

/// How many registrations and calls are many.
pub(super) fn many(settings: &Settings) -> (usize, usize) {
    match settings.extent {
        Extent::Quick => (100_000, 5_000),
        Extent::Full => (400_000, 100_000),
    }
}
