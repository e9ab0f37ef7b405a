//! Writing a config and its files as one change.
//!
//! Under a lock: what an earlier run left over is removed, the originals are
//! compared with what the change was made from, the new contents are written and
//! synced beside them, the originals are compared again, what is about to be
//! written is noted, then the config is renamed into place first and the files
//! after it. A crash in between leaves whole files and a config that names more
//! or other recipients than some of them have; running again completes it.
//! Every change to the disk is announced to [`crate::run::crash_points`], so that tests can
//! end the program before each.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};

use super::parallel::in_parallel;
use super::unfinished::{Intention, Removed};
use crate::error::{Advice, Exit};
use crate::run::crash_points;

/// What the name of a new content that waits beside its original ends with.
const STAGED_SUFFIX: &str = ".landfall-new";

/// One file's new content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub(crate) path: PathBuf,
    pub(crate) before: Vec<u8>,
    pub after: Vec<u8>,
}

/// A file that gets another name with the change; its content stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// Everything that is written as one.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    /// The folder of `.sops.yaml`, which is locked.
    pub(crate) dir: &'a Path,
    /// The config first.
    pub(crate) changes: &'a [FileChange],
    /// Done after everything else.
    pub(crate) renames: &'a [Rename],
    /// Folders in which an earlier run may have left something over.
    pub(crate) folders: &'a BTreeSet<PathBuf>,
    /// Whom the changes take out.
    pub(crate) removed: Option<&'a Removed>,
}

/// What [`write()`] wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{} cannot be locked: {source}", .dir.display())]
    Lock { dir: PathBuf, source: std::io::Error },
    #[error("what is about to be written in {} cannot be noted: {source}", .dir.display())]
    Note { dir: PathBuf, source: std::io::Error },
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
            Self::Lock { .. } | Self::Note { .. } | Self::Write { .. } => {
                "Make the folder writable and see that the disk has room, then run the same command again.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Where a file's new content is prepared: beside it, under a name that the next run knows.
fn staged_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(STAGED_SUFFIX);
    path.with_file_name(name)
}

/// An exclusive lock on a folder, released when dropped or by the end of the process.
pub(crate) struct RepoLock {
    _held: File,
}

impl RepoLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, WriteError> {
        let failed = |source: std::io::Error| WriteError::Lock { dir: dir.into(), source };
        let file = File::open(dir).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _held: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(WriteError::Busy { dir: dir.into() }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Finds before any work what would fail at the end: folders that cannot be written to.
pub(crate) fn preflight<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), WriteError> {
    for path in paths {
        let failed = |source: std::io::Error| WriteError::Write { path: path.into(), source };
        let real = path.canonicalize().map_err(failed)?;
        let dir = real.parent().unwrap_or(&real);
        access(dir, Access::WRITE_OK).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// Whether a file is what a run that was killed left beside an original.
pub(crate) fn is_left_over(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with('.') && name.ends_with(STAGED_SUFFIX)
    })
}

/// Writes everything: the config, the files, then the new names.
pub(crate) fn write(transaction: &Transaction<'_>) -> Result<Written, WriteError> {
    let Transaction { dir, changes, renames, folders, removed } = *transaction;
    let _lock = RepoLock::take(dir)?;
    let failed = |source| WriteError::Note { dir: dir.into(), source };
    folders.iter().try_for_each(|folder| remove_left_overs(folder))?;
    let changes: Vec<&FileChange> =
        changes.iter().filter(|change| change.before != change.after).collect();
    changes.iter().try_for_each(|change| check_unchanged(change))?;
    let staged = Staged::write(&changes)?;
    changes.iter().try_for_each(|change| check_unchanged(change))?;
    let intention = Intention::of(dir);
    if !changes.is_empty() {
        intention.note(&changes, removed).map_err(failed)?;
    }
    staged.rename_all()?;
    rename(renames)?;
    intention.forget(removed).map_err(failed)?;
    let renamed = renames.iter().flat_map(|Rename { from, to }| [from.clone(), to.clone()]);
    let paths = changes.iter().map(|change| change.path.clone()).chain(renamed).collect();
    Ok(Written { paths })
}

fn check_unchanged(change: &FileChange) -> Result<(), WriteError> {
    let now = std::fs::read(&change.path)
        .map_err(|source| WriteError::Write { path: change.path.clone(), source })?;
    if now != change.before {
        return Err(WriteError::Changed { path: change.path.clone() });
    }
    Ok(())
}

/// Removes what a run that was killed left in a folder. Only under the lock: what
/// another run is about to rename looks the same.
fn remove_left_overs(folder: &Path) -> Result<(), WriteError> {
    // What cannot be read holds nothing of ours.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_left_over(path)) {
        crash_points::disk("removing a left-over");
        std::fs::remove_file(&path).map_err(|source| WriteError::Write { path, source })?;
    }
    Ok(())
}

/// New contents beside their originals; what was not renamed is removed.
struct Staged(Vec<StagedFile>);

