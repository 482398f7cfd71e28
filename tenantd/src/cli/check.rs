//! `tenantd check`: reads all that a start would read, and changes nothing.

use store::ClusterKey;

use super::{Failure, say};
use crate::config::Config;
use crate::net::tls;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    // A key that is not named is made at the first start.
    if let Some(file) = &config.secrets.key_file {
        ClusterKey::read(file)?;
    }
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        tls::check(certificate, key)?;
    }
    say("configuration ok")
}
