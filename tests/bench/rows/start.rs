//! How long a start takes when very many phones are registered.

use kit::failure::Outcome;

use super::beside::Load;
use super::memory::prepare;
use super::{Row, Settings, Verdict, in_words, median};
use crate::load::{Preparation, Work};
use crate::ours::settle;

const MOST: f64 = 1.5;

pub(super) fn start(settings: &Settings) -> Outcome<Vec<Row>> {
    let population = settings.crowd();
    let phones = population.tenants * population.users;
    let mut ours = settings.start_alone(population)?;
    let load = Load { population, ..Load::new(settings, Work::Options, 0, Preparation::Come) };
    prepare(&load.plan(settings, &ours.side()?))?;
    let mut times = vec![];
    for _ in 0..settings.pairs {
        settle(&ours.side()?)?;
        ours.stop()?;
        let took = ours.run()?;
        eprintln!("  ready after {}", in_words(took));
        times.push(took.as_secs_f64());
    }
    let took = median(times);
    Ok(vec![Row {
        work: format!("start with {phones} registered phones to `ready`, its Postgres included"),
        target: "≤ 1.5 s",
        ours: format!("{took:.2} s"),
        peer: "–".to_owned(),
        result: format!("{took:.2} s"),
        verdict: Verdict::at_most(took, MOST),
    }])
}
