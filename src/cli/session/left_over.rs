//! What a killed landfall left running for a host is ended before anything else is done.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::run::run_dir::{HostState, StateError};
use crate::ssh;

/// Ends connections to the host that nobody uses any more.
pub(crate) fn end(host: &HostState) -> Result<(), StateError> {
    for run in host.runs()? {
        ssh::end_left_over(run.path());
    }
    // Of commands that keep nothing of what they do.
    for dir in passing(&std::env::temp_dir(), host.name()) {
        ssh::end_left_over(&dir);
    }
    Ok(())
}

/// The run folders of the host in folders that pass.
fn passing(temporary: &Path, host: &str) -> Vec<PathBuf> {
    // Anybody may make a folder of such a name there.
    let own = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let meta = fs::symlink_metadata(path);
        name.is_some_and(|name| name.starts_with("landfall-"))
            && meta.is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw())
    };
    let folders = entries(temporary).filter(|path| own(path));
    folders.flat_map(|folder| entries(&folder.join(host))).filter(|run| run.is_dir()).collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}
