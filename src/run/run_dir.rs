//! Where runs are remembered: `$XDG_STATE_HOME/landfall/HOST/RUN/{journal.jsonl,log}`.
//!
//! `HOST/current` is a link to the folder of the run that `bootstrap` would go on
//! with; `HOST/private` holds what outlives a run (keys). Who looks for the current run
//! to go on with it, or to begin one, holds the lock of `HOST/lock` meanwhile. Every
//! folder has mode 0700 and every file 0600, also when they were made by something else
//! before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use super::lock::{self, LockError};
use crate::error::{Advice, Exit};
use crate::secret::create_private_dir;

const CURRENT: &str = "current";
const JOURNAL: &str = "journal.jsonl";
const LOG: &str = "log";
const LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("neither XDG_STATE_HOME nor HOME tells where run state belongs")]
    NoHome,
    #[error("{name:?} is not a host's name")]
    NotAHost { name: String },
    #[error("{host} has no run yet")]
    NoRun { host: String },
    #[error("the state folder {path} cannot be used: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("another landfall is beginning or ending a run of this host (it holds {path})")]
    Locked { path: PathBuf },
    #[error("the file system of {path} gives no locks: {source}")]
    NoLocks { path: PathBuf, source: io::Error },
}

impl Advice for StateError {
    fn hint(&self) -> String {
        match self {
            Self::NoHome => "Set XDG_STATE_HOME to an absolute path.".into(),
            Self::NotAHost { .. } => {
                "Use the name that the configuration has under nixosConfigurations.".into()
            }
            Self::NoRun { .. } => {
                "`landfall status` lists the hosts that have one; `landfall bootstrap HOST TARGET` begins one.".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "Make room on that disk, then run the command again.".into()
            }
            Self::Io { path, .. } => {
                format!("Make {} a folder that is yours and writable.", path.display())
            }
            Self::Locked { .. } => "Wait until it ends, then run the command again.".into(),
            Self::NoLocks { .. } => {
                "Without locks two runs could change one machine. Keep the runs on a local disk: set XDG_STATE_HOME to a folder there.".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Io { .. } | Self::Locked { .. } | Self::NoLocks { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { path, source }
}

/// The folder of all run state.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The operator's state folder; made when it is missing.
    pub(crate) fn open() -> Result<Self, StateError> {
        Self::at(Self::place()?)
    }

    /// The operator's state folder, where there is one already.
    pub(crate) fn existing() -> Option<Self> {
        Self::place().ok().filter(|root| root.is_dir()).map(|root| Self { root })
    }

    fn place() -> Result<PathBuf, StateError> {
        // The XDG rules say that relative paths are to be ignored.
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
            .ok_or(StateError::NoHome)?;
        Ok(state.join("landfall"))
    }

    /// The state folder at `root`; made when it is missing.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self, StateError> {
        let root = root.into();
        create_private_dir(&root).map_err(io_at(&root))?;
        Ok(Self { root })
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The state of `name`, which need not have any yet.
    pub fn host(&self, name: &str) -> Result<HostState, StateError> {
        if !is_file_name(name) {
            return Err(StateError::NotAHost { name: name.to_owned() });
        }
        Ok(HostState { name: name.to_owned(), dir: self.root.join(name) })
    }

    /// The hosts that have state, by name.
    pub(crate) fn hosts(&self) -> Result<Vec<HostState>, StateError> {
        let mut names = subfolders(&self.root)?;
        names.sort();
        names.iter().map(|name| self.host(name)).collect()
    }
}

/// Whether `name` names an entry of a folder and nothing outside of it.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// The names of the real folders in `dir`; none when it does not exist.
fn subfolders(dir: &Path) -> Result<Vec<String>, StateError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_at(dir))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_at(dir))?;
        if entry.file_type().map_err(io_at(dir))?.is_dir() {
            names.extend(entry.file_name().into_string().ok().filter(|name| is_file_name(name)));
        }
    }
    Ok(names)
}

/// What is remembered of one host.
#[derive(Debug, Clone)]
pub struct HostState {
    name: String,
    dir: PathBuf,
}

impl HostState {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps others from beginning or forgetting a run of this host, until the lock is
    /// dropped; makes the host's folder when it is missing.
    pub(crate) fn lock(&self) -> Result<HostLock, StateError> {
        create_private_dir(&self.dir).map_err(io_at(&self.dir))?;
        let path = self.dir.join(LOCK);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(io_at(&path))?;
        match lock::exclusive(&file) {
            Ok(()) => Ok(HostLock { _file: file }),
            Err(LockError::Held) => Err(StateError::Locked { path }),
            Err(LockError::Unsupported(source)) => Err(StateError::NoLocks { path, source }),
        }
    }

