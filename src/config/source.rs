//! What is installed, and where it comes from: a host of the config repository, a system
//! of any flake, or store paths that were built before.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ConfigError, HostName, InstallerFlake, Strategy};
use crate::nix::StorePath;

/// The system that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum System {
    /// A host of the nix-config repository.
    Repository(HostSystem),
    /// A system of any flake, and nothing beside it.
    Flake(FlakeSystem),
    /// Built before: disko's script and the system.
    StorePaths { disko: StorePath, system: StorePath },
}

/// A host of the nix-config repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSystem {
    /// Root of the repository.
    pub(crate) dir: PathBuf,
    /// Attribute of the host's full system.
    pub(crate) attr: String,
    /// The flake that has the installer image and, where there is one, the minimal system.
    pub(crate) installer: Option<InstallerFlake>,
    pub(crate) strategy: Strategy,
    /// Relative to the repository; none where the host's modules name none.
    pub(crate) hardware_file: Option<PathBuf>,
}

/// A system of any flake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlakeSystem {
    pub(crate) reference: String,
    /// Attribute of the system's `config`.
    pub(crate) attr: String,
    /// What is written before the system is built; absolute.
    pub(crate) hardware_file: Option<PathBuf>,
}

impl HostSystem {
    /// The minimal system, where it is installed first.
    pub(crate) fn minimal(&self) -> Option<&InstallerFlake> {
        self.installer.as_ref().filter(|_| self.strategy == Strategy::Staged)
    }
}

impl System {
    /// The flake or the system, where it is no host of the config repository.
    pub(crate) fn reference(&self) -> Option<String> {
        match self {
            Self::Repository(_) => None,
            Self::Flake(flake) => Some(flake.reference.clone()),
            Self::StorePaths { system, .. } => Some(system.to_string()),
        }
    }

    /// The attribute by which a flake has it.
    pub(crate) fn attr(&self) -> Option<&str> {
        match self {
            Self::Repository(host) => Some(&host.attr),
            Self::Flake(flake) => Some(&flake.attr),
            Self::StorePaths { .. } => None,
        }
    }
}

/// A system in a flake, as the word after `#` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemAttr {
    /// Attribute path of its `config`.
    pub(crate) config: String,
    /// The host's name, for the run's folder.
    pub(crate) host: HostName,
}

impl SystemAttr {
    /// `host`, `nixosConfigurations.host`, or the path of a `config` below it, such as
    /// `nixosConfigurations.host.config.virtualisation.vmVariant`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let Some(rest) = text.strip_prefix("nixosConfigurations.") else {
            let name = text.trim_matches('"');
            let config = format!("nixosConfigurations.{}.config", quoted(name));
            return Ok(Self { config, host: host_name(name)? });
        };
        let (name, below) = first_name(rest);
        let below = below.trim_start_matches('.');
        let config = match below {
            "" => format!("{text}.config"),
            _ => text.to_owned(),
        };
        Ok(Self { config, host: host_name(name)? })
    }
}

/// The first name of an attribute path, without its quotes, and what follows.
fn first_name(path: &str) -> (&str, &str) {
    match path.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => path.split_at(path.find('.').unwrap_or(path.len())),
    }
}

fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.chars().all(plain) { name.to_owned() } else { format!("\"{name}\"") }
}

/// Names with dots are common for flakes; folders are named by their first part.
fn host_name(name: &str) -> Result<HostName, ConfigError> {
    name.split('.').next().unwrap_or_default().parse()
}

/// The reference and the attribute of `FLAKE#ATTR`, paths made absolute below `base`.
pub(crate) fn parse_flake(text: &str, base: &Path) -> Result<(String, SystemAttr), ConfigError> {
    let refuse = || ConfigError::FlakeArgument(text.to_owned());
    let (reference, attr) = text.split_once('#').ok_or_else(refuse)?;
    if attr.is_empty() {
        return Err(refuse());
    }
    let is_path = reference.is_empty() || reference.starts_with(['.', '/']);
    let reference = if is_path {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (reference, String::new()),
        };
        let path = base.join(if path.is_empty() { "." } else { path });
        let path = fs::canonicalize(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        format!("{}{query}", path.display())
    } else {
        reference.to_owned()
    };
    Ok((reference, SystemAttr::parse(attr)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(text: &str) -> (String, String) {
        let attr = SystemAttr::parse(text).unwrap();
        (attr.config, attr.host.to_string())
    }

    #[test]
    fn attributes_are_named_as_nixos_anywhere_names_them() {
        assert_eq!(attr("guppy"), ("nixosConfigurations.guppy.config".into(), "guppy".into()));
        assert_eq!(
            attr("web.example.org"),
            ("nixosConfigurations.\"web.example.org\".config".into(), "web".into())
        );
        assert_eq!(attr("nixosConfigurations.a").0, "nixosConfigurations.a.config");
        assert_eq!(
            attr("nixosConfigurations.\"a.b\""),
            ("nixosConfigurations.\"a.b\".config".into(), "a".into())
        );
        assert_eq!(
            attr("nixosConfigurations.a.config.virtualisation.vmVariant"),
            ("nixosConfigurations.a.config.virtualisation.vmVariant".into(), "a".into())
        );
        assert!(SystemAttr::parse("../x").is_err());
    }

    #[test]
    fn flakes_elsewhere_stay_as_they_are_written() {
        let base = Path::new("/");
        let parsed = |text: &str| parse_flake(text, base).unwrap().0;
        assert_eq!(parsed("github:a/b/main#x"), "github:a/b/main");
        assert_eq!(parsed(".#x"), "/");
        assert_eq!(parsed("#x"), "/");
        assert_eq!(parsed("./tmp?dir=y#x"), "/tmp?dir=y");
        assert!(parse_flake(".", base).is_err());
        assert!(parse_flake(".#", base).is_err());
        assert!(parse_flake("./missing-folder#x", base).is_err());
    }
}
