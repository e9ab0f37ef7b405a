//! What is wrong with flags, settings and repositories before anything is asked of them.

use std::path::PathBuf;

use super::installation::InstallationError;
use crate::error::{Advice, Exit};
use crate::git::GitError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{0:?} is not a host name")]
    HostName(String),
    #[error("{dir} is not in a git repository with a flake.nix")]
    NoFlake { dir: PathBuf },
    #[error("{dir} cannot be read: {source}")]
    Repository { dir: PathBuf, source: GitError },
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not understood: {source}")]
    Settings { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{0}")]
    Target(String),
    #[error("--flake {0:?} names no host")]
    FlakeArgument(String),
    #[error("--disk {0:?} names no disk and device")]
    DiskArgument(String),
    #[error("--disk gives the disk {0:?} two devices")]
    DiskTwice(String),
    #[error("there is no installer flake in {repo}")]
    NoInstaller { repo: PathBuf },
    #[error("the secrets folder {dir} of the settings does not exist")]
    NoSecretsDir { dir: PathBuf },
    #[error("the flake input that {dir} is the checkout of is not clear")]
    NoSecretsInput { dir: PathBuf },
    #[error("the checkout of the flake input {input:?} was not found beside {repo}")]
    NoSecretsCheckout { input: String, repo: PathBuf },
    #[error("--luks-passphrase-secret {0:?} names no file and key")]
    SecretPlace(String),
    #[error("the host key {path} cannot be used: {why}")]
    HostKey { path: PathBuf, why: String },
    #[error("{path} leads to no store path: {why}")]
    StorePath { path: PathBuf, why: String },
    #[error("--kexec-sha256 {0:?} is no SHA-256")]
    Hash(String),
    #[error("{0:?} reports no hardware")]
    HardwareBackend(String),
    #[error("the target is not named")]
    NoTarget,
    #[error("store paths cannot be given a hardware file\nwhat is built already does not read it")]
    HardwareOfStorePaths,
    #[error("the system that is installed is no host of a config repository")]
    NoRepository,
    #[error(transparent)]
    Installation(#[from] InstallationError),
}

impl Advice for ConfigError {
    fn hint(&self) -> String {
        match self {
            Self::HostName(_) => "Host names have letters, digits and hyphens, 63 at most.".into(),
            Self::NoFlake { .. } => "Run landfall in your nix-config, or name it with -C DIR. `landfall init` writes a new one.".into(),
            Self::Repository { source, .. } => source.hint(),
            Self::Read { .. } => "Check the path and its permissions.".into(),
            Self::Settings { .. } => "Correct the line that is named; the settings are described in the README.".into(),
            Self::Target(_) => "Write the target as [user@]host[:port], ssh://…, or a name from your ssh_config.".into(),
            Self::FlakeArgument(_) => "Write it as FLAKE#HOST, for instance .#guppy.".into(),
            Self::StorePath { .. } => "Build both first: --store-paths DISKO SYSTEM.".into(),
            Self::HardwareBackend(_) => {
                "Write it as --generate-hardware-config nixos-facter ./facter.json; the other \
                 backend is nixos-generate-config."
                    .into()
            }
            Self::Hash(_) => {
                "Write it as 64 hexadecimal digits, as sha256sum prints them, or as \
                 sha256-BASE64, as nix does."
                    .into()
            }
            Self::NoTarget => "landfall install FLAKE#HOST TARGET, with TARGET as [user@]host[:port]".into(),
            Self::HardwareOfStorePaths => {
                "Leave out --generate-hardware-config or --store-paths.".into()
            }
            Self::NoRepository => "This is a bug: what needs a repository has no part in it.".into(),
            Self::Installation(error) => error.hint(),
            Self::DiskArgument(_) => "Write it as --disk NAME=DEVICE, as in --disk main=/dev/disk/by-id/nvme-….".into(),
            Self::DiskTwice(_) => "Give each disk of the layout one device.".into(),
            Self::NoInstaller { .. } => "Set `installer = \"FOLDER\"` in landfall.toml, or use --strategy direct.".into(),
            Self::NoSecretsDir { .. } => "Correct `secrets` in landfall.toml.".into(),
            Self::NoSecretsInput { .. } => {
                "Set `secrets_input = \"NAME\"` in landfall.toml.".into()
            }
            Self::NoSecretsCheckout { .. } => "Clone it there, or set `secrets = \"FOLDER\"` in landfall.toml; --no-secrets leaves secrets alone.".into(),
            Self::SecretPlace(_) => "Write it as [NAME=]FILE:KEY, for example identities/guppy.yaml:luks/crypted.".into(),
            Self::HostKey { .. } => "Give an unencrypted ed25519 private key in OpenSSH format.".into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}
