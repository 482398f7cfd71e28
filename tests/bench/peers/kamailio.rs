//! Kamailio, the registrar and proxy that carriers use: with its own configuration and Postgres.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use kit::failure::{Failure, Outcome};
use kit::program::Program;
use kit::wait::{START, until};

use super::postgres::Postgres;
use super::rtpengine::Rtpengine;
use crate::load::Population;
use crate::meter::Tree;
use crate::servers::{self, Side, installed, local};

const CONFIG: &str = include_str!("kamailio.cfg");
const PORT: u16 = 25_060;
/// Shared and private memory in MiB: enough for 100,000 phones.
const MEMORY: (&str, &str) = ("2048", "32");

/// How it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Phones are kept in memory only, and passwords' hashes too.
    InMemory,
    /// Each change of a phone is written to Postgres before its answer, each password asked of it.
    WriteThrough,
    /// The same, with passwords' hashes in memory.
    WriteThroughWithHashes,
    /// Each password is asked of Postgres; phones are written behind.
    AuthFromPostgres,
    /// In memory, with rtpengine for the sound.
    WithSound,
}

/// Beside a tenantd that has those below.
const SOUND_PORTS: RangeInclusive<u16> = 40_000..=54_000;

/// A running Kamailio, and what it needs.
pub(crate) struct Kamailio {
    setup: Setup,
    program: Program,
    postgres: Postgres,
    sound: Option<Rtpengine>,
}

impl Kamailio {
    /// Why it cannot be run here, if so.
    pub(crate) fn missing(setup: Setup) -> Option<&'static str> {
        match setup {
            _ if installed("kamailio").is_none() => Some("Kamailio is not installed"),
            _ if !Postgres::is_installed() => Some("Kamailio's Postgres modules are not installed"),
            Setup::WithSound if !Rtpengine::is_installed() => Some("rtpengine is not installed"),
            Setup::InMemory
            | Setup::WriteThrough
            | Setup::WriteThroughWithHashes
            | Setup::AuthFromPostgres
            | Setup::WithSound => None,
        }
    }

    /// Starts it in an empty folder, with these users.
    pub(crate) fn start(folder: &Path, setup: Setup, population: Population) -> Outcome<Self> {
        servers::empty(folder)?;
        let postgres = Postgres::start(&folder.join("postgres"), population)?;
        postgres.forget_phones()?;
        let sound = match setup {
            Setup::WithSound => Some(Rtpengine::start(folder, &SOUND_PORTS)?),
            Setup::InMemory
            | Setup::WriteThrough
            | Setup::WriteThroughWithHashes
            | Setup::AuthFromPostgres => None,
        };
        let config = folder.join("kamailio.cfg");
        fs::write(&config, CONFIG)?;
        let path = installed("kamailio").ok_or_else(|| Failure::new("Kamailio is missing"))?;
        let mut command = Command::new(path);
        command.arg("-f").arg(&config).args(["-m", MEMORY.0, "-M", MEMORY.1, "-DD", "-E", "-e"]);
        command.arg("-Y").arg(folder).arg("-P").arg(folder.join("kamailio.pid"));
        for define in defines(setup) {
            command.args(["-A", define]);
        }
        let program = Program::start(&mut command, &folder.join("kamailio.log"))?;
        until("Kamailio", START, || Ok(servers::answers(local(PORT)).then_some(())))
            .map_err(|failure| Failure::new(format!("{failure}: {}", program.printed())))?;
        Ok(Self { setup, program, postgres, sound })
    }

    /// Its processes with Postgres's and rtpengine's.
    pub(crate) fn side(&self) -> Side {
        let own = Tree { name: "Kamailio", root: self.program.pid(), without: None };
        let sound = self.sound.iter().map(Rtpengine::tree);
        Side {
            name: match self.setup {
                Setup::InMemory => "Kamailio in memory",
                Setup::WriteThrough => "Kamailio write-through, 16 workers, auth from Postgres",
                Setup::WriteThroughWithHashes => "Kamailio write-through, 16 workers, hashes kept",
                Setup::AuthFromPostgres => "Kamailio, auth from Postgres",
                Setup::WithSound => "Kamailio with rtpengine",
            }
            .to_owned(),
            address: local(PORT),
            trees: [own, self.postgres.tree()].into_iter().chain(sound).collect(),
        }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its workers end with it, if it is asked.
        let _ = servers::end(&mut self.program);
    }
}

fn defines(setup: Setup) -> &'static [&'static str] {
    match setup {
        Setup::InMemory => &["LOCATIONS=0"],
        Setup::WriteThrough => &["LOCATIONS=1", "WORKERS=16", "AUTH_FROM_POSTGRES"],
        Setup::WriteThroughWithHashes => &["LOCATIONS=1", "WORKERS=16"],
        Setup::AuthFromPostgres => &["LOCATIONS=2", "AUTH_FROM_POSTGRES"],
        Setup::WithSound => &["LOCATIONS=0", "SOUND"],
    }
}
