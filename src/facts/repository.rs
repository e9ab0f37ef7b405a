//! Evaluating a configuration that is not complete yet.
//!
//! Before the hardware is known and the secrets are pushed, the configuration
//! cannot be evaluated in place. A scratch copy can: the last commit, a stub for a
//! missing hardware file, and the last commit of the secrets. Nothing else of the
//! working trees: a file may lie there decrypted, and what nix evaluates ends in a
//! store that everybody can read.

use std::collections::BTreeMap;
use std::path::Path;

use super::Facts;
use super::device_override;
use super::flake;
use super::{EXPRESSION, HostFacts};
use crate::config::{Config, ConfigError};
use crate::error::{Exit, StepError};
use crate::git::{GitError, export_head};
use crate::nix::{Nix, NixError};

/// A private copy of the config repository and, beside it, of the secrets.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
    secrets_input: Option<String>,
}

impl Scratch {
    pub(crate) fn new(config: &Config, run_dir: &Path) -> Result<Self, StepError> {
        let failed = |error: std::io::Error| {
            StepError::new(
                "a scratch copy of the configuration could not be made",
                error.to_string(),
                "Make room on the disk that holds your state folder.",
            )
        };
        let dir =
            tempfile::Builder::new().prefix("scratch-").tempdir_in(run_dir).map_err(failed)?;
        export_head(config.repo()?, &dir.path().join("config")).map_err(no_commit)?;
        if let Some(hardware) = config.hardware_file() {
            let path = dir.path().join("config").join(hardware);
            if !path.exists() {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(failed)?;
                }
                std::fs::write(&path, flake::stub_of(&path)).map_err(failed)?;
            }
        }
        let input = config.secrets.as_ref().and_then(|secrets| secrets.input.clone());
        if let (Some(secrets), Some(_)) = (&config.secrets, &input) {
            export_head(&secrets.dir, &dir.path().join("secrets")).map_err(no_commit)?;
        }
        Ok(Self { dir, secrets_input: input })
    }

    /// The flake in folder `sub` of the copy.
    pub(crate) fn flake(&self, sub: &Path) -> String {
        flake_in(&format!("path:{}", self.dir.path().join("config").display()), sub)
    }

    /// The input that must be replaced by the copied secrets.
    pub(crate) fn secrets(&self) -> Option<(String, String)> {
        let secrets = self.dir.path().join("secrets");
        self.secrets_input.clone().map(|input| (input, format!("path:{}", secrets.display())))
    }
}

fn no_commit(error: GitError) -> StepError {
    let mut error = StepError::from(error).doing("the last commit could not be copied");
    error.hint = "Commit the configuration and its secrets first.".into();
    error.exit(Exit::Usage)
}

/// `base` with the folder of the flake in it.
pub(crate) fn flake_in(base: &str, sub: &Path) -> String {
    if sub.as_os_str().is_empty() {
        return base.to_owned();
    }
    let separator = if base.contains('?') { '&' } else { '?' };
    format!("{base}{separator}dir={}", sub.display())
}

/// Evaluates the full configuration of the host and, when staged, the minimal one.
pub(crate) fn evaluate(config: &Config, nix: &Nix, run_dir: &Path) -> Result<Facts, StepError> {
    let scratch = Scratch::new(config, run_dir)?;
    let with_secrets = match scratch.secrets() {
        Some((input, flake)) => nix.with_override(&input, &flake),
        None => nix.clone(),
    };
    let devices = &config.devices;
    let host = config.host_system().ok_or(ConfigError::NoRepository)?;
    let full = facts_of(&with_secrets, &scratch.flake(Path::new("")), &host.attr, devices)?;
    let minimal = match host.minimal() {
        Some(installer) => {
            Some(facts_of(nix, &scratch.flake(&installer.dir), &installer.attr, devices)?)
        }
        None => None,
    };
    Ok(Facts { full, minimal, locked: None })
}

fn facts_of(
    nix: &Nix,
    flake: &str,
    attr: &str,
    devices: &BTreeMap<String, String>,
) -> Result<HostFacts, StepError> {
    let value: serde_json::Value = nix
        .eval_json(
            &format!("{flake}#{attr}"),
            Some(&device_override::facts_with(EXPRESSION, devices)),
        )
        .map_err(|error| not_evaluated(error, attr))?;
    device_override::check_names(&value, devices)?;
    understood(value, attr)
}

/// The answer of [`EXPRESSION`].
pub(crate) fn understood(value: serde_json::Value, attr: &str) -> Result<HostFacts, StepError> {
    serde_json::from_value(value).map_err(|error| {
        StepError::new(
            format!("{attr} evaluated to something unexpected"),
            error.to_string(),
            "Is it a NixOS system (lib.nixosSystem)? Set `attr` in landfall.toml if it lies elsewhere.",
        )
        .exit(Exit::Usage)
    })
}

pub(crate) fn not_evaluated(error: NixError, attr: &str) -> StepError {
    let missing = error.to_string().contains("does not provide attribute");
    let error = StepError::from(error).exit(Exit::Usage);
    if !missing {
        return error.doing(format!("{attr} does not evaluate"));
    }
    let mut error = error.doing(format!("the configuration has no {attr}"));
    error.hint =
        "Check the host's name (nix flake show lists them), and that git knows its files. \
                  If it lies elsewhere, set `attr` in landfall.toml."
            .into();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flake_in_a_folder_is_named_by_a_query() {
        assert_eq!(flake_in("path:/x", Path::new("")), "path:/x");
        assert_eq!(flake_in("path:/x", Path::new("inst")), "path:/x?dir=inst");
        assert_eq!(flake_in("git+file:///x?rev=1", Path::new("i")), "git+file:///x?rev=1&dir=i");
    }
}
