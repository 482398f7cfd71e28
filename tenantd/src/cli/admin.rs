//! `tenantd admin`: the people who run the whole house.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use store::{Database, accounts};

use super::{Failure, say};
use crate::config::Config;
use crate::password;
use crate::postgres::Access;

/// More than any password: the rest of a stream that never ends is not read.
const LONGEST_INPUT: u64 = 4_096;
const LONGEST_PASSWORD: usize = 128;

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Makes somebody a provider, or gives them a new password.
    Add(Add),
}

/// Whom to add.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// Their address, with which they sign in.
    #[arg(value_name = "EMAIL", value_parser = email)]
    email: String,
    /// Reads the password from standard input; without it, one is made and shown.
    #[arg(long)]
    password_stdin: bool,
}

fn email(text: &str) -> Result<String, String> {
    let is_one = text.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    match is_one && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        true => Ok(text.to_owned()),
        false => Err("it is no e-mail address".to_owned()),
    }
}

impl Admin {
    pub(super) fn run(self, config: &Config) -> Result<(), Failure> {
        let Self::Add(add) = self;
        let (password, shown) = match add.password_stdin {
            true => (read_password()?, false),
            false => (password::generate(), true),
        };
        let access = Access::for_work(config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let added = runtime.block_on(async {
            store::migrate::run(&access.urls).await?;
            let database = Database::connect(&access.urls)?;
            accounts::add_provider(&database, &add.email, &password).await?;
            database.close().await;
            Ok::<(), store::Failure>(())
        });
        drop(runtime);
        access.end()?;
        added?;
        say(&format!("{} is a provider", add.email))?;
        if shown {
            say(&format!("password: {password}"))?;
        }
        Ok(())
    }
}

fn read_password() -> Result<String, Failure> {
    let wrong = |reason: &str| Failure::Input(format!("password on standard input: {reason}"));
    let mut text = String::new();
    let read = io::stdin().lock().take(LONGEST_INPUT).read_to_string(&mut text);
    read.map_err(|error| wrong(&error.to_string()))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => Err(wrong("it is empty")),
        long if long.len() > LONGEST_PASSWORD => Err(wrong("it is longer than 128 bytes")),
        odd if odd.chars().any(char::is_control) => Err(wrong("it has control characters")),
        password => Ok(password.to_owned()),
    }
}
