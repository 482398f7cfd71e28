//! Where Postgres's programs are on this machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Debian and Ubuntu keep each major version's programs in a folder of its own here.
const BY_VERSION: &str = "/usr/lib/postgresql";

/// The folder with `initdb` and `postgres`: the one that is named, else the newest of the system's,
/// else the first on the search path. A cluster that exists is best served by its own version.
pub(super) fn find(
    named: Option<&OsStr>,
    search_path: Option<&OsStr>,
    cluster_version: Option<&str>,
) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(PathBuf::from(named)).filter(|folder| holds_programs(folder));
    }
    let installed = installed(Path::new(BY_VERSION));
    let same = installed.iter().find(|(version, _)| cluster_version == Some(version.as_str()));
    same.or(installed.first()).map(|(_, folder)| folder.clone()).or_else(|| {
        std::env::split_paths(search_path?)
            .find(|folder| folder.is_absolute() && holds_programs(folder))
    })
}

/// The versions that are installed, the newest first.
fn installed(root: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<(u32, String, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().into_string().ok()?;
            let folder = entry.path().join("bin");
            Some((version.parse().ok()?, version, folder)).filter(|(_, _, f)| holds_programs(f))
        })
        .collect();
    found.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, version, folder)| (version, folder)).collect()
}

fn holds_programs(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_folder_without_programs_is_not_replaced_by_another() {
        assert_eq!(find(Some(OsStr::new("/nonexistent")), None, None), None);
    }

    #[test]
    fn the_newest_version_comes_first_by_number() {
        let root = std::env::temp_dir().join(format!("tenantd-binaries-{}", std::process::id()));
        for version in ["9", "15", "100", "old"] {
            let folder = root.join(version).join("bin");
            std::fs::create_dir_all(&folder).unwrap();
            for program in ["initdb", "postgres"] {
                std::fs::write(folder.join(program), "").unwrap();
            }
        }
        std::fs::remove_file(root.join("100/bin/initdb")).unwrap();

        let versions: Vec<String> = installed(&root).into_iter().map(|(v, _)| v).collect();

        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(versions, ["15", "9"]);
    }
}
