//! Step 7: everything that will be installed is built before a disk is touched.
//!
//! The first system, the disko scripts and, when staged, the full system too: what
//! cannot be built is found while the disks still hold what they held. Where the target
//! builds for itself, only disko's scripts can be built by now; its systems wait for
//! the disks, since the installer's memory would not hold them.

use std::collections::BTreeMap;
use std::path::Path;

use super::context::Context;
use crate::config::Push;
use crate::config::build_on::Builder;
use crate::config::installation::Installation;
use crate::config::source::SystemSource;
use crate::error::{Exit, StepError};
use crate::facts::Locked;
use crate::facts::device_override;
use crate::facts::flake;
use crate::facts::repository::flake_in;
use crate::nix::flake_ref::percent_encode;
use crate::nix::{Derivation, Nix, Store, StorePath, StorePathError, report_to};
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;

pub struct Build;

/// Names of the facts: what each path is.
const FIRST: &str = "system";
const FORMAT: &str = "format";
const MOUNT: &str = "mount";
const FULL: &str = "full";
/// The fact of how much the first system takes, where it is known by now.
const CLOSURE: &str = "closure_bytes";

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
        let Some(built) = cx.evidence(StepId::Build) else { return Ok(Status::Ready) };
        let Ok(revision) = revision(cx) else { return Ok(Status::Ready) };
        let same = built.fact("revision") == Some(&revision)
            && built.fact("disko") == Some(&disko_kind(cx))
            && built.fact("on") == Some(&cx.builder()?.to_string())
            && built.fact("devices") == Some(&cx.config.named_devices());
        Ok(if same && all_there(cx)? { Status::Done(built.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let builder = cx.builder()?.clone();
        let evidence = Evidence::default()
            .with("revision", revision(cx)?)
            .with("disko", disko_kind(cx))
            .with("on", builder.to_string())
            .with("devices", cx.config.named_devices());
        if let SystemSource::StorePaths { disko, system } = &cx.config.origin {
            let evidence = evidence.with(FORMAT, disko.to_string());
            return here(cx, evidence.with(FIRST, system.to_string()), &system.clone());
        }
        let wanted = wanted(cx)?;
        let mut evidence = wanted.iter().fold(evidence, |evidence, (name, derivation)| {
            evidence
                .with(name, derivation.out.to_string())
                .with(&format!("{name}_drv"), derivation.drv.to_string())
        });
        let first = &wanted[FIRST];
        if builder == Builder::Target {
            let scripts = SCRIPTS.iter().filter_map(|name| wanted.get(*name));
            let scripts: Vec<&Derivation> = scripts.collect();
            realise_on_target(cx, &scripts, None)?;
            evidence.summary = format!("{}, to be built on the target", first.out.name());
        } else {
            realise_here(cx, &builder, &wanted.values().collect::<Vec<_>>())?;
            return here(cx, evidence, &first.out);
        }
        cx.produced.insert(StepId::Build, evidence);
        Ok(())
    }
}

/// Notes what is in the source's store, and how large it is.
fn here(cx: &mut Context, mut evidence: Evidence, first: &StorePath) -> Result<(), StepError> {
    let size = cx.nix()?.closure_size(first)?;
    evidence.summary = format!("{}, closure of {}", first.name(), crate::ui::text::size(size));
    cx.produced.insert(StepId::Build, evidence.with(CLOSURE, size.to_string()));
    Ok(())
}

/// Which of disko's scripts are built.
fn disko_kind(cx: &Context) -> String {
    let Installation { disko_mode, disko_deps, phases, .. } = cx.config.installation;
    match (phases.disko, disko_deps) {
        (false, _) => "none".to_owned(),
        (true, true) => format!("{disko_mode:?}"),
        (true, false) => format!("{disko_mode:?} without its tools"),
    }
}

/// What tells one state of the configuration from another.
fn revision(cx: &Context) -> Result<String, StepError> {
    match &cx.config.origin {
        SystemSource::Repository => cx.fact(StepId::Hardware, "revision").map(str::to_owned),
        SystemSource::Flake(reference) => Ok(locked(cx, reference)?.source.to_string()),
        SystemSource::StorePaths { system, .. } => Ok(system.to_string()),
    }
}

/// Whether what the step made is where it must be.
fn all_there(cx: &Context) -> Result<bool, StepError> {
    let nix = cx.nix()?;
    let built = cx.evidence(StepId::Build);
    let scripts = SCRIPTS.into_iter();
    let mut names: Vec<&str> =
        scripts.filter(|name| built.is_some_and(|built| built.fact(name).is_some())).collect();
    let on_target = *cx.builder()? == Builder::Target;
    if !on_target {
        names.push(FIRST);
        names.extend(cx.staged().then_some(FULL));
    }
    for name in names {
        let path = path(cx, name)?;
        let there = match (on_target, &cx.target) {
            (true, Some(target)) => {
                let session = &target.session;
                nix.is_valid_in(&session.nix_store_url(None), &path, &session.nix_ssh_opts())?
            }
            (true, None) => false,
            (false, _) => nix.is_valid_in("auto", &path, "")?,
        };
        if !there {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds into the source's store: here, or elsewhere and fetched from there.
pub fn realise_here(
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
pub fn realise_on_target(
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

/// What is built, by the name of the fact that will hold its path.
fn wanted(cx: &Context) -> Result<BTreeMap<String, Derivation>, StepError> {
    if let SystemSource::Flake(reference) = &cx.config.origin {
        let system = format!("{}#{}", locked(cx, reference)?.reference, cx.config.attr);
        let mut builds = vec![(FIRST, "toplevel".to_owned())];
        if cx.config.installation.phases.disko {
            builds.extend(scripts(cx)?);
        }
        return derivations(cx, &system, &builds);
    }
    let base = repo_at(&cx.config.repo, cx.fact(StepId::Hardware, "revision")?);
    let full = format!("{base}#{}", cx.config.attr);
    let first = match (&cx.config.installer, cx.staged()) {
        (Some(installer), true) => {
            format!("{}#{}", flake_in(&base, &installer.dir), installer.attr)
        }
        _ => full.clone(),
    };
    let toplevel = "toplevel".to_owned();
    let mut builds = vec![(FIRST, toplevel.clone())];
    builds.extend(scripts(cx)?);
    let mut wanted = derivations(cx, &first, &builds)?;
    if cx.staged() {
        wanted.extend(derivations(cx, &full, &[(FULL, toplevel)])?);
    }
    Ok(wanted)
}

/// disko's scripts, as names of facts and of attributes.
fn scripts(cx: &Context) -> Result<Vec<(&'static str, String)>, StepError> {
    let Installation { disko_mode, disko_deps, .. } = cx.config.installation;
    let first = cx.facts()?.first();
    let (prepare, mount) = flake::disko_builds(first, disko_mode, disko_deps).ok_or_else(|| {
        StepError::new(
            "the configuration has no disko scripts",
            "config.system.build has none of diskoScript, destroyFormatMount and their kin",
            "Import disko's module (disko.nixosModules.disko) and give the host a layout.",
        )
        .exit(Exit::Usage)
    })?;
    Ok(vec![(FORMAT, prepare), (MOUNT, mount)])
}

/// The names that are told from those of the system that `--disk` extends.
const SCRIPTS: [&str; 2] = [FORMAT, MOUNT];

/// Elements of `config.system.build` of the system at `installable`, by the names given:
/// systems as they are committed, scripts with the devices of `--disk`.
fn derivations(
    cx: &Context,
    installable: &str,
    builds: &[(&str, String)],
) -> Result<BTreeMap<String, Derivation>, StepError> {
    let devices = &cx.config.devices;
    let mut set = String::new();
    for (name, build) in builds {
        if SCRIPTS.contains(name) {
            set.push_str(&format!("{name} = told moved.{build}; "));
            continue;
        }
        set.push_str(&format!("{name} = told sys.config.system.build.{build}; "));
        if !devices.is_empty() {
            set.push_str(&format!("{name}_extended = told moved.{build}; "));
        }
    }
    let apply = format!(
        "sys: let moved = {}.config.system.build; \
         told = build: {{ drv = build.drvPath; out = build.outPath; }}; in {{ {set}}}",
        device_override::extended(devices)
    );
    let apply = flake::applied_to_system(&cx.config.origin, &apply);
    let mut told = nix_for_full(cx)?
        .derivations(installable, &apply)
        .map_err(|error| StepError::from(error).doing("the system could not be evaluated"))?;
    for (name, _) in builds {
        let extended = told.remove(&format!("{name}_extended"));
        if extended.is_some_and(|extended| extended != told[*name]) {
            return Err(device_override::not_described(devices));
        }
    }
    Ok(told)
}

/// The full system of a commit, not built yet.
pub fn full_derivation(cx: &Context, revision: &str) -> Result<Derivation, StepError> {
    let full = format!("{}#{}", repo_at(&cx.config.repo, revision), cx.config.attr);
    let mut told = derivations(cx, &full, &[(FULL, "toplevel".to_owned())])?;
    told.remove(FULL).ok_or_else(|| StepError::new("nix told of no system", "", "See the log."))
}

/// The flake of the repository at a commit; a shallow clone must be named as one.
pub fn repo_at(repo: &Path, revision: &str) -> String {
    let shallow = if repo.join(".git/shallow").exists() { "&shallow=1" } else { "" };
    format!("git+file://{}?rev={revision}{shallow}", percent_encode(repo))
}

/// Nix for the full configuration: where nothing is pushed, the lock cannot name
/// the new secrets, and the checkout's commit stands in for them.
pub fn nix_for_full(cx: &Context) -> Result<Nix, StepError> {
    let nix = cx.nix()?;
    let Some(secrets) = cx.config.secrets.as_ref().filter(|_| cx.config.push == Push::No) else {
        return Ok(nix);
    };
    let Some(input) = &secrets.input else { return Ok(nix) };
    let revision = cx.fact(StepId::Secrets, "revision")?;
    Ok(nix.with_override(input, &repo_at(&secrets.dir, revision)))
}

/// A store path that the build step made.
fn path(cx: &Context, name: &str) -> Result<StorePath, StepError> {
    parse(cx.fact(StepId::Build, name)?)
}

fn derivation(cx: &Context, name: &str) -> Result<Derivation, StepError> {
    Ok(Derivation { drv: path(cx, &format!("{name}_drv"))?, out: path(cx, name)? })
}

/// A store path that the journal remembers.
pub fn parse(text: &str) -> Result<StorePath, StepError> {
    text.parse().map_err(|error: StorePathError| {
        StepError::new(
            "the journal holds no store path",
            error.to_string(),
            "landfall abandon HOST forgets the run.",
        )
    })
}

/// The system that is installed first.
pub fn first_system(cx: &Context) -> Result<StorePath, StepError> {
    path(cx, FIRST)
}

/// The full system: the first one, unless staged.
pub fn full_system(cx: &Context) -> Result<StorePath, StepError> {
    path(cx, if cx.staged() { FULL } else { FIRST })
}

/// The system that is installed first, as something to build.
pub fn first_derivation(cx: &Context) -> Result<Derivation, StepError> {
    derivation(cx, FIRST)
}

/// How much the first system takes; not known before the target has built it.
pub fn closure_bytes(cx: &Context) -> Option<u64> {
    cx.fact(StepId::Build, CLOSURE).ok()?.parse().ok()
}

/// disko's script that prepares the disks, in the mode of this run; it erases unless that
/// is to mount them.
pub fn preparing_script(cx: &Context) -> Result<StorePath, StepError> {
    path(cx, FORMAT)
}

/// disko's script that only mounts.
pub fn mounting_script(cx: &Context) -> Result<StorePath, StepError> {
    if let SystemSource::StorePaths { .. } = cx.config.origin {
        return Err(StepError::new(
            "the disks are formatted, but not mounted any more",
            "--store-paths names no script that mounts them",
            "Mount them at /mnt by hand and go on with --phases install,reboot, or begin anew: \
             landfall abandon HOST",
        ));
    }
    path(cx, MOUNT)
}

/// The flake as it is built: as it was evaluated, or with the hardware file that it has
/// got since.
pub fn locked(cx: &Context, reference: &str) -> Result<Locked, StepError> {
    match &cx.facts()?.locked {
        Some(locked) if cx.config.hardware_file.is_none() => Ok(locked.clone()),
        _ => flake::lock(&cx.nix()?, reference),
    }
}
