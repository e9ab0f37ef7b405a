//! The operator's two repositories: made by `landfall init`, locked to the lab's stand-ins,
//! pushed to the forge.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::operator::{Operator, USER};
use super::scenario::{Scenario, disk_path};
use crate::cache::Cache;
use crate::forge::Forge;
use crate::lab::base::{INPUTS, input};
use crate::run::{output, quiet};

/// The host that the journey installs.
pub const HOST: &str = "guppy";

/// Names of the bare repositories on the forge.
pub const CONFIG: &str = "nix-config";
pub const SECRETS: &str = "nix-secrets";

/// The secrets of a journey, drawn anew for each, so that nothing can pass by chance.
pub struct KnownSecrets {
    pub password: String,
    pub passphrase: String,
    pub sample: String,
}

impl KnownSecrets {
    pub fn draw() -> Result<KnownSecrets> {
        Ok(KnownSecrets { password: word()?, passphrase: word()?, sample: word()? })
    }
}

/// Random letters and digits that any keyboard types on a serial console.
fn word() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(text.trim().replace('-', ""))
}

pub struct Repos {
    pub config: PathBuf,
    pub secrets: PathBuf,
}

impl Repos {
    /// Makes both repositories with `landfall init`, for the host that is installed.
    pub fn init(
        operator: &Operator,
        forge: &Forge,
        known: &KnownSecrets,
        scenario: &Scenario,
    ) -> Result<Repos> {
        let first = scenario.disks.first().context("the journey has no disk")?;
        let sources = operator.path("src");
        let password = operator.secret_file("password", &known.password)?;
        quiet(
            operator
                .landfall()?
                .arg("init")
                .arg(&sources)
                .args(["--yes", "--host", HOST, "--user", USER, "--ssh-key"])
                .arg(operator.ssh_key().with_extension("pub"))
                .args(["--remote", &forge.repository(CONFIG)?])
                .args(["--secrets-remote", &forge.repository(SECRETS)?])
                .args(["--layout", &scenario.layout, "--disk", &disk_path(first)])
                .args(["--firmware", scenario.firmware.name()])
                .arg("--password-file")
                .arg(&password),
        )?;
        Ok(Repos { config: sources.join(CONFIG), secrets: sources.join(SECRETS) })
    }

    /// Commits what was changed, locks the inputs and pushes, so that a bootstrap finds what
    /// an operator would have.
    pub fn publish(&self, cache: &Cache, operator: &Operator) -> Result<()> {
        for repository in [&self.config, &self.secrets] {
            let changes = operator.git(repository, &["status", "--porcelain"])?;
            if !changes.is_empty() {
                commit(operator, repository, "Changes for this journey")?;
            }
        }
        operator.git(&self.secrets, &["push", "--quiet", "-u", "origin", "main"])?;
        self.lock(cache, operator)?;
        operator.git(&self.config, &["push", "--quiet", "-u", "origin", "main"]).map(drop)
    }

    fn host_secrets(&self) -> PathBuf {
        self.secrets.join(format!("sops/{HOST}.yaml"))
    }

    /// Gives the sample secret a value that the journey knows; it goes to sops by standard
    /// input.
    pub fn set_sample(&self, operator: &Operator, value: &str) -> Result<()> {
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
    pub fn installer_image(&self, operator: &Operator) -> Result<PathBuf> {
        let installer = self.config.join("nixos-installer");
        let attribute = format!("{}#iso", flake_reference(&self.config, &installer));
        let built = output(operator.command("nix").args([
            "build",
            "--no-link",
            "--print-out-paths",
            &attribute,
        ]))?;
        let images = PathBuf::from(built.trim()).join("iso");
        let mut found = std::fs::read_dir(&images)
            .with_context(|| format!("no image below {}", images.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()));
        found
            .find(|path| path.extension().is_some_and(|extension| extension == "iso"))
            .with_context(|| format!("no image in {}", images.display()))
    }

    /// Adds definitions to the host's own module.
    pub fn add_to_host(&self, definitions: &str) -> Result<()> {
        let file = format!("hosts/nixos/{HOST}/default.nix");
        self.edit(&file, |text| {
            let body =
                text.trim_end().strip_suffix('}').context("the host's file ends without }")?;
            Ok(format!("{body}\n  {definitions}\n}}\n"))
        })
    }

    /// Removes the text from the first `from` up to the next `to` in a file of the
    /// configuration.
    pub fn cut(&self, file: &str, from: &str, to: &str) -> Result<()> {
        self.edit(file, |text| {
            let start = text.find(from).with_context(|| format!("{file} has no {from:?}"))?;
            let rest = &text[start + from.len()..];
            let length = rest.find(to).with_context(|| format!("{file} has no {to:?} there"))?;
            Ok(format!("{}{}", &text[..start], &rest[length..]))
        })
    }

    /// The value of a secret of the host, as the operator can read it. `key` is in sops'
    /// form: `["a"]["b"]`.
    pub fn secret(&self, operator: &Operator, key: &str) -> Result<String> {
        output(
            operator.command("sops").args(["decrypt", "--extract", key]).arg(self.host_secrets()),
        )
    }

    /// Replaces what must be there, once, in a file of the configuration.
    pub fn replace(&self, file: &str, from: &str, to: &str) -> Result<()> {
        self.edit(file, |text| {
            ensure!(text.contains(from), "{file} does not contain {from:?}");
            Ok(text.replacen(from, to, 1))
        })
    }

    /// Changes a file of the configuration.
    pub fn edit(&self, file: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let path = self.config.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(std::fs::write(&path, change(&text)?)?)
    }

    /// Changes one character of the sample secret's ciphertext.
    pub fn corrupt_sample(&self) -> Result<()> {
        let file = self.host_secrets();
        let text = std::fs::read_to_string(&file)?;
        let start = text.find("sample: ENC[AES256_GCM,data:").context("no sample secret")?;
        let at = start + "sample: ENC[AES256_GCM,data:".len();
        let other = if text[at..].starts_with('A') { "B" } else { "A" };
        Ok(std::fs::write(&file, format!("{}{other}{}", &text[..at], &text[at + 1..]))?)
    }
}

/// The repository's folder as a flake, or a folder in it.
fn flake_reference(repository: &Path, flake: &Path) -> String {
    let folder = flake.strip_prefix(repository).unwrap_or(Path::new(""));
    let repository = repository.display();
    match folder.to_str() {
        Some("") | None => format!("git+file://{repository}"),
        Some(folder) => format!("git+file://{repository}?dir={folder}"),
    }
}

fn declares(flake: &str, input: &str) -> bool {
    flake.contains(&format!("{input}.url")) || flake.contains(&format!("{input} = {{"))
}

fn commit(operator: &Operator, repository: &Path, message: &str) -> Result<()> {
    operator.git(repository, &["add", "--all"])?;
    operator.git(repository, &["commit", "--quiet", "-m", message]).map(drop)
}
