//! How a system gets onto the disks of a target: the choices that are the same whether it
//! is a host of the config repository or any flake. Their names are nixos-anywhere's.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;

use crate::error::{Advice, Exit};

/// Which of disko's scripts prepares the disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskoMode {
    /// Erases, formats and mounts.
    #[default]
    Disko,
    /// Makes what is missing, leaves what is there, then mounts.
    Format,
    /// Mounts what is there: to repair an installed system.
    Mount,
}

impl fmt::Display for DiskoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disko => "disko",
            Self::Format => "format",
            Self::Mount => "mount",
        })
    }
}

/// The parts of an installation that a run goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phases {
    pub(crate) kexec: bool,
    pub(crate) disko: bool,
    pub(crate) install: bool,
    pub(crate) reboot: bool,
}

impl Phases {
    pub(crate) const ALL: Self = Self { kexec: true, disko: true, install: true, reboot: true };
}

/// Who owns a path of the new system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Absolute, on the installed system.
    pub(crate) path: String,
    /// `UID:GID`
    pub(crate) ids: String,
}

/// The host keys of the running system stay those of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeptKeys {
    /// They go where the configuration reads them.
    AsConfigured,
    /// They go into this folder of the new system.
    In(String),
}

/// A file that disko reads on the target while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskKey {
    /// Absolute, on the target.
    pub(crate) remote: String,
    pub(crate) local: PathBuf,
}

/// How the closures travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The target takes what it can from its substituters.
    pub(crate) substitute: bool,
    /// Those of the configuration are told to the installer.
    pub(crate) machine_substituters: bool,
    /// Appended to the URL of the target's store, as they are.
    pub(crate) store_settings: Vec<(String, String)>,
    /// The store that the closures come from, if not this machine's.
    pub(crate) from: Option<String>,
}

impl Transfer {
    /// The store's setting `compress` as an option of ssh: nix's connection is landfall's,
    /// and there compression is decided.
    pub(crate) fn compression(&self) -> Option<String> {
        let (_, value) = self.store_settings.iter().rfind(|(name, _)| name == "compress")?;
        match value.as_str() {
            "true" | "yes" | "1" => Some("Compression=yes".to_owned()),
            "false" | "no" | "0" => Some("Compression=no".to_owned()),
            _ => None, // for nix to judge
        }
    }
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            substitute: true,
            machine_substituters: true,
            store_settings: Vec::new(),
            from: None,
        }
    }
}