    /// Makes the folder of a new run and makes it the current one.
    pub fn new_run(&self, id: Uuid) -> Result<RunDir, StateError> {
        let run = RunDir { id, dir: self.dir.join(id.to_string()) };
        create_private_dir(&self.dir).map_err(io_at(&self.dir))?;
        create_private_dir(&run.dir).map_err(io_at(&run.dir))?;
        let link = self.dir.join(CURRENT);
        let fresh = self.dir.join(format!(".{CURRENT}-{id}"));
        symlink(id.to_string(), &fresh).map_err(io_at(&fresh))?;
        std::fs::rename(&fresh, &link).map_err(io_at(&link))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io_at(&self.dir))?;
        Ok(run)
    }

    /// The run that would be gone on with; none when there is none.
    pub(crate) fn current(&self) -> Result<Option<RunDir>, StateError> {
        let link = self.dir.join(CURRENT);
        let name = match std::fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            name => name.map_err(io_at(&link))?,
        };
        let run = name.to_str().and_then(|name| self.run(name));
        Ok(run.filter(|run| run.dir.is_dir()))
    }

    /// The current run, else the one that was written to last.
    pub(crate) fn latest(&self) -> Result<Option<RunDir>, StateError> {
        if let Some(run) = self.current()? {
            return Ok(Some(run));
        }
        Ok(self.runs()?.into_iter().max_by_key(RunDir::written))
    }

    /// Forgets which run is the current one; its folder stays.
    pub fn forget_current(&self) -> Result<(), StateError> {
        let link = self.dir.join(CURRENT);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io_at(&link)),
        }
    }

    /// All runs of the host, in no order that means anything.
    pub fn runs(&self) -> Result<Vec<RunDir>, StateError> {
        let mut names = subfolders(&self.dir)?;
        names.sort();
        Ok(names.iter().filter_map(|name| self.run(name)).collect())
    }

    fn run(&self, name: &str) -> Option<RunDir> {
        Some(RunDir { id: Uuid::parse_str(name).ok()?, dir: self.dir.join(name) })
    }
}

/// The lock of a host's folder; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct HostLock {
    _file: File,
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    id: Uuid,
    dir: PathBuf,
}

impl RunDir {
    pub fn id(&self) -> Uuid {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// When its journal was written to last.
    pub(crate) fn written(&self) -> Option<SystemTime> {
        std::fs::metadata(self.journal()).and_then(|journal| journal.modified()).ok()
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    /// The journals of all runs of the host whose run has its folder at `dir`.
    pub(crate) fn journals_beside(dir: &Path) -> Vec<PathBuf> {
        let runs = dir.parent().and_then(|host| std::fs::read_dir(host).ok());
        let runs = runs.into_iter().flatten().flatten();
        runs.map(|run| run.path().join(JOURNAL)).filter(|journal| journal.is_file()).collect()
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    /// The log, open for writing at its end.
    pub(crate) fn open_log(&self) -> Result<File, StateError> {
        let path = self.log();
        OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(io_at(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state/landfall")).unwrap();
        (dir, state)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_newest_run_is_the_current_one_and_all_is_private() {
        let (_dir, state) = state();
        let guppy = state.host("guppy").unwrap();
        assert_eq!(guppy.current().unwrap(), None);
        assert_eq!(guppy.runs().unwrap(), []);
        let first = guppy.new_run(Uuid::from_u128(1)).unwrap();
        let second = guppy.new_run(Uuid::from_u128(2)).unwrap();
        assert_eq!(guppy.current().unwrap().as_ref(), Some(&second));
        assert_eq!(guppy.runs().unwrap(), [first.clone(), second]);
        first.open_log().unwrap();
        assert_eq!(mode(&first.log()), 0o600);
        for dir in [state.path(), first.path()] {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
        assert_eq!(
            state.hosts().unwrap().iter().map(HostState::name).collect::<Vec<_>>(),
            ["guppy"]
        );
    }

    #[test]
    fn a_forgotten_run_keeps_its_folder() {
        let (_dir, state) = state();
        let guppy = state.host("guppy").unwrap();
        let run = guppy.new_run(Uuid::from_u128(1)).unwrap();
        guppy.forget_current().unwrap();
        guppy.forget_current().unwrap();
        assert_eq!(guppy.current().unwrap(), None);
        assert!(run.path().is_dir());
        std::fs::remove_dir(run.path()).unwrap();
        symlink(run.id().to_string(), guppy.dir.join(CURRENT)).unwrap();
        assert_eq!(guppy.current().unwrap(), None);
    }

    #[test]
    fn a_host_cannot_lead_out_of_the_folder() {
        let (_dir, state) = state();
        for name in ["", ".", "..", "../etc", "a/b", ".hidden"] {
            assert!(matches!(state.host(name), Err(StateError::NotAHost { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_was_open_to_others_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("landfall");
        std::fs::create_dir(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::at(&root).unwrap();
        assert_eq!(mode(&root), 0o700);
    }
}
