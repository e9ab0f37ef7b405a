//! A folder that goes when its owner goes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::cache::remove;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A new empty folder below the system's temporary folder, removed on drop.
pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    pub fn new(name: &str) -> Result<Scratch> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("landfall-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch { path, kept: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.path)
        {
            eprintln!("{error:#}");
        }
    }
}
