//! What a landfall that was killed has left of keys goes at the next start, whatever
//! command that is.
//!
//! An unfinished run that would be gone on with keeps its keys: they are its work. What
//! cannot be removed is named by `status`.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::run::journal;
use crate::run::lock;
use crate::run::run_dir::{HostState, RunDir, StateDir};
use crate::steps::identity::run_keys::RunKeys;

/// Removes keys that nobody has use for from the folders of all runs that are not worked on.
pub(crate) fn sweep() {
    let hosts = StateDir::existing().and_then(|state| state.hosts().ok());
    for host in hosts.unwrap_or_default() {
        for run in host.runs().unwrap_or_default() {
            if !superfluous(&host, &run).is_empty() {
                remove(&host, &run);
            }
        }
    }
}

fn remove(host: &HostState, run: &RunDir) {
    // Whoever works on the run has its lock, and needs its keys.
    let Ok(journal) = File::open(run.journal()) else { return };
    if lock::try_exclusive(&journal).is_err() {
        return;
    }
    for file in superfluous(host, run) {
        let _ = std::fs::remove_file(file);
    }
}

/// The files with keys that the run does not need.
fn superfluous(host: &HostState, run: &RunDir) -> Vec<PathBuf> {
    let keys = RunKeys::in_dir(run.path());
    let mut files = archives(run.path());
    files.extend(if is_over(host, run) { keys.private_files() } else { keys.left_overs() });
    files
}

/// Whether nothing goes on with the run: it is complete, or another is the current one.
fn is_over(host: &HostState, run: &RunDir) -> bool {
    let is_current = host.current().map_or(true, |current| current.as_ref() == Some(run));
    let lines = journal::read(&run.journal()).unwrap_or_default().lines;
    !is_current || journal::completed(&lines)
}

/// Packed files for the target, which may be secret.
fn archives(run: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let packed = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp"));
    packed.map(|entry| entry.path()).collect()
}
