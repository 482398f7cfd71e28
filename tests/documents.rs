//! What is written for people: links that lead somewhere, and scripts that can be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_link_leads_to_a_file() {
    let mut dead = vec![];
    for (page, text) in pages() {
        let folder = page.parent().expect("a page lies in a folder");
        for target in links(&text).filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !folder.join(file).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}\n", dead.join("\n"));
}

#[test]
fn every_path_in_backticks_that_looks_like_ours_exists() {
    let mut dead = vec![];
    for (page, text) in pages() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let ours = ["tests/", "infra/", "docs/", "migrations/", "tenantd/", "web/", "media/"];
            let is_ours = ours.iter().any(|folder| quoted.starts_with(folder));
            let is_one_path = !quoted.contains([' ', '*', '<', '\n']);
            if is_ours && is_one_path && !exists(quoted) {
                dead.push(format!("{}: {quoted}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}\n", dead.join("\n"));
}

#[test]
fn every_script_can_be_read_and_run() {
    for script in ["infra/demo", "infra/install", "infra/rust", "infra/test", ".ci/run"] {
        let path = root().join(script);
        let status = Command::new("bash").arg("-n").arg(&path).status().expect("bash can be run");
        assert!(status.success(), "{script} is no script");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(&path).expect("a script is there").permissions(),
        );
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be run");
    }
}

/// A file, or a module in one file or a folder.
fn exists(path: &str) -> bool {
    ["", ".rs", "/mod.rs"].iter().any(|end| root().join(format!("{path}{end}")).exists())
}

/// Targets of `[words](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn pages() -> Vec<(PathBuf, String)> {
    let folders = ["", "docs", "infra/runbook", "migrations", "tests"];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(root().join(folder)).ok());
    let pages: Vec<(PathBuf, String)> = entries
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a page can be read");
            (path, text)
        })
        .collect();
    assert!(pages.len() > 5, "hardly any page was found");
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
