//! Step 7: everything that will be installed is built before a disk is touched.
//!
//! The first system, the disko scripts and, when staged, the full system too: what
//! cannot be built is found while the disks still hold what they held. Where the target
//! builds for itself, only disko's scripts can be built by now; its systems wait for
//! the disks, since the installer's memory would not hold them.

mod wanted;

use serde::{Deserialize, Serialize};

use super::context::{Context, not_done};
use super::hardware;
use crate::config::build_on::Builder;
use crate::config::installation::{DiskoMode, Installation};
use crate::config::source::System;
use crate::error::StepError;
use crate::nix::{Derivation, Store, StorePath, report_to};
use crate::run::facts::{Bytes, StepFacts};
use crate::run::step::{Effect, Machine, Status, StepId};
use crate::steps::Step;

use wanted::{Wanted, locked, wanted};
pub(crate) use wanted::{full_derivation, nix_for_full, repo_at};

pub(crate) struct Build;

/// What is built, and of what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BuildOutput {
    /// The commit, the locked source or the system itself: what tells one state from another.
    pub(crate) revision: String,
    /// Which of disko's scripts are built.
    #[serde(default)]
    disko: String,
    /// What built it.
    #[serde(default)]
    on: String,
    /// The devices of `--disk`.
    #[serde(default)]
    devices: String,
    /// The system that is installed first.
    pub(crate) system: StorePath,
    system_drv: Option<StorePath>,
    /// The full system, where it is another.
    full: Option<StorePath>,
    full_drv: Option<StorePath>,
    /// disko's script that prepares the disks.
    format: Option<StorePath>,
    format_drv: Option<StorePath>,
    /// disko's script that only mounts.
    mount: Option<StorePath>,
    mount_drv: Option<StorePath>,
    /// How much the first system takes, where it is known by now.
    closure_bytes: Option<Bytes>,
}

impl StepFacts for BuildOutput {
    const STEP: StepId = StepId::Build;
}

impl Step for Build {
    fn id(&self) -> StepId {
        StepId::Build
    }

