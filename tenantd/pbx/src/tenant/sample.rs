//! A company to test with: extensions 101 to 103, a group, a conference, two public numbers.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::directory::{
    Algorithm, Conference, Directory, Encryption, Group, Limits, Place, Secrets, Srtp, User,
};
use crate::id::{ConferenceId, GroupId, TenantId, UserId};
use crate::play::Country;

/// The id of the extension with this number.
pub(crate) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

/// The id of the group with this number.
pub(crate) fn group(number: u128) -> GroupId {
    GroupId(Uuid::from_u128(number))
}

/// The id of the conference with this number.
pub(crate) fn conference(number: u128) -> ConferenceId {
    ConferenceId(Uuid::from_u128(number))
}

/// A tenant's id.
pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

/// The company: 102 is also `klaus.darilion`, and 103 proves itself as `auth103`.
pub(crate) fn directory() -> Directory {
    let users = [(101, None), (102, Some("klaus.darilion")), (103, None)];
    let users: BTreeMap<_, _> =
        users.into_iter().map(|(number, name)| (user(number), extension(number, name))).collect();
    let mut names = BTreeMap::new();
    for user in users.values() {
        names.insert(user.number.clone(), Place::User(user.id));
        names.extend(user.username.clone().map(|name| (name, Place::User(user.id))));
    }
    names.insert("600".into(), Place::Group(group(600)));
    let sales = Group {
        id: group(600),
        number: "600".into(),
        name: "Sales".into(),
        members: vec![user(101), user(102)],
    };
    names.insert("800".into(), Place::Conference(conference(800)));
    let meeting = Conference { id: conference(800), number: "800".into(), pin: None };
    let numbers = [("+4312345", "101"), ("+4312346", "600")];
    Directory {
        tenant: tenant(1),
        version: 1,
        route: 7,
        name: "Acme".into(),
        domain: "acme.test".into(),
        aliases: vec!["acme.example".into(), "192.0.2.1".into()],
        label: Some("acme".into()),
        trusted: vec![],
        limits: Limits::default(),
        encryption: Encryption::default(),
        recording: Default::default(),
        credentials: users.values().map(|user| (user.secrets.username.clone(), user.id)).collect(),
        sounds: BTreeMap::new(),
        music: None,
        country: Country::default(),
        announcements: BTreeMap::new(),
        users,
        groups: BTreeMap::from([(group(600), sales)]),
        conferences: BTreeMap::from([(conference(800), meeting)]),
        numbers: numbers.map(|(number, to)| (number.into(), to.into())).into(),
        names,
    }
}

/// The password of the extension with this number.
pub(crate) fn password(number: u128) -> String {
    format!("secret of {number}")
}

fn extension(number: u128, username: Option<&str>) -> User {
    let credential = match (number, username) {
        (103, _) => "auth103".to_owned(),
        (_, Some(name)) => name.to_owned(),
        (_, None) => number.to_string(),
    };
    User {
        id: user(number),
        number: number.to_string(),
        username: username.map(str::to_owned),
        name: format!("Extension {number}"),
        secrets: Secrets::new(&credential, "acme.test", &password(number)).labelled(
            "acme",
            "acme.test",
            &password(number),
        ),
        digest: vec![Algorithm::Md5],
        max_contacts: 1,
        limits: Limits::default(),
        srtp: Srtp::default(),
        record: Default::default(),
        music: None,
        announce_recording: None,
    }
}
