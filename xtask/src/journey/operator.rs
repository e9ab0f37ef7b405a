//! The person at the source machine: a home of their own with keys, git and ssh settings,
//! and nothing of whoever runs the lab.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::forge::Forge;
use crate::run::{output, quiet};

/// The primary user of the host that is installed.
pub const USER: &str = "alice";

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

pub struct Operator {
    home: PathBuf,
}

impl Operator {
    /// Makes a home with an SSH key.
    pub fn new(home: &Path) -> Result<Operator> {
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

    pub fn ssh_key(&self) -> PathBuf {
        self.home.join(".ssh/id_ed25519")
    }

    pub fn public_key(&self) -> Result<String> {
        let file = self.ssh_key().with_extension("pub");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// A path below the home.
    pub fn path(&self, below: &str) -> PathBuf {
        self.home.join(below)
    }

    /// Writes what git and ssh need to reach the forge, whose host key is known from the
    /// start. ssh takes the home from the user database, so git is told where to look.
    pub fn know(&self, forge: &Forge) -> Result<()> {
        let (config, known) = (self.path(".ssh/config"), self.path(".ssh/known_hosts"));
        fs::write(&known, forge.known_hosts_line()?)?;
        fs::write(
            &config,
            format!(
                "Host 127.0.0.1\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
                self.ssh_key().display(),
                known.display()
            ),
        )?;
        fs::write(
            self.path(".gitconfig"),
            format!(
                "[user]\n\tname = Operator\n\temail = operator@example.org\n\
                 [core]\n\tsshCommand = ssh -F {}\n[init]\n\tdefaultBranch = main\n",
                config.display()
            ),
        )?;
        Ok(())
    }

    /// A command as the operator runs it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", &self.home).env("USER", "operator");
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// The landfall of this checkout.
    pub fn landfall(&self) -> Result<Command> {
        let own = crate::run::own_program()?;
        let landfall = own.with_file_name("landfall");
        anyhow::ensure!(landfall.exists(), "{} is not built", landfall.display());
        Ok(self.command(landfall))
    }

    pub fn git(&self, repository: &Path, args: &[&str]) -> Result<String> {
        output(self.command("git").arg("-C").arg(repository).args(args))
    }

    /// Writes a secret to a file that only the operator can read.
    pub fn secret_file(&self, name: &str, secret: &str) -> Result<PathBuf> {
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
