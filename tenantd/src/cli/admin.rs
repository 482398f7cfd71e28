//! `tenantd admin add`: makes somebody a provider, or gives them a new password.

use std::io::{self, BufRead};

use store::{Database, accounts};

use super::{Failure, say};
use crate::config::Config;
use crate::postgres::Access;
use crate::secret;

/// Where the password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Password {
    /// The first line of the standard input.
    Given,
    /// Made here, and said once.
    Made,
}

pub(super) fn add(config: &Config, email: &str, password: Password) -> Result<(), Failure> {
    if !email.contains('@') || email.contains(char::is_whitespace) {
        return Err(Failure::Argument(format!("{email:?} is no mail address")));
    }
    let text = match password {
        Password::Made => secret::password(),
        Password::Given => {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
    };
    if text.is_empty() || text.len() > 128 {
        return Err(Failure::Argument("the password needs 1 to 128 bytes".to_owned()));
    }
    let access = Access::for_work(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let added = runtime.block_on(async {
        store::migrate::run(&access.urls).await?;
        let database = Database::connect(&access.urls)?;
        accounts::add_provider(&database, email, &text).await
    });
    access.end()?;
    added?;
    match password {
        Password::Made => say(&format!("{email} may sign in with {text}")),
        Password::Given => say(&format!("{email} may sign in")),
    }
}
