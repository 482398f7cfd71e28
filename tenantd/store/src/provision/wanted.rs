//! What a provisioning file says, read and checked as far as the file alone can tell.

use super::Problem;

/// A checked file.
#[derive(Debug, Clone)]
pub struct File {
    pub(super) name: String,
    pub(super) tenants: Vec<Tenant>,
}

/// One tenant of the file. An absent value means: keep what there is.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) line: usize,
    pub(super) domain: String,
    pub(super) aliases: Option<Vec<String>>,
    pub(super) about: About,
    pub(super) limits: Limits,
    pub(super) trusted: Option<Vec<String>>,
    pub(super) digest: Option<Vec<String>>,
    pub(super) encryption: Encryption,
    pub(super) recording: Recording,
    pub(super) admins: Vec<Admin>,
    pub(super) extensions: Vec<Extension>,
    pub(super) groups: Vec<Group>,
    pub(super) conferences: Vec<Conference>,
    pub(super) numbers: Vec<Number>,
    pub(super) sounds: Vec<Sound>,
    pub(super) played: Played,
}

/// What a company is called, and where it is.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) name: Option<String>,
    pub(super) label: Option<String>,
    pub(super) country: Option<String>,
    pub(super) time_zone: Option<String>,
}

/// What phones are played.
#[derive(Debug, Clone)]
pub(super) struct Played {
    /// On hold.
    pub(super) music: Option<Named>,
    pub(super) announcements: Vec<Announcement>,
}

/// A sound that is to be played, and where the file says so; an empty name takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) line: usize,
}

/// A number that says something and hangs up.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    pub(super) line: usize,
    pub(super) number: String,
    pub(super) sound: String,
}

/// Limits on calls; 0 is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_calls: Option<u32>,
    pub(super) max_call_s: Option<u32>,
    pub(super) max_sounds: Option<u32>,
    pub(super) sound_bytes: Option<u64>,
}

/// What is wanted of encryption of sound.
#[derive(Debug, Clone)]
pub(super) struct Encryption {
    pub(super) srtp: Option<String>,
    pub(super) sdes_over_plain: Option<bool>,
}

/// What is kept of calls' sound; 0 days is for ever.
#[derive(Debug, Clone)]
pub(super) struct Recording {
    pub(super) rule: Option<String>,
    pub(super) code: Option<String>,
    pub(super) days: Option<u32>,
    /// What is heard when a recording begins.
    pub(super) announcement: Option<Named>,
}

/// Somebody who runs the tenant.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) email: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("email", &self.email).finish_non_exhaustive()
    }
}

/// An extension.
#[derive(Clone)]
pub(super) struct Extension {
    pub(super) line: usize,
    pub(super) number: String,
    pub(super) username: Option<String>,
    pub(super) auth_username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) voicemail: Option<bool>,
    pub(super) digest: Option<Vec<String>>,
    pub(super) srtp: Option<String>,
    pub(super) record: Option<String>,
    pub(super) announce_recording: Option<Named>,
    pub(super) music: Option<Named>,
    pub(super) max_contacts: Option<u32>,
    pub(super) limits: Limits,
}

impl std::fmt::Debug for Extension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extension").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A ring group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) line: usize,
    pub(super) number: String,
    pub(super) name: Option<String>,
    pub(super) members: Option<Vec<String>>,
}

/// A conference.
#[derive(Clone)]
pub(super) struct Conference {
    pub(super) line: usize,
    pub(super) number: String,
    pub(super) pin: Option<String>,
}

impl std::fmt::Debug for Conference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conference").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A public number.
#[derive(Debug, Clone)]
pub(super) struct Number {
    pub(super) line: usize,
    pub(super) number: String,
    pub(super) to: String,
}

/// A sound.
#[derive(Debug, Clone)]
pub(super) struct Sound {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) file: String,
}

/// A sound that the file names, for whoever reads the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundFile {
    /// Whose, by the canonical domain.
    pub domain: String,
    /// What it is called there.
    pub name: String,
    /// Where it is, as the file says.
    pub file: String,
    /// Where the file says so.
    pub line: usize,
}

impl File {
    /// The sounds that it names; their files are not looked at here.
    pub fn sounds(&self) -> impl Iterator<Item = SoundFile> {
        self.tenants.iter().flat_map(|tenant| {
            tenant.sounds.iter().map(|sound| SoundFile {
                domain: tenant.domain.clone(),
                name: sound.name.clone(),
                file: sound.file.clone(),
                line: sound.line,
            })
        })
    }

    /// That something is wrong with what a line says.
    pub fn at_fault(&self, line: usize, reason: impl Into<String>) -> Problem {
        self.problem(line, reason)
    }

    pub(super) fn problem(&self, line: usize, reason: impl Into<String>) -> Problem {
        Problem { file: self.name.clone(), line, reason: reason.into() }
    }
}
