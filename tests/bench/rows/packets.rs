//! What a relayed packet of sound costs: calls are set up by SIP, then both phones talk.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use kit::wait;

use super::beside::Load;
use super::{Row, Settings, Verdict, median};
use crate::load::{Fleet, Pace, Phase, Preparation, Report, Sound, Work};
use crate::measure::{Measure, Meters};
use crate::peers::kamailio::Setup;
use crate::servers::Side;
use crate::sound::{self, Phone, Talk, Traffic};

const CALLS: [usize; 3] = [100, 500, 1_000];
/// Calls a second while they are set up.
const SET_UP: f64 = 250.0;
const SETTLES_FOR: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

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
                of_peer.push(talking(settings, &peer, calls)?);
            }
            of_ours.push(talking(settings, &side, calls)?);
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

fn talking(settings: &Settings, side: &Side, calls: usize) -> Outcome<Measure> {
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
    let talk = Arc::new(Talk::new());
    let threads = start(settings, phones, &talk);
    thread::sleep(SETTLES_FOR);
    let meters = Meters::start(&side.trees);
    let before = talk.heard();
    thread::sleep(settings.window.count_for);
    let (used, units) = (meters.stop(), talk.heard() - before);
    talk.stop();
    let mut traffic = Traffic::default();
    for thread in threads {
        traffic.add(thread.join().map_err(|_| Failure::new("a phone panicked"))??);
    }
    let mut report = Report::default();
    // What is on its way at the end is not lost: allow a packet for each phone.
    let lost = traffic.sent.saturating_sub(traffic.heard + calls as u64 * 2);
    if lost > 0 {
        report.failed.insert("packets lost".to_owned(), lost);
    }
    let delays = traffic.delays.iter().map(|delay| u32::try_from(*delay).unwrap_or(u32::MAX));
    report.delays = delays.collect();
    report.delays.sort_unstable();
    for (why, count) in fleet.finish()?.failed {
        report.failed.insert(why, count);
    }
    let measure = Measure { used, units, report };
    measure.say(&format!("{} at {calls} calls", side.name));
    Ok(measure)
}

fn start(
    settings: &Settings,
    phones: Vec<Phone>,
    talk: &Arc<Talk>,
) -> Vec<thread::JoinHandle<std::io::Result<Traffic>>> {
    let cores = &settings.cores.load;
    let mut shares: Vec<Vec<Phone>> = cores.iter().map(|_| vec![]).collect();
    for (number, phone) in phones.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % cores.len()) {
            share.push(phone);
        }
    }
    let shares = cores.clone().into_iter().zip(shares);
    let threads = shares.map(|(core, share)| {
        let talk = Arc::clone(talk);
        thread::spawn(move || sound::talk(core, &share, &talk))
    });
    threads.collect()
}
