//! `tenantd migrate`: brings the database up to date, as every start does.

use super::{Failure, say};
use crate::config::Config;
use crate::postgres::Access;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let access = Access::for_work(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let migrated = runtime.block_on(store::migrate::run(&access.urls));
    access.end()?;
    let migrated = migrated?;
    match migrated.from {
        Some(from) if from == migrated.to => say(&format!("schema {from} is up to date")),
        Some(from) => say(&format!("schema brought from {from} to {}", migrated.to)),
        None => say(&format!("schema {} made", migrated.to)),
    }
}
