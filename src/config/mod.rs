//! Where a run works and how: flags, then environment, then landfall.toml, then
//! what the repositories themselves tell.
//!
//! Nothing here evaluates nix or talks to the target; what the configuration
//! means is `facts`, what the machine is is `machine`.

pub mod build_on;
pub mod detect;
mod error;
pub mod installation;
mod kexec;
mod passphrases;
pub mod repository;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::install::{HardwareBackend, InstallArgs};
use crate::cli::{
    ActivateArg, ChangedLayoutArg, Cli, HardwareArg, Journey, Reach, StrategyArg, Where,
};
use build_on::BuildOn;

use crate::facts::flake::Origin;
use crate::nix::NixOptions;
use crate::ssh::Endpoint;
use installation::Installation;

use passphrases::{named, passphrases};
use repository::{HostKeySetting, split_flake};

pub use error::ConfigError;
pub use kexec::{Kexec, KexecImage, Sha256Sum};
pub use passphrases::{PassphraseFrom, PassphraseSource, SecretPlace};
pub use repository::{InstallerFlake, Place, SecretsRepo};

/// How long a person has to type the passphrase on the console of the target.
const PASSPHRASE_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How long a machine may take from reboot to SSH.
const BOOT_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// The name of a host, as `networking.hostName` allows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostName {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let valid = (1..=63).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ConfigError::HostName(text.to_owned())) }
    }
}

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
    pub origin: Origin,
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
    /// Relative to the repository; absolute where there is none.
    pub hardware_file: Option<PathBuf>,
    pub hardware: Option<HardwareArg>,
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
    pub changed_layout: Option<ChangedLayoutArg>,
    pub passphrases: Vec<PassphraseSource>,
    pub push: Push,
    pub copy_repos: bool,
    /// Folder below the primary user's home for the repositories.
    pub repos_dir: Option<PathBuf>,
    pub require_units: Vec<String>,
    /// How the full configuration takes over.
    pub activate: ActivateArg,
    pub nix: NixOptions,
    pub boot_deadline: Duration,
    pub passphrase_deadline: Duration,
}

impl Config {
    /// Puts together what flags, settings and repositories say.
    pub fn load(place: &Place, journey: &Journey) -> Result<Self, ConfigError> {
        let settings = &place.settings;
        let host = host_of(&journey.place)?;
        let for_host = |text: &str| text.replace("{host}", host.as_str());
        let attr = settings.attr.as_deref().unwrap_or("nixosConfigurations.{host}");
        let installer = place.installer_dir()?.map(|dir| InstallerFlake {
            dir,
            attr: for_host(
                settings.installer_attr.as_deref().unwrap_or("nixosConfigurations.{host}"),
            ),
        });
        let strategy = match (journey.strategy, &installer) {
            (Some(StrategyArg::Direct), _) | (None, None) => Strategy::Direct,
            (_, Some(_)) => Strategy::Staged,
            (Some(StrategyArg::Staged), None) => {
                return Err(ConfigError::NoInstaller { repo: place.repo.clone() });
            }
        };
        let hardware_file = match &settings.hardware {
            Some(path) => Some(PathBuf::from(for_host(path))),
            None if journey.hardware == Some(HardwareArg::Facter) => {
                detect::facter_file(&place.repo, &place.tracked()?, host.as_str())
            }
            None => detect::hardware_file(&place.repo, &place.tracked()?, host.as_str()),
        };
        let secrets = if journey.no_secrets { None } else { place.secrets()? };
        let push = match (&journey.push_branch, &settings.push_branch) {
            _ if journey.no_push => Push::No,
            (Some(branch), _) | (None, Some(branch)) => Push::Branch(branch.clone()),
            (None, None) => Push::Upstream,
        };
        Ok(Self {
            target: target_of(&journey.place, &journey.reach)?,
            installed_address: journey
                .reach
                .installed_address
                .clone()
                .or_else(|| settings.installed_address.as_deref().map(for_host))
                .map(|text| text.parse().map_err(|e| ConfigError::Target(format!("{e}"))))
                .transpose()?,
            installer_fingerprint: journey.reach.installer_fingerprint.clone(),
            origin: Origin::Repository,
            kexec: Kexec::of_place(
                &journey.kexec,
                Installation::of(&journey.installation)?.phases.kexec,
                place,
            )?,
            sudo_passwords: sudo_passwords(&journey.reach),
            repo: place.repo.clone(),
            attr: for_host(attr),
            installer,
            strategy,
            secrets,
            no_secrets: journey.no_secrets,
            hardware_file,
            hardware: journey.hardware,
            user: journey.user.clone().or_else(|| settings.user.clone()),
            installation: Installation::of(&journey.installation)?,
            host_key: journey.host_key.clone(),
            store_host_key: journey.host_key_store
                || settings.host_key == Some(HostKeySetting::Stored),
            devices: devices(&journey.disk)?,
            build_on: journey.build_on.clone(),
            erase: journey.disks.erase.clone(),
            changed_layout: journey.disks.changed_layout,
            passphrases: passphrases(
                &journey.disks.luks_passphrase_file,
                &journey.disks.luks_passphrase_command,
                &journey.luks_passphrase_secret,
            )?,
            push,
            copy_repos: !journey.no_repos,
            repos_dir: settings.repos.clone(),
            require_units: [journey.require_unit.clone(), settings.require_units.clone()].concat(),
            activate: journey.activate,
            nix: journey.nix.to_nix(),
            boot_deadline: BOOT_DEADLINE,
            passphrase_deadline: PASSPHRASE_DEADLINE,
            host,
        })
    }

