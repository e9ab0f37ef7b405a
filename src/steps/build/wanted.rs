//! What the configuration gives to build: the systems and disko's scripts, as derivations.

use std::path::Path;

use crate::config::installation::Installation;
use crate::config::source::{FlakeSystem, System};
use crate::config::{ConfigError, Push};
use crate::error::{Exit, StepError};
use crate::facts::Locked;
use crate::facts::device_override;
use crate::facts::flake;
use crate::facts::repository::flake_in;
use crate::nix::flake_ref::percent_encode;
use crate::nix::{Derivation, Nix};
use crate::steps::context::Context;
use crate::steps::hardware;
use crate::steps::secrets::SecretsOutput;

/// What is to be built.
pub(super) struct Wanted {
    pub(super) system: Derivation,
    pub(super) full: Option<Derivation>,
    pub(super) scripts: Option<Scripts>,
}

/// disko's scripts, by what they do.
pub(super) struct Scripts<T = Derivation> {
    pub(super) format: T,
    pub(super) mount: T,
}

impl Wanted {
    pub(super) fn scripts(&self) -> Vec<&Derivation> {
        self.scripts.iter().flat_map(|scripts| [&scripts.format, &scripts.mount]).collect()
    }

    pub(super) fn all(&self) -> Vec<&Derivation> {
        let systems = [Some(&self.system), self.full.as_ref()].into_iter().flatten();
        systems.chain(self.scripts()).collect()
    }
}

/// What the configuration gives to build.
pub(super) fn wanted(cx: &Context) -> Result<Wanted, StepError> {
    if let System::Flake(flake) = &cx.config.system {
        let system = format!("{}#{}", locked(cx, flake)?.reference, flake.attr);
        let scripts = cx.config.installation.phases.disko.then(|| scripts(cx)).transpose()?;
        return derivations(cx, &system, scripts.as_ref());
    }
    let host = cx.config.host_system().ok_or(ConfigError::NoRepository)?;
    let base = repo_at(&host.dir, &hardware::committed(cx)?);
    let full = format!("{base}#{}", host.attr);
    let first = match host.minimal() {
        Some(minimal) => format!("{}#{}", flake_in(&base, &minimal.dir), minimal.attr),
        None => full.clone(),
    };
    let wanted = derivations(cx, &first, Some(&scripts(cx)?))?;
    let full = if cx.staged() { Some(derivations(cx, &full, None)?.system) } else { None };
    Ok(Wanted { full, ..wanted })
}

/// The attributes of disko's scripts.
fn scripts(cx: &Context) -> Result<Scripts<String>, StepError> {
    let Installation { disko_mode, disko_deps, .. } = cx.config.installation;
    let first = cx.facts()?.first();
    let (format, mount) = flake::disko_builds(first, disko_mode, disko_deps).ok_or_else(|| {
        StepError::new(
            "the configuration has no disko scripts",
            "config.system.build has none of diskoScript, destroyFormatMount and their kin",
            "Import disko's module (disko.nixosModules.disko) and give the host a layout.",
        )
        .exit(Exit::Usage)
    })?;
    Ok(Scripts { format, mount })
}

/// The system at `installable` and disko's scripts of it: the system as it is committed,
/// the scripts with the devices of `--disk`.
fn derivations(
    cx: &Context,
    installable: &str,
    scripts: Option<&Scripts<String>>,
) -> Result<Wanted, StepError> {
    const SYSTEM: &str = "system";
    const EXTENDED: &str = "system_extended";
    const FORMAT: &str = "format";
    const MOUNT: &str = "mount";
    let devices = &cx.config.devices;
    let mut set = format!("{SYSTEM} = told sys.config.system.build.toplevel; ");
    if !devices.is_empty() {
        set.push_str(&format!("{EXTENDED} = told moved.toplevel; "));
    }
    if let Some(Scripts { format, mount }) = scripts {
        set.push_str(&format!("{FORMAT} = told moved.{format}; {MOUNT} = told moved.{mount}; "));
    }
    let apply = format!(
        "sys: let moved = {}.config.system.build; \
         told = build: {{ drv = build.drvPath; out = build.outPath; }}; in {{ {set}}}",
        device_override::extended(devices)
    );
    let apply = flake::applied_to_system(&cx.config.system, &apply);
    let mut told = nix_for_full(cx)?
        .derivations(installable, &apply)
        .map_err(|error| StepError::from(error).doing("the system could not be evaluated"))?;
    let system = told.remove(SYSTEM).ok_or_else(not_told)?;
    if told.remove(EXTENDED).is_some_and(|extended| extended != system) {
        return Err(device_override::not_described(devices));
    }
    let scripts = match scripts {
        None => None,
        Some(_) => Some(Scripts {
            format: told.remove(FORMAT).ok_or_else(not_told)?,
            mount: told.remove(MOUNT).ok_or_else(not_told)?,
        }),
    };
    Ok(Wanted { system, full: None, scripts })
}

fn not_told() -> StepError {
    StepError::new("nix told of no system", "", "See the log.")
}

/// The full system of a commit, not built yet.
pub(crate) fn full_derivation(cx: &Context, revision: &str) -> Result<Derivation, StepError> {
    let host = cx.config.host_system().ok_or(ConfigError::NoRepository)?;
    let full = format!("{}#{}", repo_at(&host.dir, revision), host.attr);
    Ok(derivations(cx, &full, None)?.system)
}

/// The flake of the repository at a commit; a shallow clone must be named as one.
pub(crate) fn repo_at(repo: &Path, revision: &str) -> String {
    let shallow = if repo.join(".git/shallow").exists() { "&shallow=1" } else { "" };
    format!("git+file://{}?rev={revision}{shallow}", percent_encode(repo))
}

/// Nix for the full configuration: where nothing is pushed, the lock cannot name
/// the new secrets, and the checkout's commit stands in for them.
pub(crate) fn nix_for_full(cx: &Context) -> Result<Nix, StepError> {
    let nix = cx.nix()?;
    let Some(secrets) = cx.config.secrets.as_ref().filter(|_| cx.config.push == Push::No) else {
        return Ok(nix.clone());
    };
    let Some(input) = &secrets.input else { return Ok(nix.clone()) };
    let revision = cx.output::<SecretsOutput>()?.revision;
    Ok(nix.with_override(input, &repo_at(&secrets.dir, &revision)))
}

/// The flake as it is built: as it was evaluated, or with the hardware file that it has
/// got since.
pub(super) fn locked(cx: &Context, system: &FlakeSystem) -> Result<Locked, StepError> {
    match &cx.facts()?.locked {
        Some(locked) if system.hardware_file.is_none() => Ok(locked.clone()),
        _ => flake::lock(cx.nix()?, &system.reference),
    }
}
