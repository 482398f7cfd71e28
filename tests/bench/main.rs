//! What tenantd costs beside its peers: starts them in turn, loads them alike, prints a table.
//!
//! `tests/bench/run --help` says how it is used; `docs/figures.md` keeps what it found.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use kit::failure::{Failure, Outcome};
use kit::folder::Folder;

mod ground;
mod load;
mod measure;
mod meter;
mod ours;
mod peers;
mod relays;
mod rows;
mod servers;
mod sound;
mod table;

use ground::Cores;
use measure::Window;
use rows::{Extent, Settings};

const HELP: &str = "\
tests/bench/run [ROW…] [--pairs N] [--seconds N] [--full] [--before F] [--list]

  ROW          only these rows; a row's name or its beginning
  --pairs N    so many measurements of each side, one after the other (3)
  --seconds N  each so long (5)
  --full       as many phones and calls as the targets say, not fewer
  --before F   compare with F, an earlier build of tenantd, instead of the peers
  --list       which rows there are
";

/// What was asked for on the command line.
struct Asked {
    rows: Vec<String>,
    pairs: usize,
    seconds: u64,
    extent: Extent,
    before: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, what, _) in rows::ALL {
            println!("{name:18} {what}");
        }
        return ExitCode::SUCCESS;
    }
    let done = match arguments.as_slice() {
        [only] if only == relays::SERVE => relays::serve(),
        _ => Asked::read(arguments).and_then(|asked| run(&asked)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &Asked) -> Outcome {
    let network = ground::enter_own_network();
    ground::open_many_files()?;
    let cores = Cores::split();
    // Servers inherit it; the threads of the load choose their own.
    sound::pin(&cores.servers)?;
    let mut folder = Folder::new("figures")?;
    let window =
        Window { warm_for: Duration::from_secs(2), count_for: Duration::from_secs(asked.seconds) };
    println!("{}", table::conditions(&cores, network));
    println!("{}", table::HEAD);
    let mut failures = 0;
    for (name, what, row) in rows::ALL.iter().filter(|(name, ..)| asked.wants(name)) {
        eprintln!("{name}: {what}");
        let settings = Settings {
            pairs: asked.pairs,
            window,
            extent: asked.extent,
            cores: cores.clone(),
            folder: folder.path().join(name),
            program: ours::built()?,
            before: asked.before.clone(),
        };
        match row(&settings) {
            Ok(rows) => {
                rows.iter().for_each(|row| println!("{}", table::line(row)));
                // The next row's databases need the room.
                servers::empty(&settings.folder)?;
            }
            Err(failure) => {
                failures += 1;
                folder.keep();
                println!("| {what} | not measured: {failure} | | | | |");
            }
        }
    }
    match failures {
        0 => Ok(()),
        failures => Err(Failure::new(format!("{failures} rows were not measured"))),
    }
}

impl Asked {
    fn read(arguments: Vec<String>) -> Outcome<Self> {
        let mut asked =
            Self { rows: vec![], pairs: 3, seconds: 5, extent: Extent::Quick, before: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut number = || -> Outcome<u64> {
                let value = arguments.next().unwrap_or_default();
                let number = value.parse().ok().filter(|number| *number > 0);
                number.ok_or_else(|| Failure::new(format!("{argument} wants a number\n\n{HELP}")))
            };
            match argument.as_str() {
                "--pairs" => asked.pairs = usize::try_from(number()?)?,
                "--seconds" => asked.seconds = number()?,
                "--before" => {
                    let path = arguments.next().unwrap_or_default();
                    asked.before = Some(Path::new(&path).canonicalize()?);
                }
                "--full" => asked.extent = Extent::Full,
                row if rows::ALL.iter().any(|(name, ..)| name.starts_with(row)) => {
                    asked.rows.push(argument);
                }
                unknown => return Err(Failure::new(format!("{unknown} is not known\n\n{HELP}"))),
            }
        }
        Ok(asked)
    }

    fn wants(&self, name: &str) -> bool {
        let is_row = |row: &String| rows::ALL.iter().any(|(name, ..)| name == row);
        let wanted = |row: &String| name == row || !is_row(row) && name.starts_with(row.as_str());
        self.rows.is_empty() || self.rows.iter().any(wanted)
    }
}
