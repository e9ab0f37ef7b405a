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
use crate::config::Config;
use crate::error::{Exit, StepError};
use crate::exec::ExecError;
use crate::git;
use crate::nix::{Nix, NixError};

/// A private copy of the config repository and, beside it, of the secrets.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    secrets_input: Option<String>,
}

impl Scratch {
    pub fn new(config: &Config, run_dir: &Path) -> Result<Self, StepError> {
        let failed = |error: std::io::Error| {
            StepError::new(
                "a scratch copy of the configuration could not be made",
                error.to_string(),
                "Make room on the disk that holds your state folder.",
            )
        };
        let dir =
            tempfile::Builder::new().prefix("scratch-").tempdir_in(run_dir).map_err(failed)?;
        copy_head(&config.repo, &dir.path().join("config")).map_err(no_commit)?;
        if let Some(hardware) = &config.hardware_file {
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
            copy_head(&secrets.dir, &dir.path().join("secrets")).map_err(no_commit)?;
        }
        Ok(Self { dir, secrets_input: input })
    }

    /// The flake in folder `sub` of the copy.
    pub fn flake(&self, sub: &Path) -> String {
        flake_in(&format!("path:{}", self.dir.path().join("config").display()), sub)
    }

    /// The input that must be replaced by the copied secrets.
    pub fn secrets(&self) -> Option<(String, String)> {
        let secrets = self.dir.path().join("secrets");
        self.secrets_input.clone().map(|input| (input, format!("path:{}", secrets.display())))
    }
}

fn no_commit(error: ExecError) -> StepError {
    let mut error = StepError::from(error).doing("the last commit could not be copied");
    error.hint = "Commit the configuration and its secrets first.".into();
    error.exit(Exit::Usage)
}

/// `base` with the folder of the flake in it.
pub fn flake_in(base: &str, sub: &Path) -> String {
    if sub.as_os_str().is_empty() {
        return base.to_owned();
    }
    let separator = if base.contains('?') { '&' } else { '?' };
    format!("{base}{separator}dir={}", sub.display())
}

/// Evaluates the full configuration of the host and, when staged, the minimal one.
pub fn evaluate(config: &Config, run_dir: &Path) -> Result<Facts, StepError> {
    let scratch = Scratch::new(config, run_dir)?;
    let nix = Nix::find(config.nix.clone())?;
    let with_secrets = match scratch.secrets() {
        Some((input, flake)) => nix.with_override(&input, &flake),
        None => nix.clone(),
    };
    let devices = &config.devices;
    let full = facts_of(&with_secrets, &scratch.flake(Path::new("")), &config.attr, devices)?;
    let minimal = match (&config.installer, config.strategy) {
        (Some(installer), crate::config::Strategy::Staged) => {
            Some(facts_of(&nix, &scratch.flake(&installer.dir), &installer.attr, devices)?)
        }
        _ => None,
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
pub fn understood(value: serde_json::Value, attr: &str) -> Result<HostFacts, StepError> {
    serde_json::from_value(value).map_err(|error| {
        StepError::new(
            format!("{attr} evaluated to something unexpected"),
            error.to_string(),
            "Is it a NixOS system (lib.nixosSystem)? Set `attr` in landfall.toml if it lies elsewhere.",
        )
        .exit(Exit::Usage)
    })
}

pub fn not_evaluated(error: NixError, attr: &str) -> StepError {
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

/// Writes the last commit of `repo` to the new folder `to`, without touching the
/// repository's own index.
fn copy_head(repo: &Path, to: &Path) -> Result<(), ExecError> {
    std::fs::create_dir_all(to)
        .map_err(|source| ExecError::Io { command: "a new folder".into(), source })?;
    let index = to.with_extension("index");
    let git = || Ok(git::reading(repo)?.env("GIT_INDEX_FILE", &index));
    git()?.args(["read-tree", "HEAD"]).run()?;
    git()?.args(["checkout-index", "--all"]).arg(format!("--prefix={}/", to.display())).run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn a_flake_in_a_folder_is_named_by_a_query() {
        assert_eq!(flake_in("path:/x", Path::new("")), "path:/x");
        assert_eq!(flake_in("path:/x", Path::new("inst")), "path:/x?dir=inst");
        assert_eq!(flake_in("git+file:///x?rev=1", Path::new("i")), "git+file:///x?rev=1&dir=i");
    }

    #[test]
    fn only_the_last_commit_is_copied() {
        let repo = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            Cmd::new("git")
                .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
                .args(args)
                .dir(repo.path())
                .run()
                .unwrap()
        };
        git(&["init", "-q"]);
        std::fs::write(repo.path().join("tracked"), "encrypted").unwrap();
        git(&["add", "tracked"]);
        git(&["commit", "-qm", "first"]);
        std::fs::write(repo.path().join("tracked"), "decrypted").unwrap();
        std::fs::write(repo.path().join("staged"), "b").unwrap();
        git(&["add", "staged"]);
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join("config");
        copy_head(repo.path(), &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("tracked")).unwrap(), "encrypted");
        assert!(!to.join("staged").exists());
        assert!(git(&["status", "--porcelain"]).text().contains("A  staged"));
    }
}
