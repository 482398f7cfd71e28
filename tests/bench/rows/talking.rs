//! Phones talk through a relay, and its CPU is counted meanwhile.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kit::failure::{Failure, Outcome};

use super::Settings;
use crate::load::Report;
use crate::measure::{Measure, Meters};
use crate::meter::Tree;
use crate::sound::{self, Phone, Talk, Traffic};

/// Speech that is packed anew may wait for its turn when all ends.
const UNDERSTOOD: f64 = 0.98;
/// It is as loud as it was said, but for what a codec leaves out.
const LOUD: std::ops::Range<f64> = 0.6..1.5;

/// Phones that talk until they are told to stop.
pub(super) struct Talking {
    pub(super) talk: Arc<Talk>,
    threads: Vec<JoinHandle<io::Result<Traffic>>>,
}

impl Talking {
    /// Lets them begin, on the cores of the load.
    pub(super) fn start(settings: &Settings, phones: Vec<Phone>) -> Self {
        let cores = &settings.cores.load;
        let talk = Arc::new(Talk::new());
        let mut shares: Vec<Vec<Phone>> = cores.iter().map(|_| vec![]).collect();
        for (number, phone) in phones.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(number % cores.len()) {
                share.push(phone);
            }
        }
        let threads = cores.clone().into_iter().zip(shares).map(|(core, share)| {
            let talk = Arc::clone(&talk);
            thread::spawn(move || sound::talk(core, share, &talk))
        });
        let threads = threads.collect();
        Self { talk, threads }
    }

    /// Lets them end; what they heard.
    pub(super) fn stop(self) -> Outcome<Traffic> {
        self.talk.stop();
        let mut traffic = Traffic::default();
        for thread in self.threads {
            traffic.add(thread.join().map_err(|_| Failure::new("a phone panicked"))??);
        }
        Ok(traffic)
    }
}

/// Counts what the relay uses for what these phones say.
pub(super) fn measure(
    settings: &Settings,
    trees: &[Tree],
    phones: Vec<Phone>,
    settles_for: Duration,
) -> Outcome<Measure> {
    let talking = Talking::start(settings, phones);
    thread::sleep(settles_for);
    let meters = Meters::start(trees);
    let before = talking.talk.heard();
    thread::sleep(settings.window.count_for);
    let (used, units) = (meters.stop(), talking.talk.heard() - before);
    let traffic = talking.stop()?;
    Ok(Measure { used, units, report: report(&traffic) })
}

/// What was late, and what was wrong.
pub(super) fn report(traffic: &Traffic) -> Report {
    let mut report = Report::default();
    let delays = traffic.delays.iter().map(|delay| u32::try_from(*delay).unwrap_or(u32::MAX));
    report.delays = delays.collect();
    report.delays.sort_unstable();
    let unheard = traffic.levels.iter().filter(|level| !LOUD.contains(level)).count();
    let missing = match traffic.understood as f64 >= traffic.said as f64 * UNDERSTOOD {
        true => 0,
        false => traffic.said.saturating_sub(traffic.understood),
    };
    for (why, count) in [
        ("packets lost", traffic.sent.saturating_sub(traffic.heard)),
        ("packets of speech lost", missing),
        ("packets changed", traffic.wrong),
        ("voices too faint or too loud", unheard as u64),
    ] {
        if count > 0 {
            report.failed.insert(why.to_owned(), count);
        }
    }
    report
}
