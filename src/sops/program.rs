//! The sops binary, for what landfall does not do itself: creating files, setting
//! values, rotating, PGP, KMS, plugins, several key groups; and as a second
//! witness in proofs.
//!
//! It runs with an environment made for it. Identities reach it in a file that is in
//! memory alone, whose path it is told; never by argv or by value in a variable.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};
use crate::secret::{MemoryFile, Secret};
use crate::sops::file::format::Format;
use crate::sops::proof::identities::Identities;

/// A key service in the cloud or a touch of a token may take its time.
const DEADLINE: Duration = Duration::from_secs(180);

/// Variables that PGP and the clouds' key services need.
const KEY_SERVICE_VARIABLES: [&str; 8] = [
    "HOME",
    "GNUPGHOME",
    "GPG_TTY",
    "TERM",
    "DISPLAY",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
];
const KEY_SERVICE_PREFIXES: [&str; 6] =
    ["AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_", "VAULT_", "HUAWEICLOUD_"];

#[derive(Debug, thiserror::Error)]
pub enum SopsProgramError {
    #[error("sops is not in PATH")]
    Missing,
    #[error(transparent)]
    Run(#[from] ExecError),
    #[error("the keys and the folder for a run of sops could not be made: {0}")]
    KeyFile(#[from] std::io::Error),
}

impl Advice for SopsProgramError {
    fn hint(&self) -> String {
        match self {
            Self::Missing => "Install sops 3.11 or newer (nix shell nixpkgs#sops), then run the same command again.".into(),
            Self::Run(error) => error.hint(),
            Self::KeyFile(_) => {
                "Make room in the folder for temporary files (TMPDIR), and see that /proc is there."
                    .into()
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Missing => Exit::Usage,
            Self::Run(error) => error.exit(),
            Self::KeyFile(_) => Exit::Failed,
        }
    }
}

/// Whose keys a run of sops may use.
#[derive(Clone, Copy)]
pub(crate) enum Reach {
    /// Only the given age identities: an empty environment and home.
    AgeOnly,
    /// The operator's PGP keyring and cloud accounts too.
    Operator,
}

#[derive(Debug, Clone)]
pub(crate) struct SopsProgram {
    path: PathBuf,
}

impl SopsProgram {
    /// Finds `sops` in PATH.
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&path).map(|dir| dir.join("sops"));
        files.find(|file| file.is_file()).map(|path| Self { path })
    }

    pub(crate) fn require() -> Result<Self, SopsProgramError> {
        Self::find().ok_or(SopsProgramError::Missing)
    }

    /// Brings `file` to the recipients of `config`'s rule for it. `file` and
    /// `config` must be spelled alike, or sops finds another rule.
    pub(crate) fn update_keys(
        &self,
        config: &Path,
        file: &Path,
        format: Format,
        identities: &Identities,
        reach: Reach,
    ) -> Result<(), SopsProgramError> {
        let run = Run::new(identities)?;
        let command = run.command(self, reach).arg("--config").arg(config);
        let command = command.args(["updatekeys", "--yes", "--input-type", format.name()]);
        command.arg(file).run()?;
        Ok(())
    }

    /// Encrypts `file` with a new data key, in place, written as `config` says (`stores`).
    pub(crate) fn rotate(
        &self,
        config: &Path,
        file: &Path,
        format: Format,
        identities: &Identities,
        reach: Reach,
    ) -> Result<(), SopsProgramError> {
        let run = Run::new(identities)?;
        let command = run.command(self, reach).arg("--config").arg(config);
        let command = command.args(["rotate", "--in-place"]);
        let command = command.args(["--input-type", format.name(), "--output-type", format.name()]);
        command.arg(file).run()?;
        Ok(())
    }

    /// Decrypts `file` and checks its MAC; the plaintext goes nowhere.
    pub(crate) fn opens(
        &self,
        file: &Path,
        format: Format,
        identities: &Identities,
        reach: Reach,
    ) -> Result<(), SopsProgramError> {
        let run = Run::new(identities)?;
        let command = run.command(self, reach).args(["--config", "/dev/null", "decrypt"]);
        let command = command.args(["--output", "/dev/null", "--input-type", format.name()]);
        command.arg(file).run()?;
        Ok(())
    }

    /// Decrypts `file` and checks its MAC; gives the value at `path`.
    pub(crate) fn value(
        &self,
        file: &Path,
        format: Format,
        path: &[&str],
        identities: &Identities,
    ) -> Result<Secret, SopsProgramError> {
        let run = Run::new(identities)?;
        let command = run.command(self, Reach::Operator).args(["--config", "/dev/null", "decrypt"]);
        let command = command.args(["--input-type", format.name(), "--extract"]);
        let output = command.arg(index(path)).arg(file).quiet().run()?;
        Ok(Secret::new(output.stdout))
    }

    /// Encrypts `plain` to the rule that `config` has for `file`; returns the encrypted text.
    pub(crate) fn encrypt(
        &self,
        config: &Path,
        file: &Path,
        format: Format,
        plain: Secret,
    ) -> Result<Vec<u8>, SopsProgramError> {
        let nobody = Identities::default();
        let run = Run::new(&nobody)?;
        let command = run.command(self, Reach::Operator).arg("--config").arg(config);
        let command = command.args([
            "encrypt",
            "--input-type",
            format.name(),
            "--output-type",
            format.name(),
        ]);
        let command = command.arg("--filename-override").arg(file).arg("/dev/stdin");
        Ok(command.stdin(plain).run()?.stdout)
    }

    /// Sets the value at `path` (a list of keys) to a string; the file is written as `config`
    /// says (`stores`).
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn set(
        &self,
        config: &Path,
        file: &Path,
        format: Format,
        path: &[&str],
        value: &Secret,
        identities: &Identities,
        reach: Reach,
    ) -> Result<(), SopsProgramError> {
        let run = Run::new(identities)?;
        let json = Secret::from(super::file::json::quoted(value.expose_str().unwrap_or_default()));
        let command = run.command(self, reach).arg("--config").arg(config);
        let command = command.args(["set", "--idempotent", "--value-stdin"]);
        let command = command.args(["--input-type", format.name(), "--output-type", format.name()]);
        command.arg(file).arg(index(path)).stdin(json).run()?;
        Ok(())
    }

    /// What a person would type to do the same as [`Self::update_keys`].
    pub(crate) fn update_keys_by_hand(config: &Path, file: &Path) -> String {
        format!("sops --config {} updatekeys {}", config.display(), file.display())
    }
}

/// A path of keys as sops takes it.
fn index(path: &[&str]) -> String {
    path.iter().map(|part| format!("[{}]", crate::sops::file::json::quoted(part))).collect()
}

/// Folders for runs of sops begin like this, followed by landfall's process id.
const PREFIX: &str = "landfall-sops-";

/// Is held open and locked in each folder while its run of sops lasts.
const LOCK: &str = "lock";

/// Removes the folders of a landfall that was killed, in which older ones have keys: nobody
/// holds their lock any more. Processes of other containers hold theirs too.
fn remove_left_overs(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let over = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Before its lock a folder is empty, and after it it is gone soon.
            Err(_) => {
                let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
                let age = modified.and_then(|time| time.elapsed().ok()).unwrap_or_default();
                age > DEADLINE * 2
            }
        };
        if over {
            // Somebody else's cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// An empty home and the keys for one run of sops, removed when dropped.
struct Run<'i> {
    home: tempfile::TempDir,
    keys: MemoryFile,
    identities: &'i Identities,
    _lock: File,
}

impl<'i> Run<'i> {
    fn new(identities: &'i Identities) -> Result<Self, SopsProgramError> {
        // Memory that goes with the session, where there is such a place.
        let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = base.filter(|dir| dir.is_dir()).unwrap_or_else(std::env::temp_dir);
        remove_left_overs(&base);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let home = tempfile::Builder::new().prefix(&prefix).tempdir_in(base)?;
        // It gets its name locked: whoever sweeps at this moment must not take it for left over.
        let unnamed = home.path().join("lock.new");
        let lock = File::create_new(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(std::io::Error::from)?;
        std::fs::rename(unnamed, home.path().join(LOCK))?;
        Ok(Self { home, keys: identities.for_sops()?, identities, _lock: lock })
    }

    fn command(&self, sops: &SopsProgram, reach: Reach) -> Cmd {
        let mut command = Cmd::new(&sops.path).env_clear().deadline(DEADLINE).dir(self.home.path());
        if let Some(path) = std::env::var_os("PATH") {
            command = command.env("PATH", path);
        }
        match reach {
            Reach::AgeOnly => command = command.env("HOME", self.home.path()),
            Reach::Operator => {
                for (name, value) in std::env::vars_os() {
                    let known = name.to_str().is_some_and(|name| {
                        KEY_SERVICE_VARIABLES.contains(&name)
                            || KEY_SERVICE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                    });
                    if known {
                        command = command.env(name, value);
                    }
                }
                command = command.terminal();
            }
        }
        if let Some(file) = self.identities.ssh_files().first() {
            command = command.env("SOPS_AGE_SSH_PRIVATE_KEY_FILE", file);
        }
        command.env("SOPS_AGE_KEY_FILE", self.keys.path()).env("SOPS_DISABLE_VERSION_CHECK", "1")
    }
}
