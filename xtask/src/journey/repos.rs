//! The operator's two repositories: made by `landfall init`, locked to the lab's stand-ins,
//! pushed to the forge.
//!
//! Invariant: what a later run of landfall finds is what an operator would have; nothing of it
//! has to be told of the lab.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::operator::{Operator, USER};
use super::servers::Forge;
use crate::cache::Cache;
use crate::lab::base::{INPUTS, input};
use crate::process::{output, quiet};
use crate::vm::Firmware;

/// The host that the journey installs.
pub(crate) const HOST: &str = "guppy";

/// Names of the bare repositories on the forge.
pub(crate) const CONFIG: &str = "nix-config";
pub(crate) const SECRETS: &str = "nix-secrets";

/// The host's modules in the configuration; they name [`HOST`].
pub(crate) const HOST_MODULE: &str = "hosts/nixos/guppy/default.nix";
pub(crate) const DISKS_MODULE: &str = "hosts/nixos/guppy/disks.nix";
pub(crate) const HARDWARE_MODULE: &str = "hosts/nixos/guppy/hardware-configuration.nix";

/// The secrets of a journey, random in each, so that nothing can pass by chance.
pub(crate) struct RandomSecrets {
    /// Of the primary user.
    pub(crate) password: String,
    /// Of the root's volume.
    pub(crate) passphrase: String,
    /// What `/run/secrets/sample` must be.
    pub(crate) sample: String,
}

impl RandomSecrets {
    /// Draws the secrets of one journey.
    pub(crate) fn draw() -> Result<RandomSecrets> {
        Ok(RandomSecrets { password: word()?, passphrase: word()?, sample: word()? })
    }
}

/// Draws random letters and digits that any keyboard types on a serial console.
fn word() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(text.trim().replace('-', ""))
}

/// What of the host `landfall init` is told.
pub(crate) struct HostChoices<'a> {
    pub(crate) password: &'a str,
    pub(crate) layout: &'a str,
    /// Path of the disk on the target.
    pub(crate) disk: &'a str,
    pub(crate) firmware: Firmware,
}

/// The checkouts of the two repositories.
pub(crate) struct Repos {
    pub(crate) config: PathBuf,
    pub(crate) secrets: PathBuf,
}

impl Repos {
    /// Makes both repositories with `landfall init`, for the host that is installed.
    pub(crate) fn init(operator: &Operator, forge: &Forge, host: &HostChoices) -> Result<Repos> {
        let sources = operator.path("src");
        let password = operator.secret_file("password", host.password)?;
        quiet(
            operator
                .landfall()?
                .arg("init")
                .arg(&sources)
                .args(["--yes", "--host", HOST, "--user", USER, "--ssh-key"])
                .arg(operator.ssh_key().with_extension("pub"))
                .args(["--remote", &forge.repository(CONFIG)?])
                .args(["--secrets-remote", &forge.repository(SECRETS)?])
                .args(["--layout", host.layout, "--disk", host.disk])
                .args(["--firmware", host.firmware.name()])
                .arg("--password-file")
                .arg(&password),
        )?;
        Ok(Repos { config: sources.join(CONFIG), secrets: sources.join(SECRETS) })
    }

    /// Commits what was changed, locks the inputs and pushes, so that a bootstrap finds what
    /// an operator would have.
    pub(crate) fn publish(&self, cache: &Cache, operator: &Operator) -> Result<()> {
        for (_, repository) in self.checkouts() {
            let changes = operator.git(repository, &["status", "--porcelain"])?;
            if !changes.is_empty() {
                commit(operator, repository, "Changes for this journey")?;
            }
        }
        operator.git(&self.secrets, &["push", "--quiet", "-u", "origin", "main"])?;
        self.lock(cache, operator)?;
        operator.git(&self.config, &["push", "--quiet", "-u", "origin", "main"]).map(drop)
    }

