//! What a member of a conference costs beside a leg of a call that is converted, and whether a large
//! conference lets other calls' packets wait.

use kit::failure::Outcome;

use super::relayed::{Calls, Kind, Stage};
use super::{Row, Settings, Verdict, median};
use crate::measure::Measure;
use crate::relays::Who;

/// So many members there are in all, in conferences of each size.
const MEMBERS: u16 = 100;
/// As many legs are converted beside them.
const CONVERTED: Calls = Calls { count: 50, between: [Kind::Alaw, Kind::Opus] };
const RELAYED: Calls = Calls { count: 100, between: [Kind::Plain, Kind::Plain] };
/// Who speaks at the same time, where people are polite.
const SPEAKERS: u16 = 2;

/// A member of a small, a middle and a large conference.
pub(super) fn members(settings: &Settings) -> Outcome<Vec<Row>> {
    let legs = repeated(settings, |stage| stage.connect(CONVERTED), "converted legs")?;
    let leg = median(legs.iter().map(Measure::each));
    let mut rows = vec![];
    for (size, speakers, who) in [
        (3, SPEAKERS, "two speak"),
        (20, SPEAKERS, "two speak"),
        (100, SPEAKERS, "two speak"),
        (100, MEMBERS, "all speak at once"),
    ] {
        let meet = |stage: &mut Stage| stage.meet(u64::from(MEMBERS / size), size, speakers);
        let told = format!("conferences of {size}, {who}");
        let each = median(repeated(settings, meet, &told)?.iter().map(Measure::each));
        rows.push(Row {
            work: format!("a packet for a member of a conference of {size}, {who}"),
            target: "≤ 1.5 of a converted leg",
            ours: format!("{each:.1} µs"),
            peer: format!("A-law ↔ Opus: {leg:.1} µs"),
            result: format!("{:.2}", each / leg),
            verdict: Verdict::at_most(each / leg, 1.5),
        });
    }
    Ok(rows)
}

/// Packets of calls that share their threads with a conference.
pub(super) fn beside(settings: &Settings) -> Outcome<Vec<Row>> {
    let alone = repeated(settings, |stage| stage.connect(RELAYED), "relayed calls alone")?;
    let meet = |stage: &mut Stage| {
        stage.connect(RELAYED)?;
        stage.meet(1, MEMBERS, SPEAKERS)
    };
    let beside = repeated(settings, meet, "relayed calls beside a conference")?;
    let late = |measures: &[Measure], share: usize| {
        let of = |measure: &Measure| {
            let delays = &measure.report.delays;
            delays.get(delays.len() * share / 1_000).copied().unwrap_or(0)
        };
        median(measures.iter().map(|measure| f64::from(of(measure)))) / 1_000.0
    };
    let more = late(&beside, 990) - late(&alone, 990);
    let told = |measures: &[Measure]| {
        let (half, p99, p999) = (late(measures, 500), late(measures, 990), late(measures, 999));
        format!("{half:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms")
    };
    Ok(vec![Row {
        work: format!("a relayed packet's delay beside a conference of {MEMBERS}"),
        target: "p99 ≤ 1 ms more than without it",
        ours: told(&beside),
        peer: format!("alone: {}", told(&alone)),
        result: format!("{more:.2} ms"),
        verdict: Verdict::at_most(more, 1.0),
    }])
}

fn repeated(
    settings: &Settings,
    set: impl Fn(&mut Stage) -> Outcome,
    what: &str,
) -> Outcome<Vec<Measure>> {
    let measure = |_| {
        let mut stage = Stage::start(settings, Who::Ours)?;
        set(&mut stage)?;
        stage.measure(settings, what)
    };
    (0..settings.pairs).map(measure).collect()
}
