//! Two companies that share nothing but their extension numbers, as a provisioning file.

use std::fmt::Write;

/// A company in a provisioning file.
#[derive(Debug, Clone)]
pub struct Company {
    /// Its domain, and the name before the dot as part of its passwords.
    pub domain: &'static str,
    /// Its extensions' numbers.
    pub extensions: Vec<String>,
    /// More lines of the `[[tenant]]` table itself.
    pub settings: String,
    /// More tables, such as `[[tenant.ring_group]]`.
    pub tables: String,
}

impl Company {
    /// A company with extensions 101, 102 and 103.
    pub fn new(domain: &'static str) -> Self {
        let extensions = ["101", "102", "103"].map(str::to_owned).to_vec();
        Self { domain, extensions, settings: String::new(), tables: String::new() }
    }

    /// An extension's password: another one in each company, and never its number.
    pub fn password(&self, number: &str) -> String {
        format!("{}-{number}-Secret", self.domain.split('.').next().unwrap_or_default())
    }

    /// Who may administer it.
    pub fn admin(&self) -> (String, String) {
        (format!("boss@{}", self.domain), format!("{}-Boss-Secret", self.domain))
    }

    /// Its part of a provisioning file.
    pub fn provisioning(&self) -> String {
        let (email, password) = self.admin();
        let mut text = format!(
            "[[tenant]]\ndomain = \"{domain}\"\nname = \"{domain}\"\ncountry = \"AT\"\n\
             time_zone = \"Europe/Vienna\"\n{settings}\n\
             [[tenant.admin]]\nemail = \"{email}\"\npassword = \"{password}\"\n",
            domain = self.domain,
            settings = self.settings,
        );
        for number in &self.extensions {
            let password = self.password(number);
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "[[tenant.extension]]\nnumber = \"{number}\"\npassword = \"{password}\"\n\
                 name = \"Phone {number}\""
            );
        }
        text + &self.tables + "\n"
    }
}
