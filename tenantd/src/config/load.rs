//! Reading the configuration, and saying in one line what is wrong with it and where.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::de::DeTable;
use toml::{Table, Value};

use super::environment::{self, Setting};
use super::sections::{Config, Link};
use super::value::{External, Listen};

/// What a process that reads an uploaded file could still hold in memory.
const MOST_OF_A_FILE: u64 = 1 << 30;
const LONGEST_SOUND: Duration = Duration::from_secs(3_600);

/// What is read when no file is named.
const DEFAULT_FILE: &str = "tenantd.toml";

/// What is wrong with the configuration, and where: a file with line and column, or a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: String,
    reason: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a value or a file name holds.
        let line = format!("{}: {}", self.place, self.reason);
        let words: Vec<&str> = line.split(['\n', '\r']).map(str::trim).collect();
        f.write_str(&words.join("; "))
    }
}

impl std::error::Error for Problem {}

/// What lies below the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The built-in defaults; `tenantd.toml` is read if it is there.
    Serve,
    /// What the demo changes of them; only a file that is named is read.
    Demo(&'static str),
}

/// The file: its name, its text, and the same as a table.
struct File {
    name: PathBuf,
    text: String,
    table: Table,
}

/// Reads the configuration.
///
/// # Errors
/// On the first mistake.
pub fn load(
    base: Base,
    named: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, Problem> {
    let file = match (named, base) {
        (Some(path), _) => Some(read(path)?),
        (None, Base::Serve) if Path::new(DEFAULT_FILE).exists() => {
            Some(read(Path::new(DEFAULT_FILE))?)
        }
        (None, Base::Serve | Base::Demo(_)) => None,
    };
    let settings = environment::settings(environment)?;
    let mut table = match base {
        Base::Serve => Table::new(),
        Base::Demo(text) => text.parse().expect("the demo's own configuration is TOML"),
    };
    if let Some(file) = &file {
        lay_over(&mut table, &file.table);
    }
    for setting in &settings {
        let mut alone = Table::new();
        setting.put_into(&mut alone);
        Config::deserialize(Value::Table(alone))
            .map_err(|error| Problem::new(&setting.variable, error.message()))?;
        setting.put_into(&mut table);
    }
    let config = Config::deserialize(Value::Table(table))
        .map_err(|error| Problem::new("configuration", error.message()))?;
    match check(&config) {
        Ok(()) => Ok(config),
        Err(mistake) => Err(Problem::new(
            place_of(&mistake, file.as_ref(), &settings),
            format!("{}: {}", mistake.full_name(), mistake.reason),
        )),
    }
}

fn read(path: &Path) -> Result<File, Problem> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Problem::new(&name, error.to_string()))?;
    let problem = |error: toml::de::Error| {
        let place = match error.span() {
            Some(span) => format!("{name}:{}", position(&text, span.start)),
            None => name.clone(),
        };
        Problem::new(place, error.message())
    };
    // Read as what it means first: only this knows the place of each mistake.
    toml::from_str::<Config>(&text).map_err(problem)?;
    let table = text.parse().map_err(problem)?;
    Ok(File { name: path.into(), text, table })
}