    /// Lists both repositories: the name on the forge, and the checkout.
    pub(crate) fn checkouts(&self) -> [(&'static str, &Path); 2] {
        [(CONFIG, &self.config), (SECRETS, &self.secrets)]
    }

    /// Returns the path of the host's encrypted file.
    pub(crate) fn host_secrets(&self) -> PathBuf {
        self.secrets.join(format!("sops/{HOST}.yaml"))
    }

    /// Gives the sample secret a value that the journey knows; it goes to sops by standard
    /// input.
    pub(crate) fn set_sample(&self, operator: &Operator, value: &str) -> Result<()> {
        let mut sops = operator
            .command("sops")
            .current_dir(&self.secrets)
            .args(["set", "--value-stdin"])
            .arg(self.host_secrets())
            .arg("[\"sample\"]")
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start sops")?;
        let mut input = sops.stdin.take().context("sops takes no input")?;
        write!(input, "\"{value}\"")?;
        drop(input);
        ensure!(sops.wait()?.success(), "sops could not set the sample secret");
        commit(operator, &self.secrets, "Set the sample secret")
    }

    /// Locks the inputs of both flakes to the stand-ins; the locks stay in the repository,
    /// so that nothing later needs to be told.
    fn lock(&self, cache: &Cache, operator: &Operator) -> Result<()> {
        for flake in [self.config.clone(), self.config.join("nixos-installer")] {
            let text = std::fs::read_to_string(flake.join("flake.nix"))?;
            let mut nix = operator.command("nix");
            nix.args(["flake", "lock"]).arg(flake_reference(&self.config, &flake));
            for name in INPUTS.iter().filter(|name| declares(&text, name)) {
                let stand_in = format!("path:{}", input(cache, name).display());
                nix.args(["--override-input", name, &stand_in]);
            }
            quiet(&mut nix)?;
        }
        commit(operator, &self.config, "Lock the inputs")
    }

    /// Builds the installer's image and gives its path.
    pub(crate) fn installer_image(&self, operator: &Operator) -> Result<PathBuf> {
        let installer = self.config.join("nixos-installer");
        let attribute = format!("{}#iso", flake_reference(&self.config, &installer));
        let mut nix = operator.command("nix");
        let built = output(nix.args(["build", "--no-link", "--print-out-paths", &attribute]))?;
        let images = PathBuf::from(built.trim()).join("iso");
        let mut found = std::fs::read_dir(&images)
            .with_context(|| format!("no image below {}", images.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()));
        found
            .find(|path| path.extension().is_some_and(|extension| extension == "iso"))
            .with_context(|| format!("no image in {}", images.display()))
    }

    /// Adds definitions to the host's own module.
    pub(crate) fn add_to_host(&self, definitions: &str) -> Result<()> {
        self.add_to_module(HOST_MODULE, &format!("\n  {definitions}\n"))
    }

    /// Adds definitions to the host's disks, which the minimal system and the full one share.
    pub(crate) fn add_to_disks(&self, definitions: &str) -> Result<()> {
        self.add_to_module(DISKS_MODULE, definitions)
    }

    fn add_to_module(&self, file: &str, definitions: &str) -> Result<()> {
        self.edit(file, |text| {
            let body = text.trim_end().strip_suffix('}');
            let body = body.with_context(|| format!("{file} ends without }}"))?;
            Ok(format!("{body}{definitions}}}\n"))
        })
    }

    /// Removes the text from the first `from` up to the next `to` in a file of the
    /// configuration.
    pub(crate) fn cut(&self, file: &str, from: &str, to: &str) -> Result<()> {
        self.edit(file, |text| {
            let start = text.find(from).with_context(|| format!("{file} has no \"{from}\""))?;
            let rest = &text[start + from.len()..];
            let length = rest.find(to).with_context(|| format!("{file} has no \"{to}\" there"))?;
            Ok(format!("{}{}", &text[..start], &rest[length..]))
        })
    }

    /// Decrypts a secret of the host as the operator can. `key` is in sops' form: `["a"]["b"]`.
    pub(crate) fn secret(&self, operator: &Operator, key: &str) -> Result<String> {
        output(
            operator.command("sops").args(["decrypt", "--extract", key]).arg(self.host_secrets()),
        )
    }

    /// Replaces what must be there, once, in a file of the configuration.
    pub(crate) fn replace(&self, file: &str, from: &str, to: &str) -> Result<()> {
        self.edit(file, |text| {
            ensure!(text.contains(from), "{file} does not contain \"{from}\"");
            Ok(text.replacen(from, to, 1))
        })
    }

    /// Changes a file of the configuration.
    pub(crate) fn edit(
        &self,
        file: &str,
        change: impl FnOnce(&str) -> Result<String>,
    ) -> Result<()> {
        let path = self.config.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(std::fs::write(&path, change(&text)?)?)
    }

    /// Changes one character of the sample secret's ciphertext.
    pub(crate) fn corrupt_sample(&self) -> Result<()> {
        let file = self.host_secrets();
        let text = std::fs::read_to_string(&file)?;
        let start = text.find("sample: ENC[AES256_GCM,data:").context("no sample secret")?;
        let at = start + "sample: ENC[AES256_GCM,data:".len();
        let other = if text[at..].starts_with('A') { "B" } else { "A" };
        Ok(std::fs::write(&file, format!("{}{other}{}", &text[..at], &text[at + 1..]))?)
    }
}

/// Writes the reference of a flake in the repository, or in a folder of it.
fn flake_reference(repository: &Path, flake: &Path) -> String {
    let folder = flake.strip_prefix(repository).unwrap_or(Path::new(""));
    let repository = repository.display();
    match folder.to_str() {
        Some("") | None => format!("git+file://{repository}"),
        Some(folder) => format!("git+file://{repository}?dir={folder}"),
    }
}

/// Says whether a flake declares this input.
fn declares(flake: &str, input: &str) -> bool {
    flake.contains(&format!("{input}.url")) || flake.contains(&format!("{input} = {{"))
}

/// Commits everything.
fn commit(operator: &Operator, repository: &Path, message: &str) -> Result<()> {
    operator.git(repository, &["add", "--all"])?;
    operator.git(repository, &["commit", "--quiet", "-m", message]).map(drop)
}
