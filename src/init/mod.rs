//! Writes a new nix-config and nix-secrets as two git repositories, for `landfall init`;
//! `add_host` adds further hosts to them, for `landfall host add`.
//!
//! Invariants: both repositories are completed, first commit included, in a staging directory
//! and renamed into place at the end, so nothing is overwritten and an interrupted run leaves
//! no half of one. Secrets reach sops over standard input and are on disk only encrypted; where
//! the operator's identity is known, they are decrypted with it before anything is renamed.

pub(crate) mod add_host;
pub(crate) mod operator_keys;
pub(crate) mod templates;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};
use crate::git::asking_git_in;
use crate::secret::Secret;
use templates::{NIX_CONFIG, NIX_SECRETS, Template, TemplateValues};

const CONFIG: &str = "nix-config";
const SECRETS: &str = "nix-secrets";
const DEADLINE: Duration = Duration::from_secs(60);

/// Why the repositories were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScaffoldError {
    #[error("{} already exists", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not installed")]
    NoProgram(&'static str),
    #[error("git has no name and email address for commits")]
    NoAuthor(#[source] ExecError),
    #[error("the secrets cannot be decrypted with {}", .0.display())]
    Decrypt(PathBuf, #[source] ExecError),
    #[error("the secrets decrypted with {} are not those that were encrypted", .0.display())]
    Mismatch(PathBuf),
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl Advice for ScaffoldError {
    fn hint(&self) -> String {
        match self {
            Self::Exists(_) => "Nothing is overwritten: choose another folder.".into(),
            Self::Io { .. } => "Check the folder's permissions and free space.".into(),
            Self::NoProgram(program) => {
                format!("Install {program}, for example with: nix shell nixpkgs#{program}")
            }
            Self::NoAuthor(_) => {
                "Set them once: git config --global user.name NAME; git config --global user.email \
                 ADDRESS"
                    .into()
            }
            Self::Decrypt(..) | Self::Mismatch(_) => {
                "Check that the key file belongs to the recipient given with --age-recipient."
                    .into()
            }
            Self::Exec(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) | Self::NoProgram(_) | Self::NoAuthor(_) => Exit::Usage,
            Self::Exec(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}

/// The two repositories to write.
#[derive(Debug)]
pub(crate) struct Scaffold {
    /// The directory for both repositories, created when missing.
    pub(crate) dir: PathBuf,
    pub(crate) values: TemplateValues,
    /// crypt(3) hash of the primary user's password.
    pub(crate) password_hash: Secret,
    /// Value of the secret `sample`.
    pub(crate) sample: Secret,
    /// URL of nix-config's remote `origin`.
    pub(crate) config_remote: Option<String>,
    /// URL of nix-secrets' remote `origin`.
    pub(crate) secrets_remote: Option<String>,
    /// The age key file that must decrypt the result, where it is known.
    pub(crate) identity: Option<PathBuf>,
}

/// Returns the path of nix-config below `dir`.
pub(crate) fn config_dir(dir: &Path) -> PathBuf {
    dir.join(CONFIG)
}

/// Returns the path of nix-secrets below `dir`.
pub(crate) fn secrets_dir(dir: &Path) -> PathBuf {
    dir.join(SECRETS)
}

/// Checks that both repositories can be written below `dir`: neither exists, git and sops are
/// installed, and git knows a committer. Changes nothing.
pub(crate) fn check(dir: &Path) -> Result<(), ScaffoldError> {
    for place in [config_dir(dir), secrets_dir(dir)] {
        if place.symlink_metadata().is_ok() {
            return Err(ScaffoldError::Exists(place));
        }
    }
    check_installed("git", git(Path::new("/")).arg("--version"))?;
    check_installed("sops", Cmd::new("sops").args(["--version", "--disable-version-check"]))?;
    match git(Path::new("/")).args(["var", "GIT_COMMITTER_IDENT"]).run() {
        Ok(_) => Ok(()),
        Err(error @ ExecError::Failed { .. }) => Err(ScaffoldError::NoAuthor(error)),
        Err(error) => Err(error.into()),
    }
}

impl Scaffold {
    /// Writes and commits both repositories.
    pub(crate) fn write(&self) -> Result<(), ScaffoldError> {
        std::fs::create_dir_all(&self.dir).map_err(io_error(&self.dir))?;
        let staging = tempfile::Builder::new()
            .prefix(".landfall-init-")
            .tempdir_in(&self.dir)
            .map_err(io_error(&self.dir))?;

        let secrets = staging.path().join(SECRETS);
        self.render(NIX_SECRETS, &secrets)?;
        let of_host = HostSecrets {
            password_hash: &self.password_hash,
            sample: &self.sample,
            identity: self.identity.as_deref(),
        };
        encrypt(&secrets, &self.values.host, &self.values.user, &of_host)?;
        let message = "Secrets of the first host";
        first_commit(&secrets, message, self.secrets_remote.as_deref())?;

        let config = staging.path().join(CONFIG);
        self.render(NIX_CONFIG, &config)?;
        let message = format!("Configuration of {}", self.values.host);
        first_commit(&config, &message, self.config_remote.as_deref())?;

        move_into_place(&secrets, &secrets_dir(&self.dir))?;
        move_into_place(&config, &config_dir(&self.dir))
    }

    fn render(&self, templates: &[Template], repo: &Path) -> Result<(), ScaffoldError> {
        for template in templates {
            let (path, text) = template.render(&self.values);
            write_file(&repo.join(path), text.as_bytes())?;
        }
        Ok(())
    }
}

/// The content of a host's secrets file.
#[derive(Debug)]
pub(crate) struct HostSecrets<'a> {
    /// crypt(3) hash of the primary user's password.
    pub(crate) password_hash: &'a Secret,
    /// Value of the secret `sample`.
    pub(crate) sample: &'a Secret,
    /// The age key file that must decrypt the result, where it is known.
    pub(crate) identity: Option<&'a Path>,
}

/// Writes `sops/HOST.yaml` in `repo`, encrypted to the recipients that `.sops.yaml` names for it.
pub(crate) fn encrypt(
    repo: &Path,
    host: &str,
    user: &str,
    secrets: &HostSecrets<'_>,
) -> Result<(), ScaffoldError> {
    let name = format!("sops/{host}.yaml");
    let file = repo.join(&name);
    // sops reads JSON and writes YAML, so that nothing here quotes YAML.
    let plain = json!({
        "passwords": { user: text(secrets.password_hash) },
        "sample": text(secrets.sample),
    });
    let encrypted = Cmd::new("sops")
        .args(["--config", ".sops.yaml", "encrypt", "--filename-override", &name])
        .args(["--input-type", "json", "--output-type", "yaml"])
        .dir(repo)
        .stdin(Secret::from(plain.to_string()))
        .deadline(DEADLINE)
        .run()?;
    write_file(&file, &encrypted.stdout)?;
    match secrets.identity {
        Some(identity) => check_decrypts(&file, identity, &plain),
        None => Ok(()),
    }
}

/// Decrypts `file` with `identity` alone: no other key of the environment can take its place.
fn check_decrypts(
    file: &Path,
    identity: &Path,
    plain: &serde_json::Value,
) -> Result<(), ScaffoldError> {
    let decrypted = Cmd::new("sops")
        .args(["decrypt", "--input-type", "yaml", "--output-type", "json"])
        .arg(file)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("SOPS_AGE_KEY_FILE", identity)
        .deadline(DEADLINE)
        .run()
        .map_err(|error| ScaffoldError::Decrypt(identity.to_owned(), error))?;
    match serde_json::from_slice::<serde_json::Value>(&decrypted.stdout) {
        Ok(value) if value == *plain => Ok(()),
        _ => Err(ScaffoldError::Mismatch(identity.to_owned())),
    }
}

fn git(dir: &Path) -> Cmd {
    asking_git_in(dir).deadline(DEADLINE)
}

fn first_commit(repo: &Path, message: &str, remote: Option<&str>) -> Result<(), ScaffoldError> {
    git(repo).args(["init", "--quiet", "--initial-branch", "main"]).run()?;
    if let Some(url) = remote {
        git(repo).args(["remote", "add", "origin", url]).run()?;
    }
    git(repo).args(["add", "--all"]).run()?;
    // Signing the commit may prompt for a passphrase.
    git(repo).args(["commit", "--quiet", "-m", message]).terminal().run()?;
    Ok(())
}

/// Renames a finished repository into place; fails when something exists there by now.
fn move_into_place(from: &Path, to: &Path) -> Result<(), ScaffoldError> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| match error {
        rustix::io::Errno::EXIST => ScaffoldError::Exists(to.to_owned()),
        error => io_error(to)(error.into()),
    })
}

fn check_installed(program: &'static str, probe: Cmd) -> Result<(), ScaffoldError> {
    match probe.deadline(DEADLINE).run() {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing_program() => Err(ScaffoldError::NoProgram(program)),
        Err(error) => Err(error.into()),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ScaffoldError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(path, bytes)).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ScaffoldError + '_ {
    move |source| ScaffoldError::Io { path: path.to_owned(), source }
}

fn text(secret: &Secret) -> &str {
    secret.expose_str().unwrap_or_default()
}
