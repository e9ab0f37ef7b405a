//! Files and folders for one user's eyes.
//!
//! A private file is written before it has a name, so nobody can prepare that name or see
//! half of the file, and a process that is killed leaves nothing of it. Where the file
//! system cannot do that, it gets a random name first, which must be new.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

/// What names begin with that a file has for a moment, before its own.
pub(crate) const PASSING_PREFIX: &str = ".landfall-";

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Keep,
}

/// Writes `bytes` to a file of mode 0600 and syncs it to disk, in place of what has its name.
///
/// The file appears whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, Existing::Replace)
}

/// Writes `bytes` to a new file of mode 0600, as [`write_private`] does; an error where
/// something has its name, be it a link that leads nowhere.
pub(crate) fn write_new_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, Existing::Keep)
}

fn write(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    let path = &std::path::absolute(path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if existing == Existing::Keep && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match nameless(dir)? {
        Some(mut file) => {
            file.write_all(bytes)?;
            file.sync_all()?;
            name(&file, path, dir, existing)?;
        }
        None => {
            let mut file = passing().tempfile_in(dir)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            match existing {
                Existing::Replace => file.persist(path),
                Existing::Keep => file.persist_noclobber(path),
            }?;
        }
    }
    File::open(dir)?.sync_all()
}

/// A new file in `dir` without a name; none where the file system has no such files.
fn nameless(dir: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        // Without /proc it could not be named afterwards.
        Ok(file) => Ok(Some(File::from(file)).filter(|file| opened(file).exists())),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn name(file: &File, path: &Path, dir: &Path, existing: Existing) -> io::Result<()> {
    match link(file, path) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists && existing == Existing::Replace =>
        {
            let linked = passing().make_in(dir, |passing| link(file, passing))?;
            linked.into_temp_path().persist(path).map_err(|error| error.error)
        }
        linked => linked,
    }
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(rustix::fs::linkat(CWD, opened(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// The path of a file that this process has open.
fn opened(file: &File) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into()
}

fn passing() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PASSING_PREFIX).permissions(Permissions::from_mode(0o600));
    builder
}

/// A secret in memory with a path, for programs that this one starts and that read a file.
/// It ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    path: PathBuf,
    _file: File,
}

impl MemoryFile {
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        let memory = rustix::fs::memfd_create(c"landfall", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        let path = opened(&file);
        // There may be no /proc, or that of other processes.
        File::open(&path)?;
        Ok(Self { path, _file: file })
    }

    /// Its path, as long as it lives.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a folder of mode 0700, with its parents.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes a folder of mode 0700 below `base`, removed when it is dropped.
pub(crate) fn private_temp_dir(base: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("landfall-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_are_0600_and_replace_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_private_file_follows_no_link_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("key"), dir.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let error = write_new_private(&path, b"key").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(!elsewhere.exists());
        std::fs::remove_file(&path).unwrap();
        write_new_private(&path, b"key").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), mode(&path)), (b"key".to_vec(), 0o600));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_memory_is_read_by_its_path_as_long_as_it_lives() {
        let file = MemoryFile::new(b"secret").unwrap();
        let path = file.path().to_owned();
        for _ in 0..2 {
            let read = crate::exec::Cmd::new("cat").arg(&path).run().unwrap();
            assert_eq!(read.stdout, b"secret");
        }
        drop(file);
        assert!(!path.exists());
    }
}
