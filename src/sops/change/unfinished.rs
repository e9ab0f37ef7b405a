//! The memory of a transaction that did not come to its end.
//!
//! Before the first original is replaced, a note says what is about to be written;
//! it is removed after the last. So the next run knows the files that a run that
//! was killed left changed but not committed, and is not stopped by them as by
//! somebody else's work; and it knows whom the run was taking out of the files,
//! though `.sops.yaml` says so no longer.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::repo::git_dir;
use super::transaction::FileChange;
use crate::run::crash_points;

/// A host that is being taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) host: String,
    pub(crate) recipient: String,
}

/// The note's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    removed: Option<Removed>,
    /// SHA-256 of every new content, in hexadecimal.
    contents: Vec<String>,
}

/// The place of the note: in git's own folder, else beside `.sops.yaml`.
pub(crate) struct Intention {
    path: PathBuf,
}

impl Intention {
    pub(crate) fn of(config_dir: &Path) -> Self {
        let path = match git_dir(config_dir) {
            Some(git) => git.join("landfall-secrets"),
            None => config_dir.join(".landfall-secrets"),
        };
        Self { path }
    }

    /// Writes the note, synced to disk.
    pub(crate) fn note(
        &self,
        changes: &[&FileChange],
        removed: Option<&Removed>,
    ) -> std::io::Result<()> {
        let contents = changes.iter().map(|change| digest(&change.after)).collect();
        let note = Note { removed: removed.cloned(), contents };
        crash_points::disk("making the note");
        let mut file = File::create(&self.path)?;
        crash_points::disk("writing the note");
        file.write_all(&serde_json::to_vec(&note)?)?;
        crash_points::disk("syncing the note");
        file.sync_all()
    }

    /// Removes the note, if there is one. That a host is being taken out is forgotten
    /// only when that is done.
    pub(crate) fn forget(&self, removed: Option<&Removed>) -> std::io::Result<()> {
        let begun = self.read().removed;
        if self.path.exists() && (begun.is_none() || begun.as_ref() == removed) {
            crash_points::disk("removing the note");
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
    }

    /// Whether an interrupted run was writing this very content.
    pub(crate) fn meant(&self, content: &[u8]) -> bool {
        self.read().contents.contains(&digest(content))
    }

    /// The recipient of `host`, if an interrupted run was taking it out.
    pub(crate) fn removed(&self, host: &str) -> Option<String> {
        self.read().removed.filter(|removed| removed.host == host).map(|removed| removed.recipient)
    }

    /// A note that was cut off says nothing: no original had been replaced then.
    fn read(&self) -> Note {
        let text = std::fs::read(&self.path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
