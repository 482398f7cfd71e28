//! Which files are certificates, and whether they have changed.
//!
//! The default is named in the configuration. Each folder of the directory has any number of pairs:
//! `fullchain.pem` with `privkey.pem`, `fullchain-next.pem` with `privkey-next.pem`, and so on; the
//! folder's name is a name of theirs, too, unless it is `default`.

use std::fs::{Metadata, metadata, read_dir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::choice::plain;

/// Pairs that are looked at; more are left out.
pub(super) const MOST: usize = 20_000;

/// The folder whose certificates are for whoever names nothing that we know.
const DEFAULT: &str = "default";

/// A certificate's two files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// What a pair is for, beside the names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For whoever names nothing that we know.
    Default,
    /// For this name.
    Name(String),
    /// For the names in it only.
    Own,
}

/// How files looked; they look otherwise when they have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look([(u64, u64, i64, i64); 2]);

impl Pair {
    pub(super) fn look(&self) -> io::Result<Look> {
        let of = |metadata: Metadata| {
            (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
        };
        Ok(Look([of(metadata(&self.chain)?), of(metadata(&self.key)?)]))
    }
}

/// The pairs in a directory's folders, in the order of their names.
pub(super) fn in_directory(directory: &Path) -> io::Result<Vec<(Pair, Purpose)>> {
    let mut pairs = vec![];
    for folder in sorted(directory)? {
        let name = file_name(&folder);
        // Hidden folders are how some tools swap all files at once.
        if name.starts_with('.') || !folder.is_dir() {
            continue;
        }
        let purpose = match name.as_str() {
            DEFAULT => Purpose::Default,
            name if name.contains('.') || name == "localhost" => Purpose::Name(plain(name)),
            _ => Purpose::Own,
        };
        // A folder that cannot be read now may be at the next look.
        for chain in sorted(&folder).unwrap_or_default() {
            let name = file_name(&chain);
            let middle = name.strip_prefix("fullchain").and_then(|rest| rest.strip_suffix(".pem"));
            let Some(middle) = middle else { continue };
            let key = folder.join(format!("privkey{middle}.pem"));
            if pairs.len() == MOST {
                return Ok(pairs);
            }
            pairs.push((Pair { chain, key }, purpose.clone()));
        }
    }
    Ok(pairs)
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn each_folder_has_any_number_of_pairs_and_a_name() {
        let scratch = Scratch::new();
        let directory = scratch.path();
        for file in [
            "B.test/fullchain.pem",
            "B.test/fullchain-next.pem",
            "B.test/fullchain.pem.bak",
            "default/fullchain1.pem",
            "more/fullchain.pem",
            ".hidden/fullchain.pem",
        ] {
            create_dir_all(directory.join(file).parent().unwrap()).unwrap();
            write(directory.join(file), "").unwrap();
        }
        let found: Vec<_> = in_directory(directory)
            .unwrap()
            .into_iter()
            .map(|(pair, purpose)| (file_name(&pair.key), purpose))
            .collect();
        let b = || Purpose::Name("b.test".to_owned());
        let wanted = [
            ("privkey-next.pem", b()),
            ("privkey.pem", b()),
            ("privkey1.pem", Purpose::Default),
            ("privkey.pem", Purpose::Own),
        ];
        assert_eq!(found, wanted.map(|(key, purpose)| (key.to_owned(), purpose)));
    }

    #[test]
    fn a_changed_file_looks_otherwise() {
        let scratch = Scratch::new();
        let [chain, key] = ["c", "k"].map(|name| scratch.path().join(name));
        let pair = Pair { chain, key };
        assert!(pair.look().is_err());
        write(&pair.chain, "1").unwrap();
        write(&pair.key, "1").unwrap();
        let before = pair.look().unwrap();
        assert_eq!(pair.look().unwrap(), before);
        write(&pair.key, "22").unwrap();
        assert_ne!(pair.look().unwrap(), before);
    }
}
