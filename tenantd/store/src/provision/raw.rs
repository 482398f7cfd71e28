//! A provisioning file as it is written, before anything in it is checked but its keys.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    #[serde(default)]
    pub(super) tenant: Vec<Spanned<Tenant>>,
    pub(super) trunk: Option<Spanned<toml::Value>>,
}

/// `[[tenant]]`: as many fields as the file has keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) domain: Spanned<String>,
    pub(super) aliases: Option<Spanned<Vec<String>>>,
    pub(super) label: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) country: Option<Spanned<String>>,
    pub(super) time_zone: Option<Spanned<String>>,
    pub(super) max_calls: Option<Spanned<i64>>,
    pub(super) max_call_for: Option<Spanned<String>>,
    pub(super) trusted: Option<Spanned<Vec<String>>>,
    pub(super) digest: Option<Spanned<Vec<String>>>,
    pub(super) srtp: Option<Spanned<String>>,
    pub(super) sdes_over_plain: Option<bool>,
    pub(super) max_sounds: Option<Spanned<i64>>,
    pub(super) sound_quota: Option<Spanned<String>>,
    pub(super) record: Option<Spanned<String>>,
    pub(super) record_code: Option<Spanned<String>>,
    pub(super) record_days: Option<Spanned<i64>>,
    pub(super) announce_recording: Option<Spanned<String>>,
    pub(super) music: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) admin: Vec<Spanned<Admin>>,
    #[serde(default)]
    pub(super) extension: Vec<Spanned<Extension>>,
    #[serde(default)]
    pub(super) ring_group: Vec<Spanned<Group>>,
    #[serde(default)]
    pub(super) conference: Vec<Spanned<Conference>>,
    #[serde(default)]
    pub(super) number: Vec<Spanned<Number>>,
    #[serde(default)]
    pub(super) sound: Vec<Spanned<Sound>>,
    #[serde(default)]
    pub(super) announcement: Vec<Spanned<Announcement>>,
    pub(super) trunk: Option<Spanned<toml::Value>>,
}

/// `[[tenant.admin]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) email: Spanned<String>,
    pub(super) password: Spanned<String>,
}

/// `[[tenant.extension]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Extension {
    pub(super) number: Spanned<String>,
    pub(super) username: Option<Spanned<String>>,
    pub(super) auth_username: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<String>>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) email: Option<Spanned<String>>,
    pub(super) voicemail: Option<bool>,
    pub(super) digest: Option<Spanned<Vec<String>>>,
    pub(super) srtp: Option<Spanned<String>>,
    pub(super) record: Option<Spanned<String>>,
    pub(super) announce_recording: Option<Spanned<String>>,
    pub(super) music: Option<Spanned<String>>,
    pub(super) max_contacts: Option<Spanned<i64>>,
    pub(super) max_calls: Option<Spanned<i64>>,
    pub(super) max_call_for: Option<Spanned<String>>,
}

/// `[[tenant.ring_group]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) number: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) members: Option<Spanned<Vec<String>>>,
}

/// `[[tenant.conference]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conference {
    pub(super) number: Spanned<String>,
    pub(super) pin: Option<Spanned<String>>,
}

/// `[[tenant.number]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Number {
    pub(super) number: Spanned<String>,
    pub(super) to: Spanned<String>,
    pub(super) trunk: Option<Spanned<toml::Value>>,
}

/// `[[tenant.sound]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sound {
    pub(super) name: Spanned<String>,
    pub(super) file: Spanned<String>,
}

/// `[[tenant.announcement]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Announcement {
    pub(super) number: Spanned<String>,
    pub(super) sound: Spanned<String>,
}