    /// The same for `landfall install`: no repository, no settings, no secrets.
    pub fn for_install(cli: &Cli, args: &InstallArgs) -> Result<Self, ConfigError> {
        let base = cli.directory.clone().unwrap_or_else(|| ".".into());
        let base = std::fs::canonicalize(&base)
            .map_err(|source| ConfigError::Read { path: base.clone(), source })?;
        let (origin, attr, host) = args.origin(&base)?;
        let target = args.target().ok_or(ConfigError::NoTarget)?;
        let hardware = args.hardware(&base)?;
        let installation = args.installation()?;
        let nix = crate::nix::NixOptions {
            print_build_logs: args.nix.print_build_logs || args.debug,
            ..args.nix.to_nix()
        };
        let mut target = endpoint_of(target, &args.reach)?;
        // After the options that the user gave: of two values ssh takes the first.
        target.options.extend(installation.transfer.compression());
        Ok(Self {
            target: Some(target),
            installed_address: args
                .reach
                .installed_address
                .as_deref()
                .map(|text| text.parse().map_err(|e| ConfigError::Target(format!("{e}"))))
                .transpose()?,
            installer_fingerprint: args.reach.installer_fingerprint.clone(),
            sudo_passwords: sudo_passwords(&args.reach),
            kexec: Kexec::of_flags(&args.kexec, installation.phases.kexec, &base)?,
            origin,
            repo: PathBuf::new(),
            attr,
            installer: None,
            strategy: Strategy::Install,
            secrets: None,
            no_secrets: true,
            hardware: hardware.as_ref().map(|(backend, _)| match backend {
                HardwareBackend::NixosGenerateConfig => HardwareArg::GenerateConfig,
                HardwareBackend::NixosFacter => HardwareArg::Facter,
            }),
            hardware_file: hardware.map(|(_, path)| path),
            user: args.user.clone(),
            installation,
            host_key: args.host_key.clone(),
            store_host_key: false,
            devices: BTreeMap::new(),
            build_on: args.build_on(),
            changed_layout: args.disks.changed_layout,
            erase: args.disks.erase.clone(),
            passphrases: passphrases(
                &args.disks.luks_passphrase_file,
                &args.disks.luks_passphrase_command,
                &[],
            )?,
            push: Push::No,
            copy_repos: false,
            repos_dir: None,
            require_units: Vec::new(),
            activate: ActivateArg::Boot,
            nix,
            boot_deadline: BOOT_DEADLINE,
            passphrase_deadline: PASSPHRASE_DEADLINE,
            host,
        })
    }

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
            ("--disko-mode", Some(format!("{:?}", self.installation.disko_mode).to_lowercase())),
            ("installer", installer),
            ("secrets", secrets),
            ("hardware", path(&self.hardware_file)),
            ("--hardware", self.hardware.map(|how| format!("{how:?}").to_lowercase())),
            ("user", self.user.clone()),
            ("push", Some(push)),
            ("--host-key-store", self.store_host_key.then(|| "yes".to_owned())),
            ("--no-repos", (!self.copy_repos).then(|| "yes".to_owned())),
            ("repos", path(&self.repos_dir)),
            ("--disk", Some(self.named_devices())),
            ("--build-on", Some(self.build_on.to_string())),
            ("require_units", Some(self.require_units.join(" "))),
            ("--activate", Some(format!("{:?}", self.activate).to_lowercase())),
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

fn host_of(place: &Where) -> Result<HostName, ConfigError> {
    match &place.flake {
        Some(flake) => split_flake(flake)?.1.parse(),
        None => place.host.as_deref().unwrap_or_default().parse(),
    }
}

fn target_of(place: &Where, reach: &Reach) -> Result<Option<Endpoint>, ConfigError> {
    // With --flake the only positional argument is the target.
    let positional = if place.flake.is_some() { &place.host } else { &place.target };
    let Some(text) = place.target_host.as_ref().or(positional.as_ref()).or(place.target.as_ref())
    else {
        return Ok(None);
    };
    endpoint_of(text, reach).map(Some)
}

fn endpoint_of(text: &str, reach: &Reach) -> Result<Endpoint, ConfigError> {
    let endpoint = text.parse().map_err(|error| ConfigError::Target(format!("{error}")))?;
    reached_by(endpoint, reach)
}

/// A machine that was named, reached as the flags say.
pub fn reached_by(mut endpoint: Endpoint, reach: &Reach) -> Result<Endpoint, ConfigError> {
    if let Some(path) = &reach.identity_file {
        // ssh passes over a key that it does not find.
        std::fs::metadata(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    }
    endpoint.port = reach.port.or(endpoint.port);
    endpoint.identity_file.clone_from(&reach.identity_file);
    endpoint.options.clone_from(&reach.ssh_option);
    endpoint.may_ask = true;
    Ok(endpoint)
}

fn sudo_passwords(reach: &Reach) -> Vec<(Option<String>, PathBuf)> {
    let files = reach.sudo_password_file.iter().map(|text| named(text));
    files.map(|(user, path)| (user, path.into())).collect()
}

/// The pairs of `--disk NAME=DEVICE`; both end up in a Nix string.
fn devices(arguments: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.:+".contains(c));
    let mut devices = BTreeMap::new();
    for argument in arguments {
        let refuse = || ConfigError::DiskArgument(argument.clone());
        let (name, device) = argument.split_once('=').ok_or_else(refuse)?;
        if name.is_empty() || !device.starts_with("/dev/") || !plain(name) || !plain(device) {
            return Err(refuse());
        }
        if devices.insert(name.to_owned(), device.to_owned()).is_some() {
            return Err(ConfigError::DiskTwice(name.to_owned()));
        }
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in ["guppy", "a", "web-1", "node_2", "A9"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a/b", "a b", "../x", &"a".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn disks_have_a_name_and_a_device() {
        let read = |arguments: &[&str]| {
            devices(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let both = read(&["main=/dev/vdb", "x/y=/dev/disk/by-id/nvme-A_1"]).unwrap();
        assert_eq!(both["main"], "/dev/vdb");
        assert_eq!(both["x/y"], "/dev/disk/by-id/nvme-A_1");
        for bad in ["main", "=/dev/vda", "main=vda", "main=/dev/${x}", "a\"b=/dev/vda"] {
            assert!(matches!(read(&[bad]), Err(ConfigError::DiskArgument(_))), "{bad}");
        }
        let twice = read(&["main=/dev/vda", "main=/dev/vdb"]);
        assert!(matches!(twice, Err(ConfigError::DiskTwice(_))));
    }
}