    fn effects(&self, cx: &Context) -> &'static [Effect] {
        match cx.builder() {
            Ok(Builder::Target) => &[
                Effect {
                    machine: Machine::Source,
                    change: "evaluates the systems",
                    reversible: true,
                },
                Effect {
                    machine: Machine::Target,
                    change: "builds disko's scripts, in the installer's memory",
                    reversible: true,
                },
            ],
            Ok(Builder::Store(_)) => &[Effect {
                machine: Machine::Source,
                change: "has the store of --build-on build the systems and disko's scripts, and fetches them",
                reversible: true,
            }],
            _ => &[Effect {
                machine: Machine::Source,
                change: "builds the systems and disko's scripts into the nix store",
                reversible: true,
            }],
        }
    }

    fn details(&self, cx: &Context) -> Vec<String> {
        match cx.builder() {
            Ok(Builder::Target) => {
                vec!["what cannot be built is found only after the disks were erased".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Build) {
            return Ok(status);
        }
        let Some(evidence) = cx.evidence(StepId::Build) else { return Ok(Status::Ready) };
        let Some(built) = evidence.read::<BuildOutput>()? else { return Ok(Status::Ready) };
        let Ok(revision) = revision(cx) else { return Ok(Status::Ready) };
        let same = built.revision == revision
            && built.disko == disko_kind(cx)
            && built.on == cx.builder()?.to_string()
            && built.devices == cx.config.named_devices();
        let done = same && all_there(cx, &built)?;
        Ok(if done { Status::Done(evidence.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let builder = cx.builder()?.clone();
        if let System::StorePaths { disko, system } = &cx.config.system {
            let (disko, system) = (disko.clone(), system.clone());
            let output = BuildOutput { format: Some(disko), ..output_of(cx, &builder, system)? };
            return here(cx, output);
        }
        let wanted = wanted(cx)?;
        let output = described(output_of(cx, &builder, wanted.system.out.clone())?, &wanted);
        if builder == Builder::Target {
            realise_on_target(cx, &wanted.scripts(), None)?;
            let summary = format!("{}, to be built on the target", output.system.name());
            return cx.produce(summary, &output);
        }
        realise_here(cx, &builder, &wanted.all())?;
        here(cx, output)
    }
}

/// What is known before anything is built.
fn output_of(cx: &Context, builder: &Builder, system: StorePath) -> Result<BuildOutput, StepError> {
    Ok(BuildOutput {
        revision: revision(cx)?,
        disko: disko_kind(cx),
        on: builder.to_string(),
        devices: cx.config.named_devices(),
        system,
        system_drv: None,
        full: None,
        full_drv: None,
        format: None,
        format_drv: None,
        mount: None,
        mount_drv: None,
        closure_bytes: None,
    })
}

/// Names what is wanted, each as something to build and as the path that it will have.
fn described(output: BuildOutput, wanted: &Wanted) -> BuildOutput {
    let drv = |it: Option<&Derivation>| it.map(|it| it.drv.clone());
    let out = |it: Option<&Derivation>| it.map(|it| it.out.clone());
    let full = wanted.full.as_ref();
    let format = wanted.scripts.as_ref().map(|scripts| &scripts.format);
    let mount = wanted.scripts.as_ref().map(|scripts| &scripts.mount);
    BuildOutput {
        system_drv: drv(Some(&wanted.system)),
        full: out(full),
        full_drv: drv(full),
        format: out(format),
        format_drv: drv(format),
        mount: out(mount),
        mount_drv: drv(mount),
        ..output
    }
}

/// Notes what is in the source's store, and how large it is.
fn here(cx: &mut Context, output: BuildOutput) -> Result<(), StepError> {
    let size = cx.nix()?.closure_size(&output.system)?;
    let summary = format!("{}, closure of {}", output.system.name(), crate::ui::text::size(size));
    cx.produce(summary, &BuildOutput { closure_bytes: Some(Bytes(size)), ..output })
}

/// Which of disko's scripts are built, in the words that journals have for it.
fn disko_kind(cx: &Context) -> String {
    let Installation { disko_mode, disko_deps, phases, .. } = cx.config.installation;
    let mode = match disko_mode {
        DiskoMode::Disko => "Disko",
        DiskoMode::Format => "Format",
        DiskoMode::Mount => "Mount",
    };
    match (phases.disko, disko_deps) {
        (false, _) => "none".to_owned(),
        (true, true) => mode.to_owned(),
        (true, false) => format!("{mode} without its tools"),
    }
}

/// What tells one state of the configuration from another.
fn revision(cx: &Context) -> Result<String, StepError> {
    match &cx.config.system {
        System::Repository(_) => hardware::committed(cx),
        System::Flake(flake) => Ok(locked(cx, flake)?.source.to_string()),
        System::StorePaths { system, .. } => Ok(system.to_string()),
    }
}

/// Whether what the step made is where it must be.
fn all_there(cx: &Context, built: &BuildOutput) -> Result<bool, StepError> {
    let nix = cx.nix()?;
    let scripts = [built.format.as_ref(), built.mount.as_ref()];
    let mut paths: Vec<&StorePath> = scripts.into_iter().flatten().collect();
    let on_target = *cx.builder()? == Builder::Target;
    if !on_target {
        paths.push(&built.system);
        if cx.staged() {
            paths.push(built.full.as_ref().ok_or_else(|| not_done(StepId::Build))?);
        }
    }
    for path in paths {
        let there = match (on_target, &cx.connection.target) {
            (true, Some(target)) => {
                let session = &target.session;
                nix.is_valid_in(&session.nix_store_url(None), path, &session.nix_ssh_opts())?
            }
            (true, None) => false,
            (false, _) => nix.is_valid_in("auto", path, "")?,
        };
        if !there {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds into the source's store: here, or elsewhere and fetched from there.
pub(crate) fn realise_here(
    cx: &Context,
    builder: &Builder,
    derivations: &[&Derivation],
) -> Result<(), StepError> {
    let failed = |error| StepError::from(error).doing("the system could not be built");
    let nix = cx.nix()?;
    let mut report = report_to(&cx.events);
    let Builder::Store(uri) = builder else {
        return nix.realise(derivations, None, &mut report).map_err(failed);
    };
    nix.realise(derivations, Some(Store { uri, ssh_opts: "" }), &mut report).map_err(failed)?;
    let paths: Vec<&StorePath> = derivations.iter().map(|derivation| &derivation.out).collect();
    nix.copy_from(uri, &paths, &mut report).map_err(|error| {
        StepError::from(error).doing(format!("the system could not be fetched from {uri}"))
    })
}

/// Builds in the target's store, or in the one below `root` there.
pub(crate) fn realise_on_target(
    cx: &Context,
    derivations: &[&Derivation],
    root: Option<&str>,
) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    let (store, opts) = (session.nix_store_url(root), session.nix_ssh_opts());
    let store = Store { uri: &store, ssh_opts: &opts };
    cx.nix()?.realise(derivations, Some(store), &mut report_to(&cx.events)).map_err(|error| {
        StepError::from(error).doing("the system could not be built on the target")
    })
}

/// The system that is installed first.
pub(crate) fn first_system(cx: &Context) -> Result<StorePath, StepError> {
    Ok(cx.output::<BuildOutput>()?.system)
}

/// The full system: the first one, unless staged.
pub(crate) fn full_system(cx: &Context) -> Result<StorePath, StepError> {
    let built = cx.output::<BuildOutput>()?;
    if cx.staged() { built.full.ok_or_else(|| not_done(StepId::Build)) } else { Ok(built.system) }
}

/// The system that is installed first, as something to build.
pub(crate) fn first_derivation(cx: &Context) -> Result<Derivation, StepError> {
    let BuildOutput { system: out, system_drv, .. } = cx.output()?;
    Ok(Derivation { drv: system_drv.ok_or_else(|| not_done(StepId::Build))?, out })
}

/// How much the first system takes; not known before the target has built it.
pub(crate) fn closure_bytes(cx: &Context) -> Result<Option<u64>, StepError> {
    let built = cx.known_output::<BuildOutput>()?;
    Ok(built.and_then(|built| built.closure_bytes).map(|Bytes(bytes)| bytes))
}

/// disko's script that prepares the disks, in the mode of this run; it erases unless that
/// is to mount them.
pub(crate) fn preparing_script(cx: &Context) -> Result<StorePath, StepError> {
    cx.output::<BuildOutput>()?.format.ok_or_else(|| not_done(StepId::Build))
}

/// disko's script that only mounts.
pub(crate) fn mounting_script(cx: &Context) -> Result<StorePath, StepError> {
    if let System::StorePaths { .. } = cx.config.system {
        return Err(StepError::new(
            "the disks are formatted, but not mounted any more",
            "--store-paths names no script that mounts them",
            "Mount them at /mnt by hand and go on with --phases install,reboot, or begin anew: \
             landfall abandon HOST",
        ));
    }
    cx.output::<BuildOutput>()?.mount.ok_or_else(|| not_done(StepId::Build))
}
