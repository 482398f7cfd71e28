//! Whether many small companies cost more than one large one: the same users, told apart or not.

use std::time::Duration;

use kit::failure::Outcome;

use super::beside::Load;
use super::{Row, Settings, Verdict, median};
use crate::load::{Pace, Population, Preparation, Renewal, Work};
use crate::measure::{Measure, measure};
use crate::ours::{Ours, Place, settle};

const ONE: Population = Population { tenants: 1, users: 20_000 };
const MANY: Population = Population { tenants: 10_000, users: 2 };
/// One company is served by one lane, so the load is one that a lane can bear.
const REGISTRATIONS: f64 = 8_000.0;
const CALLS: f64 = 200.0;

pub(super) fn scale(settings: &Settings) -> Outcome<Vec<Row>> {
    let one = Ours::start(&settings.program, &settings.folder.join("one"), Place::First, ONE)?;
    let many = Ours::start(&settings.program, &settings.folder.join("many"), Place::Second, MANY)?;
    let (one, many) = (one.side()?, many.side()?);
    let register = Work::Register(Renewal::Refresh);
    let call = Work::Call(Duration::from_secs(1));
    let mut rows = vec![];
    for (name, work, rate) in [("REGISTER refresh", register, REGISTRATIONS), ("call", call, CALLS)]
    {
        let load =
            Load { pace: Pace::Rate(rate), ..Load::new(settings, work, 0, Preparation::Come) };
        let (mut of_one, mut of_many) = (vec![], vec![]);
        for _ in 0..settings.pairs {
            for (side, population, measures) in
                [(&one, ONE, &mut of_one), (&many, MANY, &mut of_many)]
            {
                settle(side)?;
                let load = Load { population, ..load };
                measures.push(measure(&load.plan(settings, side), side, load.window)?);
            }
        }
        let pairs = of_many.iter().zip(&of_one);
        let ratio = median(pairs.map(|(many, one)| many.each() / one.each()));
        let told =
            |measures: &[Measure]| format!("{:.1} µs", median(measures.iter().map(Measure::each)));
        rows.push(Row {
            work: format!("{name}, 10,000 companies with 2 phones beside 1 with 20,000"),
            target: "within 15 %",
            ours: told(&of_many),
            peer: format!("one company: {}", told(&of_one)),
            result: format!("{ratio:.2}"),
            verdict: Verdict::at_most(ratio, 1.15),
        });
    }
    Ok(rows)
}
