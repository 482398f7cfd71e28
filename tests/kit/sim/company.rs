//! Tenants for simulations: extensions 101 to 103, a group, two conferences and a public number each.

use std::collections::BTreeMap;

use pbx::edge::Served;
use pbx::id::{ConferenceId, GroupId, TenantId, UserId};
use pbx::sip::digest::Algorithm;
use pbx::tenant::directory::{
    Conference, Directory, Encryption, Group, Limits, Place, Secrets, Srtp, User,
};
use uuid::Uuid;

/// A tenant of a simulation.
#[derive(Debug, Clone)]
pub struct Company {
    /// Its configuration.
    pub directory: Directory,
}

/// A tenant whose ids follow from `number`, with extensions 101, 102 and 103, whose passwords are
/// `secret-NUMBER`, the group 600 of all three, the
/// conferences 800 and, with the PIN 4711, 801, and the public number `+43NUMBER101` of 101.
pub fn company(number: u8, domain: &str) -> Company {
    let id = |n: u16| Uuid::from_u128(u128::from(number) << 64 | u128::from(n));
    let tenant = TenantId(id(0));
    let mut directory = Directory {
        tenant,
        version: 1,
        route: 0x1000 + u64::from(number),
        name: domain.to_owned(),
        domain: domain.to_owned(),
        aliases: vec![],
        label: None,
        trusted: vec![],
        limits: Limits::default(),
        encryption: Encryption::default(),
        recording: Default::default(),
        users: BTreeMap::new(),
        groups: BTreeMap::new(),
        conferences: BTreeMap::new(),
        numbers: BTreeMap::from([(format!("+43{number}101"), "101".to_owned())]),
        names: BTreeMap::new(),
        credentials: BTreeMap::new(),
        sounds: BTreeMap::new(),
        music: None,
        country: Default::default(),
        announcements: BTreeMap::new(),
    };
    for extension in 101..=103 {
        let user = UserId(id(extension));
        let name = extension.to_string();
        let secrets = Secrets::new(&name, domain, &format!("secret-{name}"));
        directory.names.insert(name.clone(), Place::User(user));
        directory.credentials.insert(name.clone(), user);
        let entry = User {
            id: user,
            number: name.clone(),
            username: None,
            name: format!("Phone {name}"),
            secrets,
            digest: vec![Algorithm::Md5],
            max_contacts: 3,
            limits: Limits::default(),
            srtp: Srtp::default(),
            record: Default::default(),
            music: None,
            announce_recording: None,
        };
        directory.users.insert(user, entry);
    }
    let group = GroupId(id(600));
    let members = directory.users.keys().copied().collect();
    let everybody = Group { id: group, number: "600".to_owned(), name: String::new(), members };
    directory.groups.insert(group, everybody);
    directory.names.insert("600".to_owned(), Place::Group(group));
    for (number, pin) in [(800, None), (801, Some("4711"))] {
        let (id, number, pin) =
            (ConferenceId(id(number)), number.to_string(), pin.map(str::to_owned));
        directory.names.insert(number.clone(), Place::Conference(id));
        directory.conferences.insert(id, Conference { id, number, pin });
    }
    Company { directory }
}

impl Company {
    /// Who it is.
    pub fn tenant(&self) -> TenantId {
        self.directory.tenant
    }

    /// An extension's id.
    pub fn user(&self, number: &str) -> Option<UserId> {
        match self.directory.names.get(number) {
            Some(Place::User(user)) => Some(*user),
            Some(Place::Group(_) | Place::Announcement(_) | Place::Conference(_)) | None => None,
        }
    }

    /// What the door knows of it.
    pub fn served(&self) -> Served {
        let directory = &self.directory;
        let domains = directory.aliases.iter().chain([&directory.domain]).cloned().collect();
        Served {
            tenant: directory.tenant,
            route: directory.route,
            realm: directory.domain.clone(),
            domains,
            label: directory.label.clone(),
            trusted: directory.trusted.clone(),
            offered: vec![Algorithm::Md5],
            exceptions: BTreeMap::new(),
        }
    }
}
