//! What sound takes of memory: a call's, while it lasts, and what is left of very many.

use std::thread;
use std::time::{Duration, Instant};

use kit::failure::{Failure, Outcome};
use pbx::media::Suite;

use super::relayed::{self, Calls, Kind, Stage};
use super::talking::{self, Talking};
use super::{Extent, Row, Settings, Verdict};
use crate::relays::Who;
use crate::sound::Phone;

/// Calls before the first look, so that what is made once is not charged to those after.
const WARMING_CALLS: usize = 50;
const TALK_FOR: Duration = Duration::from_secs(2);
/// Short calls at the same time, how long each is, and what each phone says in it.
const AT_ONCE: usize = 256;
const LASTS_FOR: Duration = Duration::from_millis(100);
const PACKETS: u64 = 5;
/// Ports rest for some seconds, so many calls may have to wait for one.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is measured: in words, between whom, how many, and at most how much.
const KINDS: [(&str, [Kind; 2], usize); 4] = [
    ("plain", [Kind::Plain; 2], 1_000),
    ("SRTP on one side", [Kind::Sealed(Suite::AesCm128HmacSha1_80), Kind::Plain], 1_000),
    (
        "SRTP on both sides",
        [Kind::Sealed(Suite::AesCm128HmacSha1_80), Kind::Sealed(Suite::AesCm128HmacSha1_32)],
        1_000,
    ),
    ("G.711 ↔ Opus", [Kind::Alaw, Kind::Opus], 100),
];
/// What a call that is only relayed may take, encrypted or not.
const MOST: f64 = 8.0;

pub(super) fn call(settings: &Settings) -> Outcome<Vec<Row>> {
    let missing = relayed::missing(settings);
    let mut rows = vec![];
    for (name, between, count) in KINDS {
        let ours = each(settings, Who::Ours, between, count)?;
        let peer = match missing {
            None => {
                format!("rtpengine: {:.1} KiB", each(settings, Who::Rtpengine, between, count)?)
            }
            Some(why) => why.to_owned(),
        };
        let is_relayed = !between.contains(&Kind::Opus);
        rows.push(Row {
            work: format!(
                "memory (PSS) of a call's sound beside the kernel's buffers, {name}, {count} calls"
            ),
            target: if is_relayed { "≤ 8 KiB" } else { "–" },
            ours: format!("{ours:.1} KiB"),
            peer,
            result: format!("{ours:.1} KiB"),
            verdict: match is_relayed {
                true => Verdict::at_most(ours, MOST),
                false => Verdict::Open,
            },
        });
    }
    Ok(rows)
}

/// In KiB.
fn each(settings: &Settings, who: Who, between: [Kind; 2], count: usize) -> Outcome<f64> {
    let mut stage = Stage::start(settings, who)?;
    stage.connect(Calls { count: WARMING_CALLS, between })?;
    talk(settings, &mut stage)?;
    let before = stage.relay.tree().memory();
    stage.connect(Calls { count, between })?;
    talk(settings, &mut stage)?;
    let after = stage.relay.tree().memory();
    eprintln!("  {who:?} {between:?}: {} KiB before, {} KiB now", before / 1024, after / 1024);
    Ok((after as f64 - before as f64) / 1024.0 / count as f64)
}

fn talk(settings: &Settings, stage: &mut Stage) -> Outcome {
    let talking = Talking::start(settings, std::mem::take(&mut stage.phones));
    thread::sleep(TALK_FOR);
    let report = talking::report(&talking.stop()?);
    if report.failures() > 0 {
        eprintln!("  {:?}", report.failed);
    }
    Ok(())
}

pub(super) fn growth(settings: &Settings) -> Outcome<Vec<Row>> {
    let (first, calls) = match settings.extent {
        Extent::Quick => (5_000, 20_000),
        Extent::Full => (10_000, 100_000),
    };
    let mut stage = Stage::start(settings, Who::Ours)?;
    short_calls(&mut stage, first)?;
    let before = stage.relay.tree().memory();
    let began_at = Instant::now();
    let heard = short_calls(&mut stage, calls)?;
    let after = stage.relay.tree().memory();
    let rate = calls as f64 / began_at.elapsed().as_secs_f64();
    if let Some(counted) = stage.relay.counted()? {
        eprintln!("  {counted}");
    }
    // Whoever encrypts or converts is late now and then, and his call is over.
    let said = calls as u64 * 2 * PACKETS;
    if heard < said / 2 {
        return Err(Failure::new(format!("of {said} packets only {heard} were heard")));
    }
    let more = after as f64 / before as f64 - 1.0;
    Ok(vec![Row {
        work: format!(
            "growth after {calls} short calls, of which a quarter each plain, encrypted, both, converted"
        ),
        target: "within 5 %",
        ours: format!(
            "{} KiB after {first}, {} KiB after {calls} more, {rate:.0} a second",
            before / 1024,
            after / 1024,
        ),
        peer: "–".to_owned(),
        result: format!("{:+.1} %", more * 100.0),
        verdict: Verdict::at_most(more, 0.05),
    }])
}

/// So many calls that begin and end; how many packets were heard.
fn short_calls(stage: &mut Stage, count: usize) -> Outcome<u64> {
    let (mut left, mut heard) = (count, 0);
    while left > 0 {
        let some = left.min(AT_ONCE);
        let kinds = KINDS.iter().cycle().take(some);
        let open = kinds.map(|(_, between, _)| begin(stage, *between));
        let mut open = open.collect::<Outcome<Vec<_>>>()?;
        for round in 0..PACKETS {
            let phones = open.iter_mut().flat_map(|(_, phones)| phones);
            (0..).zip(phones).for_each(|(number, phone)| phone.say(number, round));
        }
        thread::sleep(LASTS_FOR);
        for (call, phones) in &open {
            stage.relay.part(*call)?;
            heard += phones.iter().map(Phone::count).sum::<u64>();
        }
        left -= some;
    }
    Ok(heard)
}

/// Begins a call as soon as there are ports for it.
fn begin(stage: &mut Stage, between: [Kind; 2]) -> Outcome<(u64, Vec<Phone>)> {
    let began_at = Instant::now();
    loop {
        match stage.begin(between, false) {
            Err(_) if began_at.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(50)),
            begun => return begun,
        }
    }
}
