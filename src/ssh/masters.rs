//! Masters that outlive a landfall that was killed: noted in the run's folder, and ended
//! by the next command on the host.
//!
//! A note is a file that names the master's control socket. The landfall that wrote it
//! holds a lock on it as long as it lives, so a note without a lock is a left-over.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::options::config_path;
use crate::exec::{Cmd, ExecError, Output};
use crate::secret::create_private_dir;

/// The folder of the notes, in a run's folder.
const NOTES: &str = "masters";
/// What begins the name of a master's own folder.
pub(super) const FOLDER: &str = "landfall-";
/// Small requests to the master itself.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

/// A note of a master; taken back when it is dropped.
#[derive(Debug)]
pub(super) struct MasterNote {
    path: PathBuf,
    _locked: File,
}

impl MasterNote {
    /// Notes in `run_dir` that a master listens at `socket`.
    pub(super) fn write(run_dir: &Path, socket: &Path) -> io::Result<Self> {
        let dir = run_dir.join(NOTES);
        create_private_dir(&dir)?;
        let (mut file, path) = tempfile::Builder::new().tempfile_in(&dir)?.keep()?;
        // Locked while it is empty: nobody takes an empty note for a left-over.
        flock(&file, FlockOperation::LockExclusive)?;
        file.write_all(socket.as_os_str().as_encoded_bytes())?;
        Ok(Self { path, _locked: file })
    }
}

impl Drop for MasterNote {
    fn drop(&mut self) {
        // Without a lock it is a left-over, and the socket is gone by then.
        let _ = fs::remove_file(&self.path);
        if let Some(dir) = self.path.parent() {
            // Others may be noted there.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Asks the master at `socket` for something; `host` is not looked at.
pub(super) fn request(request: &str, socket: &Path, host: &str) -> Result<Output, ExecError> {
    Cmd::new("ssh")
        .args(["-q", "-F", "none", "-O", request])
        .arg(format!("-oControlPath={}", config_path(socket)))
        .args(["--", host])
        .deadline(REQUEST)
        .not_interrupted()
        .output()
}

/// Ends the masters that killed processes left, as far as they are noted in `run_dir`.
pub(crate) fn end_left_over(run_dir: &Path) {
    let Ok(notes) = fs::read_dir(run_dir.join(NOTES)) else { return };
    for note in notes.flatten().map(|note| note.path()) {
        if let Err(error) = end_noted(&note) {
            tracing::warn!(%error, note = %note.display(), "a left-over connection");
        }
    }
    // Another landfall may be at work.
    let _ = fs::remove_dir(run_dir.join(NOTES));
}

fn end_noted(note: &Path) -> io::Result<()> {
    let mut file = File::open(note)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let mut socket = String::new();
    file.read_to_string(&mut socket)?;
    if socket.is_empty() {
        return Ok(());
    }
    let socket = PathBuf::from(socket);
    if let Some(dir) = socket.parent().filter(|dir| is_own(dir)) {
        if socket.exists() {
            request("exit", &socket, "left-over").map_err(io::Error::other)?;
        }
        fs::remove_dir_all(dir)?;
    }
    fs::remove_file(note)
}

/// Whether `dir` is a folder that landfall made for a master, and nobody else did.
fn is_own(dir: &Path) -> bool {
    let named = dir.file_name().and_then(|name| name.to_str());
    named.is_some_and(|name| name.starts_with(FOLDER))
        && fs::symlink_metadata(dir)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw())
}
