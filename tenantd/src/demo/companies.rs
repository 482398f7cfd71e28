//! The demo's companies: made at the first start, remembered, and the same at every later one.
//!
//! Made by the same provisioning as anybody's, so that nothing in them is special.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Deserialize;
use store::provision::{self, Options, Sounds};
use store::{ClusterKey, Database, accounts};

use super::Failure;
use crate::clock::Clock;
use crate::lock::make_data_dir;
use crate::secret;

const COMPANIES: [(&str, &str, u8); 2] = [("alpha", "Alpha", 1), ("beta", "Beta", 2)];
/// Who runs the house.
pub(super) const PROVIDER: &str = "provider@localhost";
const FILE: &str = "demo.toml";

/// The demo's companies and their logins.
#[derive(Debug, Clone)]
pub struct Demo {
    text: String,
    pub(super) companies: Vec<Company>,
}

/// What of `demo.toml` is printed.
#[derive(Deserialize)]
struct Remembered {
    tenant: Vec<Company>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Company {
    pub(super) domain: String,
    pub(super) name: String,
    pub(super) admin: Vec<Login>,
    pub(super) extension: Vec<Extension>,
    pub(super) number: Vec<Number>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Login {
    pub(super) email: String,
    pub(super) password: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Extension {
    pub(super) number: String,
    pub(super) password: String,
}

/// A public number, and where it rings.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Number {
    pub(super) number: String,
    pub(super) to: String,
}

impl Demo {
    /// Reads what was made at the first start, or makes it.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join(FILE);
        let failed = |source| Failure::File { path: path.clone(), source };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_data_dir(data_dir)?;
                let text = made();
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        let Remembered { tenant: companies } = toml::from_str(&text)
            .map_err(|error| failed(io::Error::other(error.message().to_owned())))?;
        Ok(Self { text, companies })
    }

    /// The companies' domains.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.companies.iter().map(|company| company.domain.as_str())
    }

    /// Brings the companies and logins into the database.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn prepare(&self, database: &Database, key: &ClusterKey) -> Result<(), Failure> {
        let file = provision::parse(&self.text, FILE).map_err(provision::NotApplied::from)?;
        provision::apply(
            database,
            key,
            &file,
            &Sounds::default(),
            Options::default(),
            "tenantd demo",
        )
        .await?;
        let password = self.provider_password();
        if accounts::sign_in(database, Clock::start().now(), PROVIDER, password).await?.is_none() {
            accounts::add_provider(database, PROVIDER, password).await?;
        }
        Ok(())
    }

    /// Writes each admin a letter, the first time: where to sign in.
    ///
    /// # Errors
    /// If the mail folder cannot be used.
    pub async fn welcome(&self, mail_dir: &Path, page: &str) -> Result<(), web::mail::Failure> {
        if mail_dir.exists() {
            return Ok(());
        }
        let words = web::catalogue::Language::English;
        for company in &self.companies {
            let values = [("company", company.name.as_str()), ("page", page)];
            for login in &company.admin {
                let letter = web::mail::Letter {
                    from: "tenantd <noreply@localhost>".to_owned(),
                    to: login.email.clone(),
                    subject: words.fill("welcome.subject", &values),
                    date: String::new(),
                    text: words.fill("welcome.text", &values),
                };
                web::mail::keep(mail_dir, &letter).await?;
            }
        }
        Ok(())
    }

    /// The password of [`PROVIDER`].
    pub(super) fn provider_password(&self) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix("# provider "));
        line.unwrap_or_default().trim()
    }
}

/// A provisioning file with passwords that nobody has seen before.
fn made() -> String {
    let mut text = format!(
        "# The demo's companies: made at its first start, applied at every start.\n\
         # provider {}\n",
        secret::password()
    );
    for (label, name, digit) in COMPANIES {
        text.push_str(&format!(
            "\n[[tenant]]\ndomain = \"{label}.localhost\"\nname = \"{name}\"\nlabel = \"{label}\"\n\
             country = \"AT\"\ntime_zone = \"Europe/Vienna\"\n\
             [[tenant.admin]]\nemail = \"admin@{label}.localhost\"\npassword = \"{}\"\n",
            secret::password()
        ));
        for number in ["101", "102", "103"] {
            text.push_str(&format!(
                "[[tenant.extension]]\nnumber = \"{number}\"\nname = \"{name} {number}\"\n\
                 max_contacts = 3\npassword = \"{}\"\n",
                secret::password()
            ));
        }
        text.push_str(&format!(
            "[[tenant.ring_group]]\nnumber = \"600\"\nname = \"Everybody\"\n\
             members = [\"101\", \"102\", \"103\"]\n\
             [[tenant.number]]\nnumber = \"+43720{digit}00101\"\nto = \"101\"\n\
             [[tenant.number]]\nnumber = \"+43720{digit}00600\"\nto = \"600\"\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_applied_and_no_password_is_a_number() {
        let text = made();
        assert!(provision::parse(&text, FILE).is_ok());
        let remembered: Remembered = toml::from_str(&text).unwrap();
        let numbers = |company: &Company| company.extension.len();
        assert_eq!(remembered.tenant.iter().map(numbers).collect::<Vec<_>>(), [3, 3]);
        for extension in remembered.tenant.iter().flat_map(|company| &company.extension) {
            assert_ne!(extension.number, extension.password);
        }
    }
}
