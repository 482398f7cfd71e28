//! A tenant's configuration as one immutable fact: loaded whole, handed over whole.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use crate::id::{AnnouncementId, ConferenceId, GroupId, SoundId, TenantId, UserId};
use crate::play::{Country, Stored};
use crate::sip::digest::{self, Hashed};

pub use crate::sip::digest::Algorithm;
pub use crate::sip::sdp::Srtp;

/// Everything a switch knows about a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Directory {
    /// Who.
    pub tenant: TenantId,
    /// Which version of the configuration this is; later ones are larger.
    pub version: i64,
    /// The random number in the tags and branches we write for this tenant.
    pub route: u64,
    /// What the company is called.
    pub name: String,
    /// The canonical SIP domain, lower case; also the digest realm.
    pub domain: String,
    /// Other domains that mean the same tenant, lower case.
    pub aliases: Vec<String>,
    /// The short label for phones that cannot send a domain (`USER*LABEL`).
    pub label: Option<String>,
    /// Networks whose phones need no domain, as (address, prefix length).
    pub trusted: Vec<(IpAddr, u8)>,
    /// Limits of the whole company.
    pub limits: Limits,
    /// What it wants of encryption.
    pub encryption: Encryption,
    /// What it keeps of its calls' sound.
    pub recording: Recording,
    /// Extensions by their id.
    pub users: BTreeMap<UserId, User>,
    /// Ring groups by their id.
    pub groups: BTreeMap<GroupId, Group>,
    /// Conferences by their id.
    pub conferences: BTreeMap<ConferenceId, Conference>,
    /// Public numbers, and where they ring.
    pub numbers: BTreeMap<String, String>,
    /// Where a dialled name leads: numbers and user names of extensions, numbers of groups
    /// and of conferences.
    pub names: BTreeMap<String, Place>,
    /// Digest user names: `auth_username`, else user name, else number; lower case is not folded.
    pub credentials: BTreeMap<String, UserId>,
    /// Sounds by their name.
    pub sounds: BTreeMap<String, Sound>,
    /// What its phones hear while they are on hold: a sound's name.
    pub music: Option<String>,
    /// Whose tones its phones hear.
    pub country: Country,
    /// Announcements by their id.
    pub announcements: BTreeMap<AnnouncementId, Announcement>,
}

impl Directory {
    /// The sound of this name, for whoever plays it.
    pub fn sound(&self, name: &str) -> Option<Stored> {
        let Sound { object, sha256, bytes, .. } = *self.sounds.get(name)?;
        Some(Stored { tenant: self.tenant, object, sha256, bytes })
    }
}

/// A number that answers by itself, says something and hangs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its id.
    pub id: AnnouncementId,
    /// Its number.
    pub number: String,
    /// What it says: a sound's name.
    pub sound: String,
}

/// A recording that can be played: which object it is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Its id; it stays when the recording changes.
    pub id: SoundId,
    /// The id of its object; another one when the recording changes.
    pub object: Uuid,
    /// The SHA-256 of the object.
    pub sha256: [u8; 32],
    /// The length of the object.
    pub bytes: u64,
    /// How long it lasts.
    pub lasts_for: Duration,
}

/// Where a dialled name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// An extension.
    User(UserId),
    /// A ring group.
    Group(GroupId),
    /// A conference.
    Conference(ConferenceId),
    /// An announcement.
    Announcement(AnnouncementId),
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its number.
    pub number: String,
    /// The SIP user name, if it is not the number.
    pub username: Option<String>,
    /// Who it is.
    pub name: String,
    /// What proves a password.
    pub secrets: Secrets,
    /// Which digests are offered to it, in order.
    pub digest: Vec<Algorithm>,
    /// How many phones may be registered at once; the newest replaces the oldest.
    pub max_contacts: u16,
    /// Its limits.
    pub limits: Limits,
    /// How much encryption of sound is wanted with its phones.
    pub srtp: Srtp,
    /// Whether its calls are recorded.
    pub record: Record,
    /// What those hear whom it puts on hold, if it is not the company's music: a sound's name.
    pub music: Option<String>,
    /// What is heard when its rule or its key begins a recording, if it is not what the company
    /// wants: a sound's name.
    pub announce_recording: Option<String>,
}

impl User {
    /// The name in its address of record: the user name, else the number.
    pub fn sip_name(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.number)
    }
}

/// What proves a password: H(username:realm:password) of each algorithm (RFC 7616 §3.4.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The user name that was hashed.
    pub username: String,
    /// With MD5.
    pub md5: [u8; 16],
    /// With SHA-256.
    pub sha256: [u8; 32],
    /// With MD5, of `username@realm`: some phones write the domain into their user name.
    pub md5_with_domain: [u8; 16],
    /// With SHA-256, of `username@realm`.
    pub sha256_with_domain: [u8; 32],
    /// With MD5 and SHA-256, of `username*label`, if the tenant has a label.
    pub with_label: Option<Box<([u8; 16], [u8; 32])>>,
}

