//! A folder for one test, gone with it.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A folder under the system's temporary one.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let random = Uuid::from_u128(rand::random());
        let path = std::env::temp_dir().join(format!("tenantd-test-{random}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