/// Line and column of a byte, both from one.
fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// Keys of `above` replace those of `below`, section by section; a list is replaced whole.
fn lay_over(below: &mut Table, above: &Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (Some(_) | None, value) => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// What no single value shows: keys that contradict each other, and files that are not there.
struct Mistake {
    section: &'static str,
    key: &'static str,
    reason: String,
}

impl Mistake {
    fn full_name(&self) -> String {
        match self.section {
            "" => self.key.to_owned(),
            section => format!("[{section}].{}", self.key),
        }
    }
}

fn check(config: &Config) -> Result<(), Mistake> {
    let wrong = |section, key, reason: String| Err(Mistake { section, key, reason });
    if config.roles.is_empty() {
        return wrong("", "roles", "a node without a role does nothing".to_owned());
    }
    for (number, role) in config.roles.iter().enumerate() {
        if config.roles.iter().take(number).any(|earlier| earlier == role) {
            return wrong("", "roles", "a role is listed twice".to_owned());
        }
    }
    if config.data_dir.as_os_str().is_empty() {
        return wrong("", "data_dir", "it is empty".to_owned());
    }
    let others = [
        ("web_url", &config.database.web_url),
        ("provider_url", &config.database.provider_url),
        ("migrate_url", &config.database.migrate_url),
    ];
    for (key, url) in others {
        if url.is_some() && config.database.url.is_none() {
            return wrong("database", key, "it needs url beside it".to_owned());
        }
    }
    for (section, key, addresses) in listeners(config) {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = addresses.iter().find(|listen| !seen.insert(**listen)) {
            return wrong(section, key, format!("{twice} is listed twice"));
        }
    }
    for (section, addresses) in [("sip", &config.sip.external), ("media", &config.media.external)] {
        let count = |v4: bool| addresses.iter().filter(|a| is_family(a, v4)).count();
        if count(true) > 1 || count(false) > 1 || addresses.len() > 2 {
            return wrong(section, "external", "more than one address of a family".to_owned());
        }
    }
    check_files(config)?;
    check_sounds(config)
}

/// A bucket needs somebody who may use it; its other keys need a bucket.
fn check_sounds(config: &Config) -> Result<(), Mistake> {
    let wrong =
        |section, key, reason: &str| Err(Mistake { section, key, reason: reason.to_owned() });
    let objects = &config.objects;
    let for_a_bucket = objects.endpoint.is_some()
        || objects.region.is_some()
        || objects.access_key.is_some()
        || objects.secret_key.is_some()
        || objects.addressing.is_some()
        || objects.server_side_encryption.is_some();
    match &objects.bucket {
        None if for_a_bucket => return wrong("objects", "bucket", "it is missing"),
        Some(_) if objects.access_key.is_none() => {
            return wrong("objects", "access_key", "a bucket needs it");
        }
        Some(_) if objects.secret_key.is_none() => {
            return wrong("objects", "secret_key", "a bucket needs it");
        }
        Some(_) if objects.endpoint.is_none() && objects.region.is_none() => {
            return wrong("objects", "region", "a bucket needs it, or an endpoint");
        }
        Some(_) | None => {}
    }
    let schemes = ["http://", "https://"];
    if let Some(endpoint) = &objects.endpoint
        && !schemes.iter().any(|scheme| endpoint.starts_with(scheme))
    {
        return wrong("objects", "endpoint", "it begins with neither https:// nor http://");
    }
    if objects.answer_within.0 < Duration::from_millis(100) {
        return wrong("objects", "answer_within", "no store is that fast");
    }
    if config.sounds.largest.0 > MOST_OF_A_FILE {
        return wrong("sounds", "largest", "more than 1 GiB");
    }
    if !(Duration::from_secs(1)..=LONGEST_SOUND).contains(&config.sounds.longest.0) {
        return wrong("sounds", "longest", "not between 1s and 1h");
    }
    Ok(())
}

fn is_family(external: &External, v4: bool) -> bool {
    matches!(external, External::Address(address) if address.is_ipv4() == v4)
}

fn listeners(config: &Config) -> [(&'static str, &'static str, &[Listen]); 10] {
    [
        ("sip", "udp", &config.sip.udp),
        ("sip", "tcp", &config.sip.tcp),
        ("sip", "tls", &config.sip.tls),
        ("sip", "ws", &config.sip.ws),
        ("sip", "wss", &config.sip.wss),
        ("stun", "udp", &config.stun.udp),
        ("web", "http", &config.web.http),
        ("web", "https", &config.web.https),
        ("link", "listen", &config.link.listen),
        ("admin", "listen", &config.admin.listen),
    ]
}

fn check_files(config: &Config) -> Result<(), Mistake> {
    let (tls, link) = (&config.tls, &config.link);
    for (section, key, file) in [
        ("secrets", "key_file", &config.secrets.key_file),
        ("tls", "certificate", &tls.certificate),
        ("tls", "key", &tls.key),
        ("tls", "directory", &tls.directory),
        ("link", "certificate", &link.certificate),
        ("link", "key", &link.key),
        ("link", "ca", &link.ca),
    ] {
        let Some(file) = file else { continue };
        if let Err(error) = file.metadata() {
            let reason = format!("{}: {error}", file.display());
            return Err(Mistake { section, key, reason });
        }
    }
    let files = [&link.certificate, &link.key, &link.ca];
    if files.iter().any(|file| file.is_some()) && files.contains(&&None) {
        let reason = "certificate, key and ca belong together".to_owned();
        return Err(Mistake { section: "link", key: "certificate", reason });
    }
    if *link != Link::default() && link.told().is_none_or(|told| told.ip().is_unspecified()) {
        let reason = "peers need an address to call: one in listen, or advertise".to_owned();
        return Err(Mistake { section: "link", key: "listen", reason });
    }
    match tls.certificate.is_some() == tls.key.is_some() {
        true => Ok(()),
        false => {
            let reason = "certificate and key belong together".to_owned();
            Err(Mistake { section: "tls", key: "certificate", reason })
        }
    }
}

/// Where a key was set: the variable, or the place in the file.
fn place_of(mistake: &Mistake, file: Option<&File>, settings: &[Setting]) -> String {
    let same =
        |setting: &&Setting| (setting.section, setting.key) == (mistake.section, mistake.key);
    if let Some(setting) = settings.iter().find(same) {
        return setting.variable.clone();
    }
    let Some(file) = file else { return "configuration".to_owned() };
    let name = file.name.display();
    match DeTable::parse(&file.text).ok().and_then(|table| find(&table, mistake)) {
        Some(at) => format!("{name}:{}", position(&file.text, at)),
        None => name.to_string(),
    }
}

/// The byte at which a key, or at least its section, stands.
fn find(table: &toml::Spanned<DeTable<'_>>, mistake: &Mistake) -> Option<usize> {
    let key_in = |table: &DeTable<'_>, wanted: &str| {
        table.iter().find(|(key, _)| key.get_ref() == wanted).map(|(key, _)| key.span().start)
    };
    match mistake.section {
        "" => key_in(table.get_ref(), mistake.key),
        section => {
            let found = table.get_ref().get(section)?.get_ref().as_table()?;
            key_in(found, mistake.key).or_else(|| key_in(table.get_ref(), section))
        }
    }
}