/// All of it, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) phases: Phases,
    /// Whether `--phases` was given: then a journey ends with them.
    pub(crate) only_phases: bool,
    pub(crate) disko_mode: DiskoMode,
    /// Whether disko brings its tools along.
    pub(crate) disko_deps: bool,
    pub(crate) extra_files: Option<PathBuf>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) kept_keys: Option<KeptKeys>,
    pub(crate) disk_keys: Vec<DiskKey>,
    pub(crate) transfer: Transfer,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            phases: Phases::ALL,
            only_phases: false,
            disko_mode: DiskoMode::default(),
            disko_deps: true,
            extra_files: None,
            owners: Vec::new(),
            kept_keys: None,
            disk_keys: Vec::new(),
            transfer: Transfer::default(),
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum InstallationError {
    #[error("--extra-files {dir} cannot be used: {why}")]
    ExtraFiles { dir: PathBuf, why: UnreadableExtra },
    #[error("--chown {path} {ids:?} cannot be used: {why}")]
    Owner { path: String, ids: String, why: &'static str },
    #[error("--disk-encryption-keys {remote} {local} cannot be used: {why}")]
    DiskKey { remote: String, local: PathBuf, why: String },
    #[error("--ssh-store-setting {name} cannot be used: {why}")]
    StoreSetting { name: String, why: &'static str },
    #[error("--copy-host-keys={0} is no absolute path")]
    KeptKeys(String),
}

impl Advice for InstallationError {
    fn hint(&self) -> String {
        match self {
            Self::ExtraFiles { .. } => {
                "Name a folder whose files you can read, laid out like the root of the new system."
            }
            Self::Owner { .. } => {
                "Write it as --chown /home/anna 1000:100. Names mean nothing to the installer, \
                 which has other users."
            }
            Self::DiskKey { .. } => {
                "Write it as --disk-encryption-keys /tmp/disk.key ./disk.key: the place in the \
                 installer, then the file here."
            }
            Self::StoreSetting { .. } => {
                "Leave it out; nix's manual lists the settings of SSH stores."
            }
            Self::KeptKeys(_) => {
                "Write it as --copy-host-keys=/persist/etc/ssh, or without a folder."
            }
        }
        .into()
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Installation {
    /// The extra file that becomes `path` of the new system, where there is one.
    pub(crate) fn extra_file(&self, path: &str) -> Option<PathBuf> {
        let file = self.extra_files.as_ref()?.join(path.trim_start_matches('/'));
        file.is_file().then_some(file)
    }
}

/// What below a folder cannot be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadableExtra {
    #[error("{path}: {why}")]
    Io { path: PathBuf, why: String },
    #[error("{0} is neither a file nor a folder nor a link")]
    Special(PathBuf),
}

/// Looks whether everything below `dir` can be read.
pub(crate) fn readable(dir: &Path) -> Result<(), UnreadableExtra> {
    let told = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| UnreadableExtra::Io { path, why: error.to_string() }
    };
    for entry in fs::read_dir(dir).map_err(told(dir))? {
        let path = entry.map_err(told(dir))?.path();
        let kind = fs::symlink_metadata(&path).map_err(told(&path))?.file_type();
        if kind.is_dir() {
            readable(&path)?;
        } else if kind.is_file() {
            fs::File::open(&path).map_err(told(&path))?;
        } else if !kind.is_symlink() {
            return Err(UnreadableExtra::Special(path));
        }
    }
    Ok(())
}

pub(crate) fn owner(path: &str, ids: &str) -> Result<Owner, InstallationError> {
    let refuse = |why| InstallationError::Owner { path: path.to_owned(), ids: ids.to_owned(), why };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match ids.split_once(':') {
        Some((user, group)) if number(user) && number(group) => {}
        _ => return Err(refuse("the owner is not of the form UID:GID, in numbers")),
    }
    if path.is_empty() || climbs(path) {
        return Err(refuse("the path leads out of the new system"));
    }
    let path = format!("/{}", path.trim_start_matches('/'));
    Ok(Owner { path, ids: ids.to_owned() })
}

fn climbs(path: &str) -> bool {
    Path::new(path).components().any(|part| part == Component::ParentDir)
}

/// A pair of `--disk-encryption-keys`.
pub(crate) fn disk_key(remote: &str, local: &str) -> Result<DiskKey, InstallationError> {
    let refuse = |why: &str| InstallationError::DiskKey {
        remote: remote.to_owned(),
        local: local.into(),
        why: why.to_owned(),
    };
    let below_new_root = remote == "/mnt" || remote.starts_with("/mnt/");
    if !remote.starts_with('/') || remote.ends_with('/') || climbs(remote) || below_new_root {
        return Err(refuse(
            "the first word must be an absolute path in the installer, outside /mnt",
        ));
    }
    Ok(DiskKey { remote: remote.to_owned(), local: local.into() })
}

/// Settings of the store's URL that decide whom nix talks to, or that landfall sets.
const RESERVED: [&str; 5] =
    ["base64-ssh-public-host-key", "remote-program", "remote-store", "ssh-key", "root"];

/// A pair of `--ssh-store-setting`; the value is percent-encoded already.
pub(crate) fn store_setting(
    name: &str,
    value: &str,
) -> Result<(String, String), InstallationError> {
    let refuse = |why| InstallationError::StoreSetting { name: name.to_owned(), why };
    if RESERVED.contains(&name) {
        return Err(refuse("landfall sets it by itself, so that nix reaches the pinned machine"));
    }
    let plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/:,+".contains(&byte))
    };
    if name.is_empty() || !plain(name) || !plain(value) {
        return Err(refuse("name and value must be percent-encoded"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl FromStr for KeptKeys {
    type Err = InstallationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim_end_matches('/') {
            "" if text.is_empty() => Ok(Self::AsConfigured),
            dir if dir.starts_with('/') && !climbs(dir) => Ok(Self::In(dir.to_owned())),
            _ => Err(InstallationError::KeptKeys(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_numbers_and_stay_inside() {
        assert_eq!(owner("home/anna", "1000:100").unwrap().path, "/home/anna");
        for (path, ids) in [
            ("/home", "anna:users"),
            ("/home", "1000"),
            ("/home", "1000:"),
            ("/../etc", "0:0"),
            ("", "0:0"),
            ("/home", "1:1:1"),
        ] {
            assert!(owner(path, ids).is_err(), "{path} {ids}");
        }
    }

    #[test]
    fn keys_of_disks_lie_in_the_installer_alone() {
        assert!(disk_key("/tmp/disk.key", "k").is_ok());
        for remote in ["tmp/x", "/mnt/etc/x", "/mnt", "/tmp/", "/tmp/../mnt/x"] {
            assert!(disk_key(remote, "k").is_err(), "{remote}");
        }
    }

    #[test]
    fn store_settings_cannot_lead_elsewhere() {
        assert!(store_setting("compress", "true").is_ok());
        for (name, value) in [
            ("ssh-key", "x"),
            ("base64-ssh-public-host-key", "x"),
            ("compress", "true&remote-store=daemon"),
            ("compress", "a b"),
            ("", "x"),
        ] {
            assert!(store_setting(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn kept_keys_go_where_they_are_told() {
        assert_eq!("".parse(), Ok(KeptKeys::AsConfigured));
        assert_eq!("/persist/etc/ssh/".parse(), Ok(KeptKeys::In("/persist/etc/ssh".into())));
        assert!("etc/ssh".parse::<KeptKeys>().is_err());
        assert!("/a/../b".parse::<KeptKeys>().is_err());
    }
}
