//! What cargo knows of a workspace: its packages, what they depend on, and under which licence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// A workspace, as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Its packages; with [`Metadata::of_everything`] also those of others.
    pub packages: Vec<Package>,
    /// Ids of its own packages.
    pub workspace_members: Vec<String>,
    /// Its folder.
    pub workspace_root: PathBuf,
    /// Which package was chosen for which dependency; only with [`Metadata::of_everything`].
    pub resolve: Option<Resolve>,
}

/// A package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Unique in this description.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as an SPDX expression.
    pub license: Option<String>,
    /// The file with its licence, if it states none by name.
    pub license_file: Option<PathBuf>,
    /// Where it comes from; none if it is a folder here.
    pub source: Option<String>,
    /// Its Cargo.toml.
    pub manifest_path: PathBuf,
    /// What it asks for, of every kind.
    pub dependencies: Vec<Dependency>,
}

/// What a package asks for.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The real name, whatever it is renamed to.
    pub name: String,
}

/// What was chosen.
#[derive(Debug, Deserialize)]
pub struct Resolve {
    /// One a package.
    pub nodes: Vec<Node>,
}

/// A package and what was chosen for it.
#[derive(Debug, Deserialize)]
pub struct Node {
    /// Which package.
    pub id: String,
    /// What it uses.
    pub deps: Vec<Chosen>,
}

/// A package that another one uses.
#[derive(Debug, Deserialize)]
pub struct Chosen {
    /// Which package.
    pub pkg: String,
    /// For what it is used.
    pub dep_kinds: Vec<Use>,
}

/// For what a dependency is used.
#[derive(Debug, Deserialize)]
pub struct Use {
    /// `dev`, `build`, or none for the program itself.
    pub kind: Option<String>,
}

impl Package {
    /// The text of its licence, if it brings it as a file.
    pub fn licence_text(&self) -> Option<String> {
        let folder = self.manifest_path.parent()?;
        std::fs::read_to_string(folder.join(self.license_file.as_ref()?)).ok()
    }
}

impl Metadata {
    /// The workspace's own packages. Needs no network and no lock file.
    pub fn of_members(root: &Path) -> Result<Self, String> {
        Self::run(root, &["--no-deps", "--offline"])
    }

    /// All packages that are used on this kind of machine.
    pub fn of_everything(root: &Path) -> Result<Self, String> {
        let host = host()?;
        Self::run(root, &["--locked", "--offline", "--filter-platform", &host])
    }

    /// A package's folder below the workspace's.
    pub fn folder_of(&self, package: &Package) -> String {
        let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
        folder.strip_prefix(&self.workspace_root).unwrap_or(folder).display().to_string()
    }

    /// Packages of others that our packages use in some way, each with an id and a package.
    pub fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id))
    }

    /// Packages that become part of the program `name`, or build it; what only tests use is left out.
    pub fn shipped_in(&self, name: &str) -> Vec<&Package> {
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .iter()
            .flat_map(|resolve| &resolve.nodes)
            .map(|node| (node.id.as_str(), node))
            .collect();
        let start = self.packages.iter().filter(|p| p.name == name).map(|p| p.id.as_str());
        let mut waiting: Vec<&str> = start.collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let chosen = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let used = chosen
                .iter()
                .filter(|chosen| chosen.dep_kinds.iter().any(|u| u.kind.as_deref() != Some("dev")));
            waiting.extend(used.map(|chosen| chosen.pkg.as_str()));
        }
        self.packages.iter().filter(|package| seen.contains(package.id.as_str())).collect()
    }

    fn run(root: &Path, more: &[&str]) -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .args(more)
            .output()
            .map_err(|failure| format!("cargo cannot be run: {failure}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|failure| failure.to_string())
    }
}

/// This machine's kind, as rustc names it.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .map_err(|failure| format!("rustc cannot be run: {failure}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc names no host".to_owned())
}
