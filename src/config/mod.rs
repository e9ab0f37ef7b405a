//! Where a run works and how: flags, then environment, then landfall.toml, then
//! what the repositories themselves tell.
//!
//! Nothing here evaluates nix or talks to the target; what the configuration
//! means is `facts`, what the machine is is `machine`.

pub(crate) mod build_on;
pub(crate) mod choices;
pub mod detect;
mod error;
mod host_name;
pub(crate) mod installation;
mod kexec;
mod passphrases;
pub(crate) mod repository;
pub(crate) mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use build_on::BuildOn;
use choices::{Activation, ChangedLayout, HardwareSource};
use installation::Installation;
use source::{HostSystem, System};

use crate::nix::NixOptions;
use crate::ssh::Endpoint;

pub(crate) use error::ConfigError;
pub(crate) use host_name::HostName;
pub(crate) use kexec::{Kexec, KexecImage, Sha256Sum};
pub(crate) use passphrases::{PassphraseFrom, PassphraseSource, SecretPlace};
pub(crate) use passphrases::{named, passphrases};
pub(crate) use repository::{ConfigRepo, InstallerFlake, SecretsRepo};

/// Which way a blank machine takes to the full configuration of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Install the minimal installer flake, boot it, then the full configuration.
    Staged,
    /// Install the full configuration at once.
    Direct,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Staged => "staged",
            Self::Direct => "direct",
        })
    }
}

/// The strategy of a run that installs a system and nothing beside it, in its journal.
pub(crate) const INSTALL: &str = "install";

/// What happens with commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Push {
    /// To the upstream of the current branch.
    Upstream,
    Branch(String),
    No,
}

/// A validated configuration of one run.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) host: HostName,
    pub(crate) target: Option<Endpoint>,
    /// Where the installed system answers; as `target` unless told otherwise.
    pub(crate) installed_address: Option<Endpoint>,
    pub(crate) installer_fingerprint: Option<String>,
    pub(crate) system: System,
    pub(crate) kexec: Kexec,
    /// Files with passwords for sudo on the target, by user; without one, for all.
    pub(crate) sudo_passwords: Vec<(Option<String>, PathBuf)>,
    pub(crate) secrets: Option<SecretsRepo>,
    pub(crate) no_secrets: bool,
    /// Recipients that may gain access to files of the secrets.
    pub(crate) grants: Vec<String>,
    pub(crate) hardware: Option<HardwareSource>,
    pub(crate) installation: Installation,
    pub(crate) user: Option<String>,
    pub(crate) host_key: Option<PathBuf>,
    /// Keep the private host key in the secrets repository.
    pub(crate) store_host_key: bool,
    /// Devices of disks of the layout, by the disks' names, in place of the layout's own.
    pub(crate) devices: BTreeMap<String, String>,
    pub(crate) build_on: BuildOn,
    pub(crate) erase: Vec<String>,
    /// What happens when the layout changed after the disks were formatted.
    pub(crate) changed_layout: Option<ChangedLayout>,
    pub(crate) passphrases: Vec<PassphraseSource>,
    pub(crate) push: Push,
    pub(crate) copy_repos: bool,
    /// Folder below the primary user's home for the repositories.
    pub(crate) repos_dir: Option<PathBuf>,
    pub(crate) require_units: Vec<String>,
    /// How the full configuration takes over.
    pub(crate) activate: Activation,
    pub(crate) nix: NixOptions,
    pub(crate) boot_deadline: Duration,
    pub(crate) passphrase_deadline: Duration,
}

impl Config {
    /// The host of the config repository that is installed; none where the system comes from
    /// elsewhere.
    pub(crate) fn host_system(&self) -> Option<&HostSystem> {
        match &self.system {
            System::Repository(host) => Some(host),
            System::Flake(_) | System::StorePaths { .. } => None,
        }
    }

    /// Root of the config repository, for what is done there alone.
    pub(crate) fn repo(&self) -> Result<&Path, ConfigError> {
        self.host_system().map(|host| host.dir.as_path()).ok_or(ConfigError::NoRepository)
    }

    /// The hardware file: relative to the repository, absolute in any other flake.
    pub(crate) fn hardware_file(&self) -> Option<&Path> {
        match &self.system {
            System::Repository(host) => host.hardware_file.as_deref(),
            System::Flake(flake) => flake.hardware_file.as_deref(),
            System::StorePaths { .. } => None,
        }
    }

    /// The strategy as it is shown and remembered.
    pub(crate) fn strategy(&self) -> String {
        self.host_system().map_or(INSTALL.to_owned(), |host| host.strategy.to_string())
    }

    /// Whether a minimal system is installed first.
    pub(crate) fn is_staged(&self) -> bool {
        self.host_system().is_some_and(|host| host.strategy == Strategy::Staged)
    }

    /// What of it shapes a run, by the name of its flag or setting: for telling what was
    /// changed between two commands. Answers, such as `--erase`, are none of it.
    pub(crate) fn settings(&self) -> BTreeMap<String, String> {
        let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
        let endpoint = |endpoint: &Option<Endpoint>| endpoint.as_ref().map(ToString::to_string);
        let push = match &self.push {
            Push::Upstream => "upstream".to_owned(),
            Push::Branch(name) => name.clone(),
            Push::No => "no".to_owned(),
        };
        let secrets = self.secrets.as_ref().map(|secrets| secrets.dir.display().to_string());
        let installer = self.host_system().and_then(|host| host.installer.as_ref());
        let installer = installer.map(|flake| format!("{}#{}", flake.dir.display(), flake.attr));
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
            ("flake", self.system.reference()),
            ("attr", self.system.attr().map(str::to_owned)),
            ("--disko-mode", Some(self.installation.disko_mode.to_string())),
            ("installer", installer),
            ("secrets", secrets),
            ("hardware", path(self.hardware_file())),
            // Journals have `generate-config` without its hyphen.
            ("--hardware", self.hardware.map(|how| how.to_string().replace('-', ""))),
            ("user", self.user.clone()),
            ("push", Some(push)),
            ("--host-key-store", self.store_host_key.then(|| "yes".to_owned())),
            ("--no-repos", (!self.copy_repos).then(|| "yes".to_owned())),
            ("repos", path(self.repos_dir.as_deref())),
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
    pub(crate) fn named_devices(&self) -> String {
        let pairs = self.devices.iter().map(|(name, device)| format!("{name}={device}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    /// Whether the secrets are in a repository of their own.
    pub(crate) fn secrets_apart(&self) -> bool {
        self.secrets.as_ref().is_some_and(|secrets| secrets.input.is_some())
    }
}
