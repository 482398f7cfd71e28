//! What a relayed packet of sound costs: calls are set up by SIP, then both phones talk.

use std::time::Duration;

use kit::failure::Outcome;
use kit::wait;

use super::beside::Load;
use super::{Row, Settings, Verdict, median, talking};
use crate::load::{Fleet, Pace, Phase, Preparation, Sound, Work};
use crate::measure::Measure;
use crate::peers::kamailio::Setup;
use crate::servers::Side;
use crate::sound::Phone;

const CALLS: [usize; 3] = [100, 500, 1_000];
/// Calls a second while they are set up.
pub(super) const SET_UP: f64 = 250.0;
/// Until phones that stay have sockets of their own (`media::settling`): lasting calls are measured.
const SETTLES_FOR: Duration = Duration::from_secs(8);
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn packets(settings: &Settings) -> Outcome<Vec<Row>> {
    let population = settings.population();
    let ours = settings.start(population)?;
    let peer = settings.start_peer(Setup::WithSound, population)?;
    let side = ours.side()?;
    let mut rows = vec![];
    for calls in CALLS {
        let (mut of_ours, mut of_peer) = (vec![], vec![]);
        for _ in 0..settings.pairs {
            if let Some(peer) = peer.side()? {
                of_peer.push(calling(settings, &peer, calls)?);
            }
            of_ours.push(calling(settings, &side, calls)?);
        }
        let pairs = of_ours.iter().zip(&of_peer);
        let ratio = median(pairs.map(|(ours, peer)| ours.each() / peer.each()));
        let told = |measures: &[Measure]| {
            let lost: u64 = measures.iter().map(|measure| measure.report.failures()).sum();
            format!("{:.1} µs, {lost} lost", median(measures.iter().map(Measure::each)))
        };
        rows.push(Row {
            work: format!("relayed packet, {calls} calls"),
            target: "≤ 0.6 of rtpengine",
            ours: told(&of_ours),
            peer: peer.told(&told(&of_peer)),
            result: match ratio.is_finite() {
                true => format!("{ratio:.2}"),
                false => "–".to_owned(),
            },
            verdict: match ratio.is_finite() {
                true => Verdict::at_most(ratio, 0.6),
                false => Verdict::Open,
            },
        });
    }
    Ok(rows)
}

/// So many calls that are up, and their phones, which are silent yet.
pub(super) fn up(settings: &Settings, side: &Side, calls: usize) -> Outcome<(Fleet, Vec<Phone>)> {
    let load = Load {
        pace: Pace::Upto { count: calls, rate: SET_UP },
        ..Load::new(settings, Work::Stay(Sound::Sent), 0, Preparation::Come)
    };
    let fleet = Fleet::start(&load.plan(settings, side))?;
    fleet.wait_prepared()?;
    fleet.enter(Phase::Running);
    fleet.wait_up(calls, PATIENCE)?;
    let mut phones = vec![];
    wait::until("both phones of each call", PATIENCE, || {
        phones.extend(fleet.take_talking());
        Ok((phones.len() >= calls * 2).then_some(()))
    })?;
    Ok((fleet, phones))
}

fn calling(settings: &Settings, side: &Side, calls: usize) -> Outcome<Measure> {
    let (fleet, phones) = up(settings, side, calls)?;
    let mut measure = talking::measure(settings, &side.trees, phones, SETTLES_FOR)?;
    measure.report.failed.extend(fleet.finish()?.failed);
    measure.say(&format!("{} at {calls} calls", side.name));
    Ok(measure)
}
