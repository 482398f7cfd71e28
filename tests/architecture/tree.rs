//! The Rust files of a tree, by their path from its root.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where code is; a demo may have left its data beside them.
const PARTS: &[&str] = &["media", "migrations", "tenantd", "tests", "web"];

/// What is not ours to judge: build results, and trees that break the rules on purpose.
const SKIPPED: &[&str] = &["target", "fixtures", "node_modules"];

/// Files and their text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads every `.rs` file of the parts below `root`, hidden folders left out.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        for part in PARTS.iter().filter(|part| root.join(part).is_dir()) {
            tree.read_folder(&root.join(part), &format!("{part}/"));
        }
        assert!(!tree.files.is_empty(), "no Rust file below {}", root.display());
        tree
    }

    /// Adds a file that is not on disk.
    pub(crate) fn add(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    /// Every file below `folder`, as (path, text).
    pub(crate) fn below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(move |(path, _)| path.starts_with(folder));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) {
        let entries = fs::read_dir(folder).expect("a folder of the tree can be read");
        for entry in entries {
            let entry = entry.expect("an entry of the tree can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if entry.file_type().expect("an entry has a type").is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    self.read_folder(&entry.path(), &format!("{path}/"));
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).expect("a source file can be read");
                self.files.insert(path, text);
            }
        }
    }
}
