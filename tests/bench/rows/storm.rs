//! The power is back: all phones of all companies start within one second, and repeat by T1.

use std::time::{Duration, Instant};

use kit::failure::Outcome;

use super::beside::Load;
use super::{Extent, Peer, Row, Settings, Verdict, in_words, median};
use crate::load::{Fleet, Pace, Phase, Preparation, Renewal, Work};
use crate::measure::{Measure, Meters};
use crate::ours::settle;
use crate::peers::kamailio::Setup;
use crate::servers::Side;

const STARTS_WITHIN: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(300);

/// How one storm went.
struct Storm {
    over_after: Duration,
    refused: u64,
}

pub(super) fn power_cut(settings: &Settings) -> Outcome<Vec<Row>> {
    let population = settings.crowd();
    let ours = settings.start(population)?;
    let peer = settings.start_peer(Setup::AuthFromPostgres, population)?;
    let side = ours.side()?;
    settle(&side)?;
    let pairs = match settings.extent {
        Extent::Quick => 1,
        Extent::Full => settings.pairs,
    };
    let (mut of_ours, mut of_peer) = (vec![], vec![]);
    for _ in 0..pairs {
        if let Some(peer) = peer.side()? {
            of_peer.push(storm(settings, &peer)?);
        }
        of_ours.push(storm(settings, &side)?);
        settle(&side)?;
    }
    Ok(vec![row(settings, &of_ours, &of_peer, &peer)])
}

fn row(settings: &Settings, ours: &[Storm], of_peer: &[Storm], peer: &Peer) -> Row {
    let population = settings.crowd();
    let phones = population.tenants * population.users;
    let time = |storm: &Storm| storm.over_after.as_secs_f64();
    let told = |storms: &[Storm]| {
        let over = Duration::from_secs_f64(median(storms.iter().map(time)).max(0.0));
        let refused: u64 = storms.iter().map(|storm| storm.refused).sum();
        format!("{}, {refused} final refusals", in_words(over))
    };
    let ratio = median(ours.iter().zip(of_peer).map(|(ours, peer)| time(ours) / time(peer)));
    let refused: u64 = ours.iter().map(|storm| storm.refused).sum();
    Row {
        work: format!(
            "power cut: {phones} phones start within one second, until all are registered"
        ),
        target: "no final refusal, time ≤ 0.5 of Kamailio with auth from Postgres",
        ours: told(ours),
        peer: peer.told(&told(of_peer)),
        result: match ratio.is_finite() {
            true => format!("{ratio:.2}"),
            false => "–".to_owned(),
        },
        verdict: match (ratio.is_finite(), refused) {
            (_, 1..) => Verdict::Missed,
            (true, 0) => Verdict::at_most(ratio, 0.5),
            (false, 0) => Verdict::Open,
        },
    }
}

fn storm(settings: &Settings, side: &Side) -> Outcome<Storm> {
    let load = Load {
        pace: Pace::Burst(STARTS_WITHIN),
        population: settings.crowd(),
        ..Load::new(settings, Work::Register(Renewal::Fresh), 0, Preparation::Go)
    };
    let phones = load.population.tenants * load.population.users;
    let fleet = Fleet::start(&load.plan(settings, side))?;
    fleet.wait_prepared()?;
    settle(side)?;
    let meters = Meters::start(&side.trees);
    let began_at = Instant::now();
    fleet.enter(Phase::Counting);
    fleet.wait_done(phones, PATIENCE)?;
    let over_after = began_at.elapsed();
    let used = meters.stop();
    let report = fleet.finish()?;
    let measure = Measure { used, units: report.done, report };
    measure.say(&side.name);
    eprintln!("  {}: all registered after {}", side.name, in_words(over_after));
    Ok(Storm { over_after, refused: measure.report.failures() })
}
