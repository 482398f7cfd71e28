//! Which package may depend on which, ours and others, read from `cargo metadata`.

use std::path::Path;

use kit::metadata::{Metadata, Package};

/// One of our packages: its name, its folder, and those of ours that it may depend on.
struct Ours {
    name: &'static str,
    folder: &'static str,
    below: &'static [&'static str],
}

const OURS: &[Ours] = &[
    Ours { name: "pbx", folder: "tenantd/pbx", below: &[] },
    Ours { name: "store", folder: "tenantd/store", below: &["pbx"] },
    Ours { name: "media", folder: "media", below: &["pbx"] },
    Ours { name: "web", folder: "web", below: &["pbx", "store"] },
    Ours { name: "tenantd", folder: "tenantd", below: &["pbx", "store", "media", "web"] },
    Ours { name: "tests", folder: "tests", below: &["pbx", "store", "media", "web", "tenantd"] },
];

/// Outside packages, and the only package of ours that may depend on them. Tests may, as judges.
const HOMES: &[(&str, &str)] = &[
    ("rsip", "pbx"),
    ("sqlx", "store"),
    ("aws-sdk-s3", "store"),
    ("stun-rs", "media"),
    ("openssl", "media"),
    ("rustls", "tenantd"),
    ("axum", "web"),
    ("askama", "web"),
    ("lettre", "web"),
];

/// Outside packages that a package of ours must do without.
const KEPT_OUT: &[(&str, &[&str])] = &[
    ("pbx", &["tokio", "nix", "libc", "mio", "socket2", "rand", "log", "tracing", "metrics"]),
    ("media", &["tokio"]),
];

/// What breaks the arrows in the workspace at `root`.
pub(crate) fn broken(root: &Path) -> Vec<String> {
    let metadata = Metadata::of_members(root).expect("cargo describes the workspace");
    metadata.packages.iter().flat_map(|package| broken_by(&metadata, package)).collect()
}

fn broken_by(metadata: &Metadata, package: &Package) -> Vec<String> {
    let folder = metadata.folder_of(package);
    let name = format!("{} ({folder})", package.name);
    let Some(ours) = OURS.iter().find(|ours| ours.name == package.name) else {
        return vec![format!("{name} is not a package of the layout")];
    };
    let mut broken = vec![];
    if folder != ours.folder {
        broken.push(format!("{name} lives in {}", ours.folder));
    }
    // A package may use itself: that is how its own tests see it from outside.
    for needed in package.dependencies.iter().map(|d| d.name.as_str()).filter(|n| *n != ours.name) {
        let is_ours = OURS.iter().any(|ours| ours.name == needed);
        if is_ours && !ours.below.contains(&needed) {
            let below = match ours.below {
                [] => "nothing of ours".to_owned(),
                below => below.join(", "),
            };
            let rule = format!("{} may depend on {below}", ours.name);
            broken.push(format!("{name} depends on {needed}: {rule}"));
        }
        let home = HOMES.iter().find(|(outside, _)| *outside == needed);
        if let Some((_, home)) = home
            && *home != ours.name
            && ours.name != "tests"
        {
            broken.push(format!("{name} depends on {needed}, whose home is {home}"));
        }
        if KEPT_OUT.iter().any(|(who, out)| *who == ours.name && out.contains(&needed)) {
            broken.push(format!("{name} depends on {needed}, which is kept out of {}", ours.name));
        }
    }
    broken
}
