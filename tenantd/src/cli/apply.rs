//! `tenantd apply`: brings tenants to what a provisioning file says, and waits until the nodes that
//! live have taken that over.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pbx::id::TenantId;
use store::provision::{self, Absent, File, Options, Report, Run};
use store::{ClusterKey, Database, provider};
use tokio::time::{Instant, sleep};

use super::{Failure, say};
use crate::config::{Config, Problem, Span};
use crate::postgres::Access;

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const NOT_TAKEN_OVER: u8 = 3;

/// What to apply, and how.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The provisioning file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only says what would change.
    #[arg(long)]
    dry_run: bool,
    /// Takes away what a named tenant has and the file does not name.
    #[arg(long)]
    prune: bool,
    /// How long to wait until every live node serves what was committed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    wait: Duration,
}

fn span(text: &str) -> Result<Duration, String> {
    Span::try_from(text.to_owned()).map(|span| span.0)
}

impl Apply {
    pub(super) fn run(self, config: &Config) -> Result<ExitCode, Failure> {
        let name = self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| Problem::new(&name, error.to_string()))?;
        let file = provision::parse(&text, &name)?;

        let access = Access::for_work(config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let applied = runtime.block_on(self.carry_out(config, &access, &file));
        drop(runtime);
        access.end()?;
        applied
    }

    async fn carry_out(
        &self,
        config: &Config,
        access: &Access,
        file: &File,
    ) -> Result<ExitCode, Failure> {
        store::migrate::run(&access.urls).await?;
        let key = ClusterKey::read_or_make(&config.key_file())?;
        let database = Database::connect(&access.urls)?;
        let options = Options {
            run: if self.dry_run { Run::Dry } else { Run::Real },
            absent: if self.prune { Absent::Prune } else { Absent::Keep },
        };
        let report = provision::apply(&database, &key, file, options, "tenantd apply").await?;
        for line in &report.lines {
            say(line)?;
        }
        match (report.lines.is_empty(), options.run) {
            (true, _) => say("nothing to change")?,
            (false, Run::Dry) => say("dry run: nothing was changed")?,
            (false, Run::Real) => {}
        }
        let code = match access.is_alone() {
            // The data directory is ours, so no node serves from it.
            true => ExitCode::SUCCESS,
            false => self.taken_over(&database, &report).await?,
        };
        database.close().await;
        Ok(code)
    }

    async fn taken_over(&self, database: &Database, report: &Report) -> Result<ExitCode, Failure> {
        let give_up_at = Instant::now() + self.wait;
        loop {
            let behind = provider::nodes::behind(database, &report.versions).await?;
            if behind.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            if Instant::now() >= give_up_at {
                super::complain(&not_taken_over(&behind));
                return Ok(ExitCode::from(NOT_TAKEN_OVER));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

fn not_taken_over(behind: &[(String, TenantId)]) -> String {
    let mut nodes: Vec<&str> = behind.iter().map(|(node, _)| node.as_str()).collect();
    nodes.dedup();
    format!("committed, but not taken over in time by node {}", nodes.join(", "))
}