/// How a phone wrote its user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// `101`.
    Alone,
    /// `101@acme.example`, with the canonical domain.
    WithDomain,
    /// `101*acme`, with the tenant's label as it is configured, in lower case.
    WithLabel,
}

impl Secrets {
    /// Hashes a password; `realm` is the tenant's canonical domain.
    pub fn new(username: &str, realm: &str, password: &str) -> Self {
        let with_domain = format!("{username}@{realm}");
        let md5 = |name: &str| digest::md5(&[name, realm, password]);
        let sha256 = |name: &str| digest::sha256(&[name, realm, password]);
        Self {
            username: username.to_owned(),
            md5: md5(username),
            sha256: sha256(username),
            md5_with_domain: md5(&with_domain),
            sha256_with_domain: sha256(&with_domain),
            with_label: None,
        }
    }

    /// Hashes it for phones too that write the tenant's label behind their user name.
    #[must_use]
    pub fn labelled(self, label: &str, realm: &str, password: &str) -> Self {
        let name = format!("{}*{}", self.username, label.to_ascii_lowercase());
        let parts = [name.as_str(), realm, password];
        let with_label = Some(Box::new((digest::md5(&parts), digest::sha256(&parts))));
        Self { with_label, ..self }
    }

    /// The hash that a proof must rest on.
    pub fn hashed(&self, algorithm: Algorithm, written: Written) -> Hashed {
        match (algorithm, written, &self.with_label) {
            (Algorithm::Md5, Written::WithDomain, _) => Hashed::Md5(self.md5_with_domain),
            (Algorithm::Sha256, Written::WithDomain, _) => Hashed::Sha256(self.sha256_with_domain),
            (Algorithm::Md5, Written::WithLabel, Some(hashes)) => Hashed::Md5(hashes.0),
            (Algorithm::Sha256, Written::WithLabel, Some(hashes)) => Hashed::Sha256(hashes.1),
            (Algorithm::Md5, Written::Alone, _) | (Algorithm::Md5, Written::WithLabel, None) => {
                Hashed::Md5(self.md5)
            }
            (Algorithm::Sha256, Written::Alone, _)
            | (Algorithm::Sha256, Written::WithLabel, None) => Hashed::Sha256(self.sha256),
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A group that rings all its members at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its number.
    pub number: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its members, in the order in which they were written.
    pub members: Vec<UserId>,
}

/// A number where all who call it hear each other.
#[derive(Clone, PartialEq, Eq)]
pub struct Conference {
    /// Its id.
    pub id: ConferenceId,
    /// Its number.
    pub number: String,
    /// What must be dialled to get in: digits. `None`: nothing.
    pub pin: Option<String>,
}

/// Nothing of its PIN.
impl std::fmt::Debug for Conference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, number, .. } = self;
        f.debug_struct("Conference").field("id", id).field("number", number).finish_non_exhaustive()
    }
}

/// What a company wants of encryption of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encryption {
    /// How much of it, where nothing else is said.
    pub srtp: Srtp,
    /// Keys in descriptions that come over signalling that is not encrypted.
    pub plain_keys: PlainKeys,
}

/// What a company keeps of its calls' sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Its rule, where an extension has none of its own.
    pub rule: Record,
    /// What is pressed within a call to begin a recording, to pause it and to go on.
    pub code: String,
    /// What both who talk hear when a recording begins: a sound's name. `None`: nothing.
    pub announcement: Option<String>,
}

impl Default for Recording {
    fn default() -> Self {
        Self { rule: Record::Off, code: "*1".to_owned(), announcement: None }
    }
}

/// Whether calls are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Record {
    /// They are not.
    #[default]
    Off,
    /// From the answer to the end.
    Always,
    /// When the extension presses the code.
    OnDemand,
}

/// Whether keys are taken that anybody on the way can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainKeys {
    /// They are worth nothing.
    #[default]
    Refused,
    /// The company knows it and wants it so.
    Taken,
}

/// Limits on calls; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Calls at the same time.
    pub max_calls: Option<u32>,
    /// The longest a call may last from its answer.
    pub max_call_for: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_hashed_for_each_algorithm_and_way_to_write_the_name() {
        let secrets =
            Secrets::new("101", "acme.test", "s3cret").labelled("Acme", "acme.test", "s3cret");
        let ways = [
            (Written::Alone, "101"),
            (Written::WithDomain, "101@acme.test"),
            (Written::WithLabel, "101*acme"),
        ];
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            for (written, name) in ways {
                let expected = Hashed::password(algorithm, name, "acme.test", "s3cret");
                assert_eq!(secrets.hashed(algorithm, written), expected);
            }
        }
        assert!(!format!("{secrets:?}").contains("md5"));
    }
}
