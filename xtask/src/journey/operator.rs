//! The person at the source machine: a home of their own with keys, git and ssh settings,
//! and nothing of whoever runs the lab.
//!
//! Invariant: the operator's commands get no variable of the environment but those listed here.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{output, own_program, quiet};

/// The primary user of the host that is installed.
pub(crate) const USER: &str = "alice";

/// Variables of the lab's environment that its commands need.
const KEPT: [&str; 9] = [
    "PATH",
    "LANG",
    "TERM",
    "TMPDIR",
    "LANDFALL_LAB_CACHE",
    "NIX_REMOTE",
    "NIX_CONF_DIR",
    "NIX_USER_CONF_FILES",
    "NIX_CACHE_HOME",
];

/// Somebody with a home, who runs landfall.
pub(crate) struct Operator {
    home: PathBuf,
}

impl Operator {
    /// Makes a home with an SSH key.
    pub(crate) fn new(home: &Path) -> Result<Operator> {
        private_folder(home)?;
        private_folder(&home.join(".ssh"))?;
        let operator = Operator { home: home.to_path_buf() };
        let key = operator.ssh_key();
        quiet(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f"])
                .arg(key),
        )?;
        Ok(operator)
    }

    /// Returns the path of the private SSH key.
    pub(crate) fn ssh_key(&self) -> PathBuf {
        self.home.join(".ssh/id_ed25519")
    }

    /// Reads the public half of the SSH key.
    pub(crate) fn public_key(&self) -> Result<String> {
        let file = self.ssh_key().with_extension("pub");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Returns a path below the home.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    /// Writes what git and ssh need to reach the forge, whose line of known_hosts is known from
    /// the start. ssh takes the home from the user database, so git is told where to look.
    pub(crate) fn trust_forge(&self, known_hosts_line: &str) -> Result<()> {
        let (config, known) = (self.path(".ssh/config"), self.path(".ssh/known_hosts"));
        fs::write(&known, known_hosts_line)?;
        let ssh = format!(
            "Host 127.0.0.1\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
            self.ssh_key().display(),
            known.display()
        );
        fs::write(&config, ssh)?;
        let git = format!(
            "[user]\n\tname = Operator\n\temail = operator@example.org\n\
             [core]\n\tsshCommand = ssh -F {}\n[init]\n\tdefaultBranch = main\n",
            config.display()
        );
        Ok(fs::write(self.path(".gitconfig"), git)?)
    }

    /// Prepares a command as the operator runs it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", &self.home).env("USER", "operator");
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Prepares the landfall that was built beside this program.
    pub(crate) fn landfall(&self) -> Result<Command> {
        let own = own_program()?;
        let landfall = own.with_file_name("landfall");
        ensure!(landfall.exists(), "{} is not built", landfall.display());
        Ok(self.command(landfall))
    }

    /// Runs git in a repository and returns its output.
    pub(crate) fn git(&self, repository: &Path, args: &[&str]) -> Result<String> {
        output(self.command("git").arg("-C").arg(repository).args(args))
    }

    /// Writes a secret to a file that only the operator can read.
    pub(crate) fn secret_file(&self, name: &str, secret: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(secret.as_bytes())?;
        Ok(path)
    }
}

fn private_folder(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}
