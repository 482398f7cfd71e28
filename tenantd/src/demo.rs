//! `tenantd demo`: two companies with the same numbers, ready to be called, in one folder.
//!
//! Made by the same provisioning as anybody's, so that nothing in it is special; what was made the
//! first time is kept in `demo.toml` beside the data, and is the same at every start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Deserialize;
use store::provision::{self, Options};
use store::{ClusterKey, Database, accounts};

use crate::config::{Config, Span};
use crate::lock::{self, Attempt, Lock, Purpose};
use crate::secret;

/// What the demo changes of the built-in defaults.
pub const CONFIG: &str = "
data_dir = \"demo\"
drain_for = \"1s\"
[web]
https = []
";
/// How long calls may take to end when the demo is stopped, whatever is configured.
pub const LONGEST_DRAIN: Span = Span(Duration::from_secs(1));
/// How long `--stop` waits for the demo to end.
const STOP_WITHIN: Duration = Duration::from_secs(30);
const COMPANIES: [(&str, &str, u8); 2] = [("alpha", "Alpha", 1), ("beta", "Beta", 2)];
const PROVIDER: &str = "provider@localhost";
const FILE: &str = "demo.toml";

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file that remembers it cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file that remembers it was changed, and cannot be read any more.
    #[error(transparent)]
    Provision(#[from] provision::NotApplied),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] store::Failure),
    /// The data directory's lock cannot be used.
    #[error(transparent)]
    Lock(#[from] lock::Failure),
    /// Nothing runs there.
    #[error("no demo runs in {0}")]
    NotRunning(String),
    /// It does not end.
    #[error("the demo, process {0}, does not end")]
    DoesNotEnd(i32),
}

/// The demo's companies and their logins.
#[derive(Debug, Clone)]
pub struct Demo {
    text: String,
    remembered: Remembered,
}

/// What of `demo.toml` is printed.
#[derive(Debug, Clone, Deserialize)]
struct Remembered {
    tenant: Vec<Company>,
}

#[derive(Debug, Clone, Deserialize)]
struct Company {
    domain: String,
    name: String,
    admin: Vec<Login>,
    extension: Vec<Extension>,
}

#[derive(Debug, Clone, Deserialize)]
struct Login {
    email: String,
    password: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Extension {
    number: String,
    password: String,
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
                fs::create_dir_all(data_dir).map_err(failed)?;
                let text = made();
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        let remembered = toml::from_str(&text)
            .map_err(|error| failed(io::Error::other(error.message().to_owned())))?;
        Ok(Self { text, remembered })
    }

    /// Brings the companies and logins into the database.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn prepare(&self, database: &Database, key: &ClusterKey) -> Result<(), Failure> {
        let file = provision::parse(&self.text, FILE).map_err(provision::NotApplied::from)?;
        provision::apply(database, key, &file, Options::default(), "tenantd demo").await?;
        let password = self.provider_password();
        if accounts::sign_in(database, now(), PROVIDER, password).await?.is_none() {
            accounts::add_provider(database, PROVIDER, password).await?;
        }
        Ok(())
    }

    /// Says where everything is.
    ///
    /// # Errors
    /// If the output is closed.
    pub fn print(&self, config: &Config, out: &mut impl Write) -> io::Result<()> {
        let page =
            config.web.http.first().map_or_else(String::new, |http| format!("http://{}/", http.0));
        let proxy = reach(config);
        writeln!(out)?;
        writeln!(out, "Provider: {page} ")?;
        writeln!(out, "    sign in as {PROVIDER} with {}", self.provider_password())?;
        for company in &self.remembered.tenant {
            writeln!(out)?;
            writeln!(out, "{}: {page} ", company.name)?;
            for login in &company.admin {
                writeln!(out, "    sign in as {} with {}", login.email, login.password)?;
            }
            writeln!(out, "    domain {}, outbound proxy {proxy}", company.domain)?;
            writeln!(out, "    (for a softphone on this machine: 127.0.0.1)")?;
            for extension in &company.extension {
                let Extension { number, password } = extension;
                writeln!(out, "    user {number}, password {password}")?;
            }
            if let Some(first) = company.extension.first() {
                let card = format!(
                    "sip:{}@{}\npassword: {}\nproxy: {proxy}",
                    first.number, company.domain, first.password
                );
                writeln!(out, "    the card of {} as a QR code:", first.number)?;
                writeln!(out, "{}", code(&card))?;
            }
        }
        writeln!(out, "Call 600 to ring everybody, and the other company's +43 720 …")?;
        out.flush()
    }

    fn provider_password(&self) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix("# provider "));
        line.unwrap_or_default().trim()
    }
}

/// Ends the demo that runs in this folder.
///
/// # Errors
/// If none runs there, or it does not end.
pub fn stop(data_dir: &Path) -> Result<(), Failure> {
    let not_running = || Failure::NotRunning(data_dir.display().to_string());
    if !data_dir.exists() {
        return Err(not_running());
    }
    let pid = match Lock::take(data_dir, Purpose::Work)? {
        Attempt::Taken(_) => return Err(not_running()),
        Attempt::Held(owner) => owner.pid.ok_or_else(not_running)?,
    };
    // Gone in this moment is what we want.
    let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let give_up_at = Instant::now() + STOP_WITHIN;
    while Instant::now() < give_up_at {
        if let Attempt::Taken(_) = Lock::take(data_dir, Purpose::Work)? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::DoesNotEnd(pid))
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

/// Where phones on the network reach us, for their cards.
pub fn reach(config: &Config) -> String {
    let Some(listen) = config.sip.udp.iter().find(|listen| listen.0.is_ipv4()) else {
        return "none".to_owned();
    };
    match listen.0.ip().is_unspecified() {
        true => format!("{}:{}", first_address(), listen.0.port()),
        false => listen.0.to_string(),
    }
}

fn first_address() -> IpAddr {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut v4 = all.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    let outside = v4.find(|ip| !ip.is_loopback() && !ip.is_link_local());
    IpAddr::V4(outside.unwrap_or(Ipv4Addr::LOCALHOST))
}

fn code(text: &str) -> String {
    match QrCode::new(text) {
        Ok(code) => code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build(),
        Err(_) => String::new(),
    }
}

fn now() -> pbx::moment::Moment {
    crate::clock::Clock::start().now()
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
