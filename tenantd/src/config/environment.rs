//! The environment over the file: each key is also `TENANTD_<SECTION>_<KEY>`, a list by comma, or
//! the content of a file that `TENANTD_<SECTION>_<KEY>_FILE` names.

use std::ffi::OsString;

use toml::{Table, Value};

use super::load::Problem;

/// Every key, under its section (empty: the top), and how its text is read.
pub(super) const KEYS: &[(&str, &str, Form)] = &[
    ("", "node", Form::Text),
    ("", "data_dir", Form::Text),
    ("", "roles", Form::List),
    ("", "drain_for", Form::Text),
    ("database", "url", Form::Text),
    ("database", "web_url", Form::Text),
    ("database", "migrate_url", Form::Text),
    ("database", "provider_url", Form::Text),
    ("secrets", "key_file", Form::Text),
    ("tls", "certificate", Form::Text),
    ("tls", "key", Form::Text),
    ("tls", "directory", Form::Text),
    ("sip", "udp", Form::List),
    ("sip", "tcp", Form::List),
    ("sip", "tls", Form::List),
    ("sip", "ws", Form::List),
    ("sip", "wss", Form::List),
    ("sip", "external", Form::List),
    ("sip", "local_networks", Form::List),
    ("sip", "unknown_domain", Form::Text),
    ("sip", "lanes", Form::Number),
    ("sip", "flood_per_source", Form::Number),
    ("media", "ports", Form::Text),
    ("media", "threads", Form::Number),
    ("media", "io", Form::Text),
    ("media", "pin", Form::Flag),
    ("media", "realtime", Form::Flag),
    ("media", "cache", Form::Text),
    ("media", "external", Form::List),
    ("stun", "udp", Form::List),
    ("web", "http", Form::List),
    ("web", "https", Form::List),
    ("web", "trusted_proxies", Form::List),
    ("link", "listen", Form::List),
    ("link", "advertise", Form::Text),
    ("link", "certificate", Form::Text),
    ("link", "key", Form::Text),
    ("link", "ca", Form::Text),
    ("admin", "listen", Form::List),
    ("objects", "endpoint", Form::Text),
    ("objects", "region", Form::Text),
    ("objects", "bucket", Form::Text),
    ("objects", "access_key", Form::Text),
    ("objects", "secret_key", Form::Text),
    ("objects", "addressing", Form::Text),
    ("objects", "server_side_encryption", Form::Text),
    ("objects", "answer_within", Form::Text),
    ("objects", "outbox_limit", Form::Text),
    ("sounds", "largest", Form::Text),
    ("sounds", "longest", Form::Text),
    ("recordings", "limit", Form::Text),
    ("mail", "smtp_url", Form::Text),
    ("mail", "from", Form::Text),
    ("log", "level", Form::Text),
    ("log", "format", Form::Text),
];

/// Variables of ours that are no keys, and those that an orchestrator sets for each service named
/// "tenantd".
const OTHERS: &[&str] = &["TENANTD_POSTGRES_BIN"];
const SERVICE_LINKS: &[&str] = &["TENANTD_SERVICE_", "TENANTD_PORT"];

/// How a variable's text becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    List,
    Number,
    Flag,
}

/// One variable that is a key's value.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) variable: String,
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    value: Value,
}

impl Setting {
    /// Puts the value into its section.
    pub(super) fn put_into(&self, table: &mut Table) {
        let section = match self.section {
            "" => table,
            name => {
                let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
                match section {
                    Value::Table(section) => section,
                    // The file was read before: a section there is one.
                    _ => return,
                }
            }
        };
        section.insert(self.key.to_owned(), self.value.clone());
    }
}

/// All that the environment sets.
pub(super) fn settings(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, Problem> {
    let mut settings: Vec<Setting> = Vec::new();
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("TENANTD_"))
        .collect();
    // The first mistake is always the same one.
    variables.sort();
    for (variable, value) in variables {
        let foreign = OTHERS.contains(&variable.as_str())
            || SERVICE_LINKS.iter().any(|prefix| variable.starts_with(prefix));
        if foreign {
            continue;
        }
        let setting = setting(&variable, value)?;
        let same = |other: &&Setting| (other.section, other.key) == (setting.section, setting.key);
        if let Some(other) = settings.iter().find(same) {
            let reason = format!("{} sets the same key", other.variable);
            return Err(Problem::new(variable, reason));
        }
        settings.push(setting);
    }
    Ok(settings)
}

fn setting(variable: &str, value: OsString) -> Result<Setting, Problem> {
    let problem = |reason: &str| Problem::new(variable, reason);
    let found = match find(variable) {
        Some(key) => Some((key, Source::Text)),
        None => variable.strip_suffix("_FILE").and_then(find).map(|key| (key, Source::File)),
    };
    let Some(((section, key, form), source)) = found else {
        return Err(problem("no such key"));
    };
    let value = value.into_string().map_err(|_| problem("it is not UTF-8"))?;
    let text = match source {
        Source::Text => value,
        Source::File => std::fs::read_to_string(&value)
            .map_err(|error| problem(&format!("{value}: {error}")))?
            .trim_end_matches(['\n', '\r'])
            .to_owned(),
    };
    let value = match form {
        Form::Text => Value::String(text),
        Form::Number => Value::Integer(
            text.trim().parse().map_err(|_| problem(&format!("{text:?} is no number")))?,
        ),
        Form::Flag => Value::Boolean(
            text.trim().parse().map_err(|_| problem("it is neither true nor false"))?,
        ),
        Form::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
    };
    Ok(Setting { variable: variable.to_owned(), section, key, value })
}

enum Source {
    Text,
    File,
}

fn find(variable: &str) -> Option<(&'static str, &'static str, Form)> {
    KEYS.iter().copied().find(|(section, key, _)| name_of(section, key) == variable)
}

/// The variable that is a key's.
pub(super) fn name_of(section: &str, key: &str) -> String {
    let separator = if section.is_empty() { "" } else { "_" };
    format!("TENANTD_{section}{separator}{key}").to_ascii_uppercase()
}
