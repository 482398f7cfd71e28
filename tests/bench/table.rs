//! The table as Markdown, with the conditions under which its figures stand.

use std::fs;
use std::process::Command;

use crate::ground::{Cores, Network};
use crate::ours::SETTINGS;
use crate::rows::{Row, Verdict};

/// The columns.
pub(crate) const HEAD: &str =
    "| work | target | tenantd | peer | result | met |\n|---|---|---|---|---|---|";

/// Where and how it is measured.
pub(crate) fn conditions(cores: &Cores, network: Network) -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let model =
        model.map_or("unknown processor", |model| model.trim_start_matches(['\t', ':', ' ']));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let network = match network {
        Network::Own => "loopback in a network of its own",
        Network::Shared => "the machine's own loopback (as root it would be a network of its own)",
    };
    let Cores { servers, load: loads } = cores;
    format!(
        "CPU of all server processes, Postgres included, for each piece of work; the result is the \
         median of the pairs' ratios.\n\n\
         {model}; servers on cores {servers:?}, load on {loads:?}; {network}; load average at the \
         start {load}.\n\n{SETTINGS}.\n\n{}\n",
        versions(),
    )
}

/// Who they are, as they say themselves.
fn versions() -> String {
    let version = |program: &str, argument: &str| {
        let path = crate::servers::installed(program)?;
        let output = Command::new(path).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().next().map(|line| line.trim().to_owned())
    };
    let all = [("kamailio", "-v"), ("rtpengine", "--version"), ("psql", "--version")];
    let told = all.map(|(program, argument)| match version(program, argument) {
        Some(version) => format!("{program}: {version}"),
        None => format!("{program}: not installed"),
    });
    told.join("; ")
}

/// A row.
pub(crate) fn line(row: &Row) -> String {
    let Row { work, target, ours, peer, result, verdict } = row;
    let verdict = match verdict {
        Verdict::Met => "yes",
        Verdict::Missed => "**no**",
        Verdict::Open => "–",
    };
    format!("| {work} | {target} | {ours} | {peer} | {result} | {verdict} |")
}
