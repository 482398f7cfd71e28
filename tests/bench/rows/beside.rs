//! Rows that put the same load on ours and on a peer in turn: what a piece of signalling costs.

use std::time::Duration;

use kit::failure::Outcome;

use super::{Peer, Row, Settings, Verdict, median};
use crate::load::{Pace, Plan, Population, Preparation, Renewal, Work};
use crate::measure::{Measure, Window, measure};
use crate::ours::settle;
use crate::peers::kamailio::Setup;
use crate::servers::Side;

/// Requests in flight at the same time.
const WINDOW: usize = 64;
/// So many write-through workers need more to be busy.
const WIDE_WINDOW: usize = 128;
const CALL_LASTS: Duration = Duration::from_secs(1);
/// Calls a second: what both sides can do without refusing any.
const CALLS: f64 = 400.0;
const CALLS_FOR_DELAY: f64 = 200.0;

/// What a side is asked to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) work: Work,
    pub(super) pace: Pace,
    pub(super) preparation: Preparation,
    pub(super) population: Population,
    pub(super) window: Window,
}

/// Measurements of both sides, one after the other.
pub(super) struct Pairs {
    pub(super) ours: Vec<Measure>,
    pub(super) peer: Vec<Measure>,
}

pub(super) fn options(settings: &Settings) -> Outcome<Vec<Row>> {
    let load = Load::new(settings, Work::Options, WINDOW, Preparation::Nothing);
    let row = ("OPTIONS to the server", "≤ 0.7 of Kamailio", 0.7);
    signalling(settings, Setup::InMemory, load, row)
}

pub(super) fn refresh(settings: &Settings) -> Outcome<Vec<Row>> {
    let work = Work::Register(Renewal::Refresh);
    let load = Load::new(settings, work, WINDOW, Preparation::Come);
    let row = ("REGISTER refresh, nonce used again", "≤ 0.5 of Kamailio in memory", 0.5);
    signalling(settings, Setup::InMemory, load, row)
}

pub(super) fn change(settings: &Settings) -> Outcome<Vec<Row>> {
    let work = Work::Register(Renewal::Change);
    let load = Load::new(settings, work, WIDE_WINDOW, Preparation::Go);
    let work =
        "REGISTER that adds or removes a phone each time, with challenge, committed before its 200";
    let row = (work, "≤ 0.15 of Kamailio write-through", 0.15);
    let mut rows = signalling(settings, Setup::WriteThrough, load, row)?;
    let row = ("the same", "beside one that asks Postgres for no password", 0.15);
    rows.extend(signalling(settings, Setup::WriteThroughWithHashes, load, row)?);
    Ok(rows)
}

pub(super) fn fresh(settings: &Settings) -> Outcome<Vec<Row>> {
    let work = Work::Register(Renewal::Fresh);
    let load = Load::new(settings, work, WINDOW, Preparation::Come);
    let row = ("REGISTER with challenge, same contact", "≤ 0.9 of Kamailio in memory", 0.9);
    signalling(settings, Setup::InMemory, load, row)
}

pub(super) fn call(settings: &Settings) -> Outcome<Vec<Row>> {
    let population = settings.population();
    let ours = settings.start(population)?;
    let peer = settings.start_peer(Setup::WithSound, population)?;
    let mut load =
        Load { pace: Pace::Rate(CALLS), ..Load::new(settings, CALL, WINDOW, Preparation::Come) };
    let pairs = compare(settings, load, &ours.side()?, &peer)?;
    let name =
        "call with media anchored: INVITE, 407, INVITE, 180, 200, ACK, 1 s, BYE, 400 a second";
    let whole = pairs.cost(name, "≤ 0.5 of Kamailio with rtpengine", 0.5, &peer);
    load.pace = Pace::Rate(CALLS_FOR_DELAY);
    let pairs = compare(settings, load, &ours.side()?, &peer)?;
    let set_up =
        pairs.delay("its set-up, 99th percentile, 200 a second", "≤ 0.75 of the same", 0.75);
    Ok(vec![whole, set_up])
}

const CALL: Work = Work::Call(CALL_LASTS);

fn signalling(
    settings: &Settings,
    setup: Setup,
    load: Load,
    (work, target, most): (&str, &'static str, f64),
) -> Outcome<Vec<Row>> {
    let ours = settings.start(load.population)?;
    let peer = settings.start_peer(setup, load.population)?;
    let pairs = compare(settings, load, &ours.side()?, &peer)?;
    Ok(vec![pairs.cost(work, target, most, &peer)])
}

/// Puts the load on both sides in turn, the peer first.
pub(super) fn compare(settings: &Settings, load: Load, ours: &Side, peer: &Peer) -> Outcome<Pairs> {
    let mut pairs = Pairs { ours: vec![], peer: vec![] };
    let peer = peer.side()?;
    settle(ours)?;
    for _ in 0..settings.pairs {
        if let Some(peer) = &peer {
            pairs.peer.push(measure(&load.plan(settings, peer), peer, load.window)?);
        }
        pairs.ours.push(measure(&load.plan(settings, ours), ours, load.window)?);
        settle(ours)?;
    }
    Ok(pairs)
}

impl Load {
    pub(super) fn new(
        settings: &Settings,
        work: Work,
        window: usize,
        preparation: Preparation,
    ) -> Self {
        Self {
            work,
            pace: Pace::Window(window),
            preparation,
            population: settings.population(),
            window: settings.window,
        }
    }

    pub(super) fn plan(self, settings: &Settings, side: &Side) -> Plan {
        Plan {
            target: side.address,
            work: self.work,
            pace: self.pace,
            population: self.population,
            preparation: self.preparation,
            cores: settings.cores.load.clone(),
        }
    }
}

impl Pairs {
    fn ratio(&self, of: impl Fn(&Measure) -> f64) -> Option<f64> {
        let pairs = self.ours.iter().zip(&self.peer);
        let ratio = median(pairs.map(|(ours, peer)| of(ours) / of(peer)));
        ratio.is_finite().then_some(ratio)
    }

    /// A row about CPU for each piece of work.
    fn cost(&self, work: &str, target: &'static str, most: f64, peer: &Peer) -> Row {
        let told = |measures: &[Measure]| {
            let failed: u64 = measures.iter().map(|measure| measure.report.failures()).sum();
            let failed = match failed {
                0 => String::new(),
                failed => format!(", {failed} failed"),
            };
            let each = median(measures.iter().map(Measure::each));
            let rate = median(measures.iter().map(Measure::rate));
            format!("{each:.1} µs, {rate:.0}/s{failed}")
        };
        let ratio = self.ratio(Measure::each);
        Row {
            work: work.to_owned(),
            target,
            ours: told(&self.ours),
            peer: peer.told(&told(&self.peer)),
            result: ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            verdict: ratio.map_or(Verdict::Open, |ratio| Verdict::at_most(ratio, most)),
        }
    }

    /// A row about the delay that one in a hundred exceeds.
    fn delay(&self, work: &str, target: &'static str, most: f64) -> Row {
        let late = |measure: &Measure| f64::from(measure.report.delay(0.99).unwrap_or(0)) / 1e3;
        let told = |measures: &[Measure]| match measures {
            [] => "–".to_owned(),
            some => format!("{:.2} ms", median(some.iter().map(late))),
        };
        let ratio = self.ratio(late);
        Row {
            work: work.to_owned(),
            target,
            ours: told(&self.ours),
            peer: told(&self.peer),
            result: ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            verdict: ratio.map_or(Verdict::Open, |ratio| Verdict::at_most(ratio, most)),
        }
    }
}
