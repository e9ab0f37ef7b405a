//! The config repository, its landfall.toml, and what of the rest the repository tells.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;
use super::detect;

/// `landfall.toml`; every setting is optional. `{host}` stands for the host's name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) attr: Option<String>,
    pub(crate) installer: Option<String>,
    pub(crate) installer_attr: Option<String>,
    pub(crate) iso: Option<String>,
    pub(crate) kexec: Option<String>,
    pub(crate) kexec_sha256: Option<String>,
    pub(crate) secrets: Option<PathBuf>,
    pub(crate) secrets_input: Option<String>,
    pub(crate) sops_config: Option<PathBuf>,
    pub(crate) hardware: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) repos: Option<PathBuf>,
    pub(crate) push_branch: Option<String>,
    pub(crate) host_key: Option<HostKeySetting>,
    pub(crate) installed_address: Option<String>,
    #[serde(default)]
    pub(crate) require_units: Vec<String>,
}

/// What becomes of the private host key, in `landfall.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostKeySetting {
    /// Kept in the secrets repository, encrypted.
    Stored,
}

/// The installer flake: the folder of the repository it lies in, and its attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstallerFlake {
    /// Relative to the repository.
    pub(crate) dir: PathBuf,
    /// Attribute of the host's minimal system.
    pub(crate) attr: String,
}

/// Where the secrets live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretsRepo {
    /// The checkout: a repository of its own, or the config repository itself.
    pub(crate) dir: PathBuf,
    /// The flake input through which the config sees them; none when they are in
    /// the config repository.
    pub(crate) input: Option<String>,
    /// `.sops.yaml`, relative to `dir`.
    pub(crate) sops_config: PathBuf,
}

/// The repository and settings that `-C` and `--settings` point at.
#[derive(Debug, Clone)]
pub(crate) struct ConfigRepo {
    pub(crate) dir: PathBuf,
    pub(crate) settings: Settings,
}

impl ConfigRepo {
    /// Finds the config repository around `dir` and reads its settings.
    pub(crate) fn find(dir: Option<&Path>, settings: Option<&Path>) -> Result<Self, ConfigError> {
        let start = dir.unwrap_or(Path::new("."));
        let start = std::fs::canonicalize(start)
            .map_err(|source| ConfigError::Read { path: start.to_owned(), source })?;
        let repo = start
            .ancestors()
            .find(|dir| dir.join(".git").exists())
            .filter(|dir| dir.join("flake.nix").is_file())
            .ok_or_else(|| ConfigError::NoFlake { dir: start.clone() })?
            .to_owned();
        let settings = match settings {
            Some(path) => Some(read_settings(path)?),
            None => {
                let path = repo.join("landfall.toml");
                path.is_file().then(|| read_settings(&path)).transpose()?
            }
        };
        Ok(Self { dir: repo, settings: settings.unwrap_or_default() })
    }

    /// The installer image: the flake's folder in the repository, and its attribute.
    pub(crate) fn iso(&self) -> Result<InstallerFlake, ConfigError> {
        let dir = self.installer_dir()?.unwrap_or_default();
        let attr = self.settings.iso.clone();
        let attr = attr.unwrap_or("nixosConfigurations.iso.config.system.build.isoImage".into());
        Ok(InstallerFlake { dir, attr })
    }

    pub(crate) fn installer_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        Ok(match &self.settings.installer {
            Some(dir) => Some(PathBuf::from(dir)),
            None => detect::installer_dir(&self.tracked()?),
        })
    }

    pub(crate) fn tracked(&self) -> Result<Vec<PathBuf>, ConfigError> {
        detect::tracked_files(&self.dir)
            .map_err(|source| ConfigError::Repository { dir: self.dir.clone(), source })
    }

    /// Where the secrets live, if there are any.
    pub(crate) fn secrets(&self) -> Result<Option<SecretsRepo>, ConfigError> {
        let input = match &self.settings.secrets_input {
            Some(input) => Some(input.clone()),
            None => detect::secrets_input(&self.dir),
        };
        let sops_config = self.settings.sops_config.clone();
        if let Some(dir) = &self.settings.secrets {
            let dir = self.dir.join(dir);
            let dir = std::fs::canonicalize(&dir).map_err(|_| ConfigError::NoSecretsDir { dir })?;
            let input = input.filter(|_| dir != self.dir);
            if input.is_none() && dir != self.dir {
                return Err(ConfigError::NoSecretsInput { dir });
            }
            let sops_config = sops_config.unwrap_or(".sops.yaml".into());
            return Ok(Some(SecretsRepo { dir, input, sops_config }));
        }
        if let Some(input) = input {
            let dir = detect::secrets_checkout(&self.dir, &input).ok_or_else(|| {
                ConfigError::NoSecretsCheckout { input: input.clone(), repo: self.dir.clone() }
            })?;
            if sops_config.is_none() && detect::is_agenix(&dir) {
                return Ok(None);
            }
            let sops_config = sops_config.unwrap_or(".sops.yaml".into());
            return Ok(Some(SecretsRepo { dir, input: Some(input), sops_config }));
        }
        let tracked = self.tracked()?;
        let sops_config = sops_config.or_else(|| detect::sops_config(&tracked));
        Ok(sops_config.map(|sops_config| SecretsRepo {
            dir: self.dir.clone(),
            input: None,
            sops_config,
        }))
    }
}

fn read_settings(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| ConfigError::Settings { path: path.to_owned(), source: Box::new(source) })
}

/// The folder and the host of `PATH#HOST`.
pub(crate) fn split_flake(flake: &str) -> Result<(&str, &str), ConfigError> {
    flake
        .split_once('#')
        .filter(|(_, host)| !host.is_empty())
        .ok_or_else(|| ConfigError::FlakeArgument(flake.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<Settings>("userr = \"anna\"").is_err());
        assert!(toml::from_str::<Settings>("user = \"anna\"").is_ok());
    }
}
