//! Writes a new nix-config and nix-secrets as two git repositories.
//!
//! Both are made whole, first commit and all, in a folder beside their places and
//! moved there at the end, so nothing is ever overwritten and an interrupted
//! run leaves nothing half done. The host's secrets pass to sops through standard
//! input and are on disk only encrypted; they are opened again before anything is
//! moved, where the operator's identity is at hand.

pub mod add_host;
pub mod operator_keys;
pub mod templates;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};
use crate::git::asking_git_in;
use crate::secret::Secret;
use templates::{NIX_CONFIG, NIX_SECRETS, Template, Values};

const CONFIG: &str = "nix-config";
const SECRETS: &str = "nix-secrets";
const DEADLINE: Duration = Duration::from_secs(60);

/// Why the repositories were not written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error("{} is already there", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not installed")]
    NoProgram(&'static str),
    #[error("git does not know who commits")]
    NoAuthor(#[source] ExecError),
    #[error("the secrets cannot be opened with {}", .0.display())]
    Proof(PathBuf, #[source] ExecError),
    #[error("the secrets opened with {} are not those that were written", .0.display())]
    Differs(PathBuf),
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl Advice for ScaffoldError {
    fn hint(&self) -> String {
        match self {
            Self::Exists(_) => "Nothing is overwritten: choose another folder.".into(),
            Self::Io { .. } => "Check the folder's permissions and free space.".into(),
            Self::NoProgram(program) => {
                format!("Install {program}, for instance with: nix shell nixpkgs#{program}")
            }
            Self::NoAuthor(_) => {
                "Say it once: git config --global user.name NAME; git config --global user.email \
                 ADDRESS"
                    .into()
            }
            Self::Proof(..) | Self::Differs(_) => {
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

/// What is to be written, and where.
#[derive(Debug)]
pub struct Scaffold {
    /// The folder that gets both repositories; made when it is missing.
    pub dir: PathBuf,
    pub values: Values,
    /// crypt(3) hash of the primary user's password.
    pub password_hash: Secret,
    /// Value of the sample secret.
    pub sample: Secret,
    pub config_remote: Option<String>,
    pub secrets_remote: Option<String>,
    /// Key file that must open the result, where there is one.
    pub identity: Option<PathBuf>,
}

/// Where nix-config goes below `dir`.
pub fn config_dir(dir: &Path) -> PathBuf {
    dir.join(CONFIG)
}

/// Where nix-secrets goes below `dir`.
pub fn secrets_dir(dir: &Path) -> PathBuf {
    dir.join(SECRETS)
}

/// Finds what would fail later; changes nothing.
pub fn check(dir: &Path) -> Result<(), ScaffoldError> {
    for place in [config_dir(dir), secrets_dir(dir)] {
        if place.symlink_metadata().is_ok() {
            return Err(ScaffoldError::Exists(place));
        }
    }
    installed("git", git(Path::new("/")).arg("--version"))?;
    installed("sops", Cmd::new("sops").args(["--version", "--disable-version-check"]))?;
    match git(Path::new("/")).args(["var", "GIT_COMMITTER_IDENT"]).run() {
        Ok(_) => Ok(()),
        Err(error @ ExecError::Failed { .. }) => Err(ScaffoldError::NoAuthor(error)),
        Err(error) => Err(error.into()),
    }
}

impl Scaffold {
    /// Writes both repositories.
    pub fn write(&self) -> Result<(), ScaffoldError> {
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

        publish(&secrets, &secrets_dir(&self.dir))?;
        publish(&config, &config_dir(&self.dir))
    }

    fn render(&self, templates: &[Template], repo: &Path) -> Result<(), ScaffoldError> {
        for template in templates {
            let (path, text) = template.render(&self.values);
            write_file(&repo.join(path), text.as_bytes())?;
        }
        Ok(())
    }
}

/// What goes into a host's file of secrets.
#[derive(Debug)]
pub struct HostSecrets<'a> {
    /// crypt(3) hash of the primary user's password.
    pub password_hash: &'a Secret,
    /// Value of the sample secret.
    pub sample: &'a Secret,
    /// Key file that must open the result, where there is one.
    pub identity: Option<&'a Path>,
}

/// Writes `sops/HOST.yaml` in `repo`, for the recipients that its rules name.
pub fn encrypt(
    repo: &Path,
    host: &str,
    user: &str,
    secrets: &HostSecrets<'_>,
) -> Result<(), ScaffoldError> {
    let name = format!("sops/{host}.yaml");
    let file = repo.join(&name);
    // JSON is YAML too, and needs no second set of quoting rules.
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
        Some(identity) => prove(&file, identity, &plain),
        None => Ok(()),
    }
}

/// Opens `file` with nothing but `identity`, so that no other key can answer for it.
fn prove(file: &Path, identity: &Path, plain: &serde_json::Value) -> Result<(), ScaffoldError> {
    let opened = Cmd::new("sops")
        .args(["decrypt", "--input-type", "yaml", "--output-type", "json"])
        .arg(file)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("SOPS_AGE_KEY_FILE", identity)
        .deadline(DEADLINE)
        .run()
        .map_err(|error| ScaffoldError::Proof(identity.to_owned(), error))?;
    match serde_json::from_slice::<serde_json::Value>(&opened.stdout) {
        Ok(value) if value == *plain => Ok(()),
        _ => Err(ScaffoldError::Differs(identity.to_owned())),
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
    // Signing may ask for the passphrase of a key.
    git(repo).args(["commit", "--quiet", "-m", message]).terminal().run()?;
    Ok(())
}

/// Moves a finished repository to its place; refuses when something is there by now.
fn publish(from: &Path, to: &Path) -> Result<(), ScaffoldError> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(|error| match error {
        rustix::io::Errno::EXIST => ScaffoldError::Exists(to.to_owned()),
        error => io_error(to)(error.into()),
    })
}

fn installed(program: &'static str, probe: Cmd) -> Result<(), ScaffoldError> {
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
