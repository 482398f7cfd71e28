//! How long a large provisioning file takes: when all of it is new, when nothing changes, and when one
//! extension does, until a running server has taken it over.

use std::path::Path;

use kit::failure::{Failure, Outcome};

use super::{Row, Settings, Verdict, median};
use crate::load::Population;
use crate::ours::{Ours, Place, companies};

const POPULATION: Population = Population { tenants: 100, users: 1_000 };

/// What is timed, and how many seconds it may take.
const STEPS: [(&str, &str, f64); 3] = [
    ("all new", "≤ 60 s", 60.0),
    ("nothing changes", "≤ 15 s", 15.0),
    ("one extension changes", "≤ 1.5 s", 1.5),
];

pub(super) fn apply(settings: &Settings) -> Outcome<Vec<Row>> {
    let whole = companies(POPULATION, "");
    let other = whole.replacen("name = \"Phone ", "name = \"Telephone ", 1);
    if other == whole {
        return Err(Failure::new("the file has no name to change"));
    }
    let files = [&whole, &whole, &other];
    let (mut ours, mut before) = (vec![], vec![]);
    for _ in 0..settings.pairs {
        ours.push(times(settings, &settings.program, &files)?);
        if let Some(program) = &settings.before {
            before.push(times(settings, program, &files)?);
        }
    }
    let middle = |runs: &[Vec<f64>], step: usize| {
        median(runs.iter().filter_map(|run| run.get(step).copied()))
    };
    let row = |(step, (what, target, most)): (usize, (&str, &'static str, f64))| {
        let took = middle(&ours, step);
        Row {
            work: format!("`tenantd apply` of 100,000 extensions in 100 companies: {what}"),
            target,
            ours: format!("{took:.2} s"),
            peer: match before.is_empty() {
                true => "–".to_owned(),
                false => format!("tenantd before: {:.2} s", middle(&before, step)),
            },
            result: format!("{took:.2} s"),
            verdict: Verdict::at_most(took, most),
        }
    };
    Ok(STEPS.into_iter().enumerate().map(row).collect())
}

/// Applies these files one after the other to a server that has nothing yet.
fn times(settings: &Settings, program: &Path, files: &[&String]) -> Outcome<Vec<f64>> {
    let mut ours = Ours::prepare(program, &settings.folder.join("ours"), Place::Alone, "")?;
    ours.run()?;
    let times: Vec<f64> = files
        .iter()
        .map(|text| Ok(ours.apply_file(text)?.as_secs_f64()))
        .collect::<Outcome<_>>()?;
    eprintln!("  {}: {times:.2?} s", program.display());
    ours.stop()?;
    Ok(times)
}
