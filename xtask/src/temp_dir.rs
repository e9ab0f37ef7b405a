//! Temporary folders.
//!
//! Invariant: a folder goes when its owner is dropped, unless it was kept on purpose.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::cache::remove;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder below the system's temporary folder that is removed on drop.
pub(crate) struct TempDir {
    path: PathBuf,
    kept: bool,
}

impl TempDir {
    /// Makes a new empty folder whose name contains `name`.
    pub(crate) fn new(name: &str) -> Result<TempDir> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("landfall-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(TempDir { path, kept: false })
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is when this value is dropped.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path)
        {
            eprintln!("{error:#}");
        }
    }
}
