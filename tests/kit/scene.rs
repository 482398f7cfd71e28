//! A live test: a folder, ports, and what is left to look at when it fails.

use std::fs;
use std::path::Path;

use crate::failure::{Failure, Outcome};
use crate::folder::Folder;
use crate::ports::Ports;

/// So much of each log is shown when a test failed.
const LAST_LINES: usize = 60;

/// What was noticed where nothing should have been: a file that is not there in a good test.
pub const FOUND: &str = "found.log";

/// Where a live test takes place.
#[derive(Debug)]
pub struct Scene {
    /// For all files of the test.
    pub folder: Folder,
    /// For all sockets of the test.
    pub ports: Ports,
}

/// Plays a live test. If it fails, its logs are shown and its folder is kept.
pub fn play(name: &str, act: impl FnOnce(&mut Scene) -> Outcome) {
    let folder = Folder::new(name).expect("a folder can be made for temporary files");
    let ports = Ports::claim().expect("ports are free");
    let mut scene = Scene { folder, ports };
    let outcome = act(&mut scene).and_then(|()| nothing_found(scene.folder.path()));
    if outcome.is_err() {
        scene.folder.keep();
        show_logs(scene.folder.path());
    }
    drop(scene);
    outcome.expect("the scene is played to its end");
}

fn nothing_found(folder: &Path) -> Outcome {
    match fs::read_to_string(folder.join(FOUND)) {
        Ok(found) => Err(Failure::new(found)),
        Err(_) => Ok(()),
    }
}

fn show_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "data" {
            show_logs(&path);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            let skipped = lines.len().saturating_sub(LAST_LINES);
            eprintln!("---- {} (from line {})", path.display(), skipped + 1);
            for line in lines.into_iter().skip(skipped) {
                eprintln!("{line}");
            }
        }
    }
}
