//! Writing a config and its files as one change.
//!
//! Under a lock: the originals are compared with what the change was made from,
//! the new contents are written and synced beside them, the originals are
//! compared again, then the config is renamed into place first and the files
//! after it. A crash in between leaves whole files and a config that names more
//! or other recipients than some of them have; running again completes it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};
use sha2::{Digest, Sha256};

use crate::error::{Advice, Exit};

/// One file's new content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub path: PathBuf,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// A file that gets another name with the change; its content stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    pub from: PathBuf,
    pub to: PathBuf,
}

/// What [`write`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{} cannot be locked: {source}", .dir.display())]
    Lock { dir: PathBuf, source: std::io::Error },
    #[error("another landfall is changing {}", .dir.display())]
    Busy { dir: PathBuf },
    #[error("{} cannot be written: {source}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} has changed since it was read", .path.display())]
    Changed { path: PathBuf },
}

impl Advice for WriteError {
    fn hint(&self) -> String {
        match self {
            Self::Busy { .. } => "Wait for it to end, then run the same command again.".into(),
            Self::Changed { .. } => "Look at the change, then run the same command again.".into(),
            Self::Lock { .. } | Self::Write { .. } => {
                "Make the folder writable and see that the disk has room, then run the same command again.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Gives files their new names, folders included, never over another file.
///
/// Comes after the config was written: sops finds no rule for a file under its
/// old name then, which is an error and not a wrong answer.
pub fn rename(renames: &[Rename]) -> Result<(), WriteError> {
    for Rename { from, to } in renames {
        let failed = |source| WriteError::Write { path: to.clone(), source };
        if to.exists() {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        if let Some(dir) = to.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        std::fs::rename(from, to).map_err(failed)?;
        sync_dir(to).map_err(failed)?;
        if let Some(dir) = from.parent() {
            // A folder that became empty goes; one that did not stays.
            let _ = std::fs::remove_dir(dir);
        }
    }
    Ok(())
}

/// Where a file's new content is prepared: beside it, under a name that the next run knows.
fn staged_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".landfall-new");
    path.with_file_name(name)
}

/// An exclusive lock on a folder, released when dropped or by the end of the process.
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    pub fn take(dir: &Path) -> Result<Self, WriteError> {
        let failed = |source: std::io::Error| WriteError::Lock { dir: dir.into(), source };
        let file = File::open(dir).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(WriteError::Busy { dir: dir.into() }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Finds before any work what would fail at the end: folders that cannot be written to.
pub fn preflight<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), WriteError> {
    for path in paths {
        let failed = |source: std::io::Error| WriteError::Write { path: path.into(), source };
        let real = path.canonicalize().map_err(failed)?;
        let dir = real.parent().unwrap_or(&real);
        access(dir, Access::WRITE_OK).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// A moment of a transaction, for tests that end the process there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Locked,
    Staged,
    Checked,
    Renamed,
}

/// Writes the changes, the config first. `dir` is the config's folder.
pub fn write(dir: &Path, changes: &[FileChange]) -> Result<Written, WriteError> {
    write_watched(dir, changes, &mut |_| {})
}

/// Like [`write`], and says when each moment is reached.
pub fn write_watched(
    dir: &Path,
    changes: &[FileChange],
    reached: &mut dyn FnMut(Moment),
) -> Result<Written, WriteError> {
    let _lock = Lock::take(dir)?;
    let changes: Vec<&FileChange> =
        changes.iter().filter(|change| change.before != change.after).collect();
    reached(Moment::Locked);
    changes.iter().try_for_each(|change| check_unchanged(change))?;
    let mut staged = Staged::default();
    for change in &changes {
        staged.add(change)?;
        reached(Moment::Staged);
    }
    changes.iter().try_for_each(|change| check_unchanged(change))?;
    reached(Moment::Checked);
    staged.rename_all(reached)?;
    Ok(Written { paths: changes.iter().map(|change| change.path.clone()).collect() })
}

fn check_unchanged(change: &FileChange) -> Result<(), WriteError> {
    let now = std::fs::read(&change.path)
        .map_err(|source| WriteError::Write { path: change.path.clone(), source })?;
    if Sha256::digest(&now) != Sha256::digest(&change.before) {
        return Err(WriteError::Changed { path: change.path.clone() });
    }
    Ok(())
}

/// New contents beside their originals; what was not renamed is removed.
#[derive(Default)]
struct Staged(Vec<(PathBuf, PathBuf)>);

impl Staged {
    fn add(&mut self, change: &FileChange) -> Result<(), WriteError> {
        let failed = |source| WriteError::Write { path: change.path.clone(), source };
        // Links stay links: their target is replaced.
        let real = change.path.canonicalize().map_err(failed)?;
        let staged = staged_path(&real);
        remove_left_over(&staged).map_err(failed)?;
        self.0.push((staged.clone(), real.clone()));
        write_like(&real, &staged, &change.after).map_err(failed)
    }

    fn rename_all(&mut self, reached: &mut dyn FnMut(Moment)) -> Result<(), WriteError> {
        while !self.0.is_empty() {
            let (staged, real) = self.0.remove(0);
            let failed = |source| WriteError::Write { path: real.clone(), source };
            std::fs::rename(&staged, &real).map_err(failed)?;
            sync_dir(&real).map_err(failed)?;
            reached(Moment::Renamed);
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (staged, _) in &self.0 {
            // What cannot be removed now is removed by the next run.
            let _ = std::fs::remove_file(staged);
        }
    }
}

fn remove_left_over(staged: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes `bytes` to `staged` with the mode (and as root the owner) of `real`, synced.
fn write_like(real: &Path, staged: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let metadata = std::fs::metadata(real)?;
    let mut file = File::options().write(true).create_new(true).open(staged)?;
    file.set_permissions(std::fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    if file.metadata()?.uid() != metadata.uid() || file.metadata()?.gid() != metadata.gid() {
        // Only root may give files away; the mode matters more than the owner.
        let _ = std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()));
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &Path, before: &str, after: &str) -> FileChange {
        FileChange { path: path.into(), before: before.into(), after: after.into() }
    }

    #[test]
    fn mode_and_links_stay_and_left_overs_go() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.yaml");
        let link = dir.path().join("link.yaml");
        std::fs::write(&real, "a").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        std::fs::write(staged_path(&real), "left by a killed run").unwrap();
        write(dir.path(), &[change(&link, "a", "b")]).unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "b");
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_someone_else_changed_stops_everything() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "1").unwrap();
        std::fs::write(&two, "other").unwrap();
        let error =
            write(dir.path(), &[change(&one, "1", "x"), change(&two, "2", "y")]).unwrap_err();
        assert!(matches!(error, WriteError::Changed { path } if path == two));
        assert_eq!(std::fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn two_writers_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Lock::take(dir.path()).unwrap();
        assert!(matches!(write(dir.path(), &[]), Err(WriteError::Busy { .. })));
    }
}
