//! Where a run works and how: flags, then environment, then landfall.toml, then
//! what the repositories themselves tell.
//!
//! Nothing here evaluates nix or talks to the target; what the configuration
//! means is `facts`, what the machine is is `machine`.

pub mod build_on;
pub mod choices;
pub mod detect;
mod error;
mod host_name;
pub mod installation;
mod kexec;
mod passphrases;
pub mod repository;
pub mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use build_on::BuildOn;
use choices::{Activation, ChangedLayout, HardwareSource};
use installation::Installation;
use source::SystemSource;

use crate::nix::NixOptions;
use crate::ssh::Endpoint;

pub use error::ConfigError;
pub use host_name::HostName;
pub use kexec::{Kexec, KexecImage, Sha256Sum};
pub use passphrases::{PassphraseFrom, PassphraseSource, SecretPlace};
pub(crate) use passphrases::{named, passphrases};
pub use repository::{ConfigRepo, InstallerFlake, SecretsRepo};

/// Which way a blank machine takes to the full configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Install the minimal installer flake, boot it, then the full configuration.
    Staged,
    /// Install the full configuration at once.
    Direct,
    /// Install a system of any flake, and nothing else.
    Install,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Staged => "staged",
            Self::Direct => "direct",
            Self::Install => "install",
        })
    }
}

/// What happens with commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// To the upstream of the current branch.
    Upstream,
    Branch(String),
    No,
}

/// A validated configuration of one run.
#[derive(Debug, Clone)]
pub struct Config {
    pub host: HostName,
    pub target: Option<Endpoint>,
    /// Where the installed system answers; as `target` unless told otherwise.
    pub installed_address: Option<Endpoint>,
    pub installer_fingerprint: Option<String>,
    pub origin: SystemSource,
    pub kexec: Kexec,
    /// Files with passwords for sudo on the target, by user; without one, for all.
    pub sudo_passwords: Vec<(Option<String>, PathBuf)>,
    /// Root of the nix-config repository; empty where the system comes from elsewhere.
    pub repo: PathBuf,
    /// Attribute of the host's full system; of its `config`, where it comes from a flake.
    pub attr: String,
    pub installer: Option<InstallerFlake>,
    pub strategy: Strategy,
    pub secrets: Option<SecretsRepo>,
    pub no_secrets: bool,
    /// Recipients that may gain access to files of the secrets.
    pub grants: Vec<String>,
    /// Relative to the repository; absolute where there is none.
    pub hardware_file: Option<PathBuf>,
    pub hardware: Option<HardwareSource>,
    pub installation: Installation,
    pub user: Option<String>,
    pub host_key: Option<PathBuf>,
    /// Keep the private host key in the secrets repository.
    pub store_host_key: bool,
    /// Devices of disks of the layout, by the disks' names, in place of the layout's own.
    pub devices: BTreeMap<String, String>,
    pub build_on: BuildOn,
    pub erase: Vec<String>,
    /// What happens when the layout changed after the disks were formatted.
    pub changed_layout: Option<ChangedLayout>,
    pub passphrases: Vec<PassphraseSource>,
    pub push: Push,
    pub copy_repos: bool,
    /// Folder below the primary user's home for the repositories.
    pub repos_dir: Option<PathBuf>,
    pub require_units: Vec<String>,
    /// How the full configuration takes over.
    pub activate: Activation,
    pub nix: NixOptions,
    pub boot_deadline: Duration,
    pub passphrase_deadline: Duration,
}

impl Config {
    /// What of it shapes a run, by the name of its flag or setting: for telling what was
    /// changed between two commands. Answers, such as `--erase`, are none of it.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let endpoint = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(ToString::to_string);
        let push = match &self.push {
            Push::Upstream => "upstream".to_owned(),
            Push::Branch(name) => name.clone(),
            Push::No => "no".to_owned(),
        };
        let secrets = self.secrets.as_ref().map(|secrets| secrets.dir.display().to_string());
        let installer =
            self.installer.as_ref().map(|flake| format!("{}#{}", flake.dir.display(), flake.attr));
        let inputs: Vec<String> = self
            .nix
            .override_inputs
            .iter()
            .map(|(name, flake)| format!("{name}={flake}"))
            .collect();
        let options: Vec<&str> = self.nix.options.iter().map(|(name, _)| name.as_str()).collect();
        [
            ("target", endpoint(&self.target)),
            ("installed_address", endpoint(&self.installed_address)),
            ("flake", self.origin.reference()),
            ("attr", Some(self.attr.clone())),
            ("--disko-mode", Some(self.installation.disko_mode.to_string())),
            ("installer", installer),
            ("secrets", secrets),
            ("hardware", path(&self.hardware_file)),
            // Journals have `generate-config` without its hyphen.
            ("--hardware", self.hardware.map(|how| how.to_string().replace('-', ""))),
            ("user", self.user.clone()),
            ("push", Some(push)),
            ("--host-key-store", self.store_host_key.then(|| "yes".to_owned())),
            ("--no-repos", (!self.copy_repos).then(|| "yes".to_owned())),
            ("repos", path(&self.repos_dir)),
            ("--disk", Some(self.named_devices())),
            ("--build-on", Some(self.build_on.to_string())),
            ("require_units", Some(self.require_units.join(" "))),
            ("--activate", Some(self.activate.to_string())),
            ("--override-input", Some(inputs.join(" "))),
            // Their values may be secrets: access tokens are given so.
            ("--option", Some(options.join(" "))),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
        .collect()
    }

    /// The devices of `--disk`, as they were given.
    pub fn named_devices(&self) -> String {
        let pairs = self.devices.iter().map(|(name, device)| format!("{name}={device}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// Whether the secrets are in a repository of their own.
    pub fn secrets_apart(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.input.is_some())
    }
}