struct StagedFile {
    staged: PathBuf,
    /// Where links lead to: they stay links.
    real: PathBuf,
}

impl Staged {
    fn write(changes: &[&FileChange]) -> Result<Self, WriteError> {
        let files = changes.iter().map(|change| {
            let real = change.path.canonicalize();
            let real =
                real.map_err(|source| WriteError::Write { path: change.path.clone(), source })?;
            Ok(StagedFile { staged: staged_path(&real), real })
        });
        let staged = Self(files.collect::<Result<_, WriteError>>()?);
        // Links lead to folders of which nobody knew before.
        let folders: BTreeSet<_> = staged.0.iter().filter_map(|file| file.real.parent()).collect();
        folders.into_iter().try_for_each(remove_left_overs)?;
        let jobs: Vec<_> = staged.0.iter().zip(changes).collect();
        let written = in_parallel(&jobs, |(file, change)| {
            write_like(&file.real, &file.staged, &change.after)
                .map_err(|source| WriteError::Write { path: change.path.clone(), source })
        });
        written.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(staged)
    }

    /// The first one is on disk before any other is touched.
    fn rename_all(mut self) -> Result<(), WriteError> {
        let mut folders = BTreeSet::new();
        for (index, StagedFile { staged, real }) in self.0.iter().enumerate() {
            let failed = |source| WriteError::Write { path: real.clone(), source };
            crash_points::disk("putting a file into place");
            std::fs::rename(staged, real).map_err(failed)?;
            if index == 0 {
                sync_dir(real).map_err(failed)?;
            } else {
                folders.insert(real.parent().unwrap_or(real));
            }
        }
        let folders: Vec<PathBuf> = folders.into_iter().map(Path::to_owned).collect();
        // All are in place: nothing is left to be removed.
        self.0.clear();
        let synced = in_parallel(&folders, |folder| {
            crash_points::disk("syncing a folder");
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|source| WriteError::Write { path: folder.clone(), source })
        });
        synced.into_iter().collect()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for StagedFile { staged, .. } in &self.0 {
            // What was renamed is gone; what cannot be removed now is removed by the next run.
            let _ = std::fs::remove_file(staged);
        }
    }
}

/// Writes `bytes` to `staged` with the mode (and as root the owner) of `real`, synced.
fn write_like(real: &Path, staged: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let metadata = std::fs::metadata(real)?;
    crash_points::disk("making a file");
    let mut file = File::options().write(true).create_new(true).open(staged)?;
    crash_points::disk("setting a file's mode");
    file.set_permissions(std::fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    if file.metadata()?.uid() != metadata.uid() || file.metadata()?.gid() != metadata.gid() {
        // Only root may give files away; the mode matters more than the owner.
        let _ = std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()));
    }
    crash_points::disk("writing a file");
    file.write_all(bytes)?;
    crash_points::disk("syncing a file");
    file.sync_all()
}

/// Gives files their new names, folders included, never over another file.
///
/// Comes after the config was written: sops finds no rule for a file under its
/// old name then, which is an error and not a wrong answer.
fn rename(renames: &[Rename]) -> Result<(), WriteError> {
    for Rename { from, to } in renames {
        let failed = |source| WriteError::Write { path: to.clone(), source };
        if to.exists() {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        if let Some(dir) = to.parent() {
            crash_points::disk("making a folder");
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        crash_points::disk("renaming a file");
        std::fs::rename(from, to).map_err(failed)?;
        sync_dir(to).map_err(failed)?;
        if let Some(dir) = from.parent() {
            crash_points::disk("removing an empty folder");
            // A folder that became empty goes; one that did not stays.
            let _ = std::fs::remove_dir(dir);
        }
    }
    Ok(())
}

fn sync_dir(path: &Path) -> std::io::Result<()> {
    crash_points::disk("syncing a folder");
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &Path, before: &str, after: &str) -> FileChange {
        FileChange { path: path.into(), before: before.into(), after: after.into() }
    }

    fn write_all(dir: &Path, changes: &[FileChange]) -> Result<Written, WriteError> {
        let folders = BTreeSet::from([dir.to_owned()]);
        write(&Transaction { dir, changes, renames: &[], folders: &folders, removed: None })
    }

    #[test]
    fn mode_and_links_stay_and_left_overs_go() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.yaml");
        let link = dir.path().join("link.yaml");
        std::fs::write(&real, "a").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        for left_over in [&real, &dir.path().join("other.yaml")] {
            std::fs::write(staged_path(left_over), "left by a killed run").unwrap();
        }
        write_all(dir.path(), &[change(&link, "a", "b")]).unwrap();
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
            write_all(dir.path(), &[change(&one, "1", "x"), change(&two, "2", "y")]).unwrap_err();
        assert!(matches!(error, WriteError::Changed { path } if path == two));
        assert_eq!(std::fs::read_to_string(&one).unwrap(), "1");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn two_writers_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let _held = RepoLock::take(dir.path()).unwrap();
        assert!(matches!(write_all(dir.path(), &[]), Err(WriteError::Busy { .. })));
    }
}
