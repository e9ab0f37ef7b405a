//! Updates the operator's known_hosts after an installation.
//!
//! The installed machine has a new host key. Its old key is removed and the new one added, so
//! that the operator's own ssh connects without a warning.
//!
//! Invariant: only entries of exactly the machine's names change (10.0.0.1 is not 10.0.0.10);
//! every other byte of the file stays.

pub(crate) mod edit;
pub(crate) mod forges;
pub(crate) mod lookup;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HostKey;
use crate::error::Advice;
use crate::exec::{Cmd, ExecError};

pub(crate) use edit::{KnownHostsEdit, Name, replace_in, without_others_in};
pub use forges::{FORGES, Forge, forge_keys};

const SEARCH: Duration = Duration::from_secs(20);

/// Why a known_hosts file was not updated.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    #[error("{} could not be updated: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} could not be searched: {source}", path.display())]
    Search { path: PathBuf, source: ExecError },
}

impl Advice for KnownHostsError {
    fn hint(&self) -> String {
        let (Self::Io { path, .. } | Self::Search { path, .. }) = self;
        format!(
            "The machine itself is fine. Remove its old key by hand: ssh-keygen -R HOST -f {}",
            path.display()
        )
    }
}

/// The outcome of [`replace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Number of entries with other keys that were removed.
    pub removed: usize,
    /// Whether the key was added, because the file did not have it.
    pub added: bool,
    /// Path of the previous version, where the file changed.
    pub backup: Option<PathBuf>,
}

/// Makes `key` the only key of each of `names` in `file`.
///
/// Names have the form of known_hosts: `host`, or `[host]:port` for a port other than 22. The
/// file is replaced atomically and keeps its mode; the previous version stays beside it as
/// `known_hosts.old`, as with ssh-keygen.
pub fn replace(file: &Path, names: &[&str], key: &HostKey) -> Result<Replaced, KnownHostsError> {
    rewrite(file, names, key, replace_in)
}

/// Removes every key but `key` from `names` in `file`, and adds none: for the other files that
/// ssh reads. Otherwise like [`replace`].
pub fn remove_others(
    file: &Path,
    names: &[&str],
    key: &HostKey,
) -> Result<Replaced, KnownHostsError> {
    rewrite(file, names, key, without_others_in)
}

fn rewrite(
    file: &Path,
    names: &[&str],
    key: &HostKey,
    edit: fn(&[u8], &[Name], &HostKey) -> KnownHostsEdit,
) -> Result<Replaced, KnownHostsError> {
    let failed = |source| KnownHostsError::Io { path: file.to_owned(), source };
    // A symbolic link stays, and its target is replaced.
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let before = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let names = names
        .iter()
        .map(|name| {
            let name = name.to_ascii_lowercase();
            Ok(Name { hashed_in: found(&path, &name)?, name })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let edit = edit(&before, &names, key);
    let mut done = Replaced { removed: edit.removed, added: edit.added, backup: None };
    if edit.bytes == before {
        return Ok(done);
    }
    let mode = fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o7777);
    if let Ok(mode) = mode {
        let mut backup = path.clone().into_os_string();
        backup.push(".old");
        let backup = PathBuf::from(backup);
        write(&backup, &before, mode).map_err(failed)?;
        done.backup = Some(backup);
    }
    write(&path, &edit.bytes, mode.unwrap_or(0o600)).map_err(failed)?;
    Ok(done)
}

/// Returns the numbers of the lines that ssh-keygen finds for `name`, hashed ones included.
fn found(path: &Path, name: &str) -> Result<Vec<usize>, KnownHostsError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let output = Cmd::new("ssh-keygen")
        .args(["-F", name, "-f"])
        .arg(path)
        .deadline(SEARCH)
        .output()
        .map_err(|source| KnownHostsError::Search { path: path.to_owned(), source })?;
    let text = output.text();
    let numbers = text.lines().filter_map(|line| line.strip_prefix("# Host "));
    Ok(numbers.filter_map(|line| line.rsplit_once(" line ")?.1.trim().parse().ok()).collect())
}

/// Writes a file atomically, so that a concurrent reader sees the old or the new version.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if !dir.exists() {
        crate::secret::create_private_dir(dir)?;
    }
    let mut file = tempfile::Builder::new().prefix(".known_hosts-").tempfile_in(dir)?;
    io::Write::write_all(&mut file, bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
