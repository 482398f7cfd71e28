//! `tenantd apply`: brings the database to what a provisioning file says, and waits until the nodes
//! that live have taken it over.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use store::provision::{self, Options, Run};
use store::{ClusterKey, Database, provider};

use super::{Failure, say, sounds};
use crate::config::Config;
use crate::postgres::Access;
use crate::uploads;

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

pub(super) fn run(
    config: &Config,
    file: &Path,
    options: Options,
    wait: Duration,
) -> Result<(), Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|source| Failure::File { name, source })?;
    // What the file names lies beside it.
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let file = provision::parse(&text, &file.display().to_string())?;
    let access = Access::for_work(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(carry_out(config, &access, (&file, &folder), options, wait));
    access.end()?;
    outcome
}

async fn carry_out(
    config: &Config,
    access: &Access,
    (file, folder): (&provision::File, &Path),
    options: Options,
    wait: Duration,
) -> Result<(), Failure> {
    store::migrate::run(&access.urls).await?;
    let database = Database::connect(&access.urls)?;
    let key = ClusterKey::read_or_make(&config.key_file())?;
    let objects = uploads::open(config, &key)?;
    let ready = sounds::make_ready(config, &database, &objects, (file, folder), options.run);
    let ready = ready.await?;
    let applied = provision::apply(&database, &key, file, &ready, options, "tenantd apply").await;
    if applied.is_err() {
        sounds::forget(&objects, &ready).await;
    }
    let report = applied?;
    for line in &report.lines {
        say(line)?;
    }
    if report.lines.is_empty() {
        say("nothing to change")?;
    }
    if !report.lines.is_empty() && options.run == Run::Dry {
        say("dry run: nothing was changed")?;
    }
    let uncarried = match options.run {
        Run::Real => sounds::carry(&database, &objects, &ready, wait).await,
        Run::Dry => 0,
    };
    let behind = match access.is_alone() {
        // The data directory is ours, so no node serves from it, whatever a dead one left behind.
        true => Vec::new(),
        false => wait_for_nodes(&database, &report.versions, wait).await?,
    };
    database.close().await;
    match behind.first() {
        None if uncarried > 0 => Err(Failure::NotCarried(uncarried)),
        None => Ok(()),
        Some(node) => Err(Failure::NotTakenOver(node.clone())),
    }
}

/// Nodes that live and have not taken the versions over in time.
async fn wait_for_nodes(
    database: &Database,
    versions: &[(pbx::id::TenantId, i64)],
    wait: Duration,
) -> Result<Vec<String>, Failure> {
    let give_up_at = Instant::now() + wait;
    loop {
        let behind = provider::nodes::behind(database, versions).await?;
        if behind.is_empty() || Instant::now() >= give_up_at {
            return Ok(behind.into_iter().map(|(node, _)| node).collect());
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}
