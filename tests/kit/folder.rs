//! A folder for one test: empty at first, gone afterwards unless the test failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::Outcome;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder of its own.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    afterwards: Afterwards,
}

#[derive(Debug)]
enum Afterwards {
    Remove,
    Keep,
    WithParent,
}

impl Folder {
    /// Makes one. Its path is short, because sockets are made in it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(name: &str) -> Outcome<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tenantd-{name}-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        let afterwards = match std::env::var_os("KEEP_FOLDERS") {
            Some(_) => Afterwards::Keep,
            None => Afterwards::Remove,
        };
        Ok(Self { path, afterwards })
    }

    /// Makes one inside of this one, which is gone with it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn inside(&self, name: &str) -> Outcome<Self> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self { path, afterwards: Afterwards::WithParent })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it for somebody to look at.
    pub fn keep(&mut self) {
        self.afterwards = Afterwards::Keep;
    }

    /// Puts a file into it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Outcome<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match self.afterwards {
            Afterwards::Keep => eprintln!("kept for you to look at: {}", self.path.display()),
            // What cannot be removed is only untidy.
            Afterwards::WithParent => {}
            Afterwards::Remove => drop(fs::remove_dir_all(&self.path)),
        }
    }
}
