//! `tenantd check`: reads all that a start would read, and changes nothing.

use store::ClusterKey;

use super::{Failure, say};
use crate::config::Config;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    // A key that is not named is made at the first start.
    if let Some(file) = &config.secrets.key_file {
        ClusterKey::read(file)?;
    }
    say("configuration ok")
}
