//! The rows of the table: what each measures, against whom, and what it should come to.

use std::path::PathBuf;
use std::time::Duration;

use kit::failure::Outcome;

use crate::ground::Cores;
use crate::load::Population;
use crate::measure::Window;
use crate::ours::{Ours, Place};
use crate::peers::kamailio::{Kamailio, Setup};
use crate::servers::Side;

mod apply;
mod beside;
mod capacity;
mod conference;
mod growth;
mod memory;
mod music;
mod packets;
mod record;
mod relayed;
mod scale;
mod sound_memory;
mod start;
mod storm;
mod takeover;
mod talking;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Fewer phones and calls where the number hardly matters: minutes.
    Quick,
    /// As many as the targets say.
    Full,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) pairs: usize,
    pub(crate) window: Window,
    pub(crate) extent: Extent,
    pub(crate) cores: Cores,
    /// For all files of the servers.
    pub(crate) folder: PathBuf,
    /// The tenantd that is measured.
    pub(crate) program: PathBuf,
    /// An earlier build that it is compared with, instead of the peers.
    pub(crate) before: Option<PathBuf>,
}

/// What ours is compared with.
enum Peer {
    Kamailio(Kamailio),
    Before(Ours),
    Missing(&'static str),
}

/// A row's place in the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) target: &'static str,
    pub(crate) ours: String,
    pub(crate) peer: String,
    /// What the target speaks of, and whether it is met.
    pub(crate) result: String,
    pub(crate) verdict: Verdict,
}

/// Whether a target is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// There was nothing to compare with.
    Open,
}

type Run = fn(&Settings) -> Outcome<Vec<Row>>;

/// What can be asked for, in the order of the table.
pub(crate) const ALL: &[(&str, &str, Run)] = &[
    ("options", "OPTIONS to the server", beside::options),
    ("register-refresh", "REGISTER refresh, nonce used again", beside::refresh),
    ("register-change", "REGISTER that adds or removes a phone", beside::change),
    ("register-fresh", "REGISTER with challenge, same contact", beside::fresh),
    ("power-cut", "all phones start within one second", storm::power_cut),
    ("call", "a whole call, and its set-up at 200 a second", beside::call),
    ("packets", "a relayed packet at 100, 500 and 1,000 calls", packets::packets),
    ("record", "relayed calls that are recorded beside plain ones", record::calls),
    ("music", "1,000 calls on hold with the same music", music::music),
    ("prompts", "500 prompts begun a second", music::prompts),
    ("srtp-one", "a relayed packet, encrypted on one side", relayed::sealed_once),
    ("srtp-both", "a relayed packet, encrypted on both sides", relayed::sealed_twice),
    ("srtp-gcm", "a relayed packet, AES-GCM on one side", relayed::sealed_with_gcm),
    ("convert", "calls between G.711 and Opus on a core", relayed::converted),
    ("conference", "a member of a conference of 3, 20 and 100", conference::members),
    ("conference-beside", "relayed packets beside a conference of 100", conference::beside),
    ("calls", "how many calls are relayed in time", capacity::most_calls),
    ("beside-converted", "delay beside calls that are converted", capacity::beside_converted),
    ("sound-memory", "memory of a call's sound", sound_memory::call),
    ("sound-growth", "memory after many short calls", sound_memory::growth),
    ("memory-binding", "memory of a registered phone", memory::binding),
    ("memory-call", "memory of a call", memory::call),
    ("growth", "memory after many registrations and calls", growth::growth),
    ("scale", "REGISTER and call with 1 company and with 10,000", scale::scale),
    ("apply", "100,000 extensions come, stay, and one changes", apply::apply),
    ("start", "start with many registered phones", start::start),
    ("takeover", "a node with 10,000 companies is killed; and its start", takeover::takeover),
];

impl Verdict {
    /// By a number that may be as large as this.
    pub(crate) fn at_most(found: f64, most: f64) -> Self {
        match found <= most {
            true => Self::Met,
            false => Self::Missed,
        }
    }
}

impl Peer {
    /// What the load is put on.
    fn side(&self) -> Outcome<Option<Side>> {
        match self {
            Self::Kamailio(kamailio) => Ok(Some(kamailio.side())),
            Self::Before(ours) => {
                Ok(Some(Side { name: "tenantd before".to_owned(), ..ours.side()? }))
            }
            Self::Missing(_) => Ok(None),
        }
    }

    /// What it did, told with its name.
    fn told(&self, what: &str) -> String {
        match self {
            Self::Kamailio(kamailio) => format!("{}: {what}", kamailio.side().name),
            Self::Before(_) => format!("tenantd before: {what}"),
            Self::Missing(why) => (*why).to_owned(),
        }
    }
}

impl Settings {
    /// Those that most rows have.
    pub(crate) fn population(&self) -> Population {
        Population { tenants: 100, users: 100 }
    }

    /// Starts what is measured, with these users.
    fn start(&self, population: Population) -> Outcome<Ours> {
        Ours::start(&self.program, &self.folder.join("ours"), Place::First, population)
    }

    /// Starts it where nothing else will run.
    fn start_alone(&self, population: Population) -> Outcome<Ours> {
        Ours::start(&self.program, &self.folder.join("ours"), Place::Alone, population)
    }

    /// Starts what it is compared with, if it is there.
    fn start_peer(&self, setup: Setup, population: Population) -> Outcome<Peer> {
        let folder = self.folder.join("peer");
        match (&self.before, Kamailio::missing(setup)) {
            (Some(before), _) => {
                Ok(Peer::Before(Ours::start(before, &folder, Place::Second, population)?))
            }
            (None, Some(why)) => Ok(Peer::Missing(why)),
            (None, None) => Ok(Peer::Kamailio(Kamailio::start(&folder, setup, population)?)),
        }
    }

    /// Those of the rows about many phones.
    pub(crate) fn crowd(&self) -> Population {
        let users = match self.extent {
            Extent::Quick => 200,
            Extent::Full => 1_000,
        };
        Population { tenants: 100, users }
    }
}

/// What is in the middle; of an even number of values, the lower.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

/// A duration as people read it.
pub(crate) fn in_words(time: Duration) -> String {
    match time {
        time if time < Duration::from_millis(100) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        time => format!("{:.2} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 1.0);
        assert!(median([]).is_nan());
    }
}
