//! Step 7: everything that will be installed is built before a disk is touched.
//!
//! One nix run builds the first system, the disko scripts and, when staged, the
//! full system too: what cannot be built is found while the disks still hold
//! what they held.

use std::path::Path;

use crate::config::Push;
use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::installation::{DiskoMode, Installation};
use crate::nix::{Nix, StorePath, report_to};
use crate::origin::{self, Origin};
use crate::remote::encode;
use crate::scratch::flake_in;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};

pub struct Build;

/// Names of the facts, in the order in which they are built.
const FIRST: &str = "system";
const FORMAT: &str = "format";
const MOUNT: &str = "mount";
const FULL: &str = "full";

impl Step for Build {
    fn id(&self) -> StepId {
        StepId::Build
    }

    fn effects(&self) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "builds the systems and disko's scripts into the nix store",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Build) {
            return Ok(status);
        }
        let Some(built) = cx.evidence(StepId::Build) else { return Ok(Status::Ready) };
        let Ok(revision) = revision(cx) else { return Ok(Status::Ready) };
        let nix = cx.nix()?;
        let paths = built.facts.values().filter_map(|path| path.parse::<StorePath>().ok());
        let mut there = built.fact("revision") == Some(&revision)
            && built.fact("disko") == Some(&disko_kind(cx));
        for path in paths {
            there = there && nix.is_valid_in("auto", &path, "")?;
        }
        Ok(if there { Status::Done(built.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        if let Origin::StorePaths { disko, system } = &cx.config.origin {
            let evidence = Evidence::default().with(FORMAT, disko.to_string());
            return finish(cx, evidence.with(FIRST, system.to_string()));
        }
        let wanted = wanted(cx)?;
        let installables: Vec<&str> = wanted.iter().map(|(_, what)| what.as_str()).collect();
        let nix = nix_for_full(cx)?;
        let paths = nix
            .build(&installables, &mut report_to(&cx.events))
            .map_err(|error| StepError::from(error).doing("the system could not be built"))?;
        let mut evidence = Evidence::default();
        for ((name, _), path) in wanted.iter().zip(&paths) {
            evidence = evidence.with(name, path.to_string());
        }
        finish(cx, evidence)
    }
}

/// Notes what was built, of which revision, and how large it is.
fn finish(cx: &mut Context, mut evidence: Evidence) -> Result<(), StepError> {
    let system = parse(evidence.fact(FIRST).unwrap_or_default())?;
    let size = cx.nix()?.closure_size(&system)?;
    evidence.summary = format!("{}, closure of {}", system.name(), crate::disks::bytes(size));
    evidence = evidence.with("closure_bytes", size.to_string()).with("revision", revision(cx)?);
    evidence = evidence.with("disko", disko_kind(cx));
    cx.produced.insert(StepId::Build, evidence);
    Ok(())
}

/// Which of disko's scripts were built.
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
        Origin::Repository => cx.fact(StepId::Hardware, "revision").map(str::to_owned),
        Origin::Flake(reference) => Ok(origin::locked(cx, reference)?.source.to_string()),
        Origin::StorePaths { system, .. } => Ok(system.to_string()),
    }
}

/// What is built, by the name of the fact that will hold its path.
fn wanted(cx: &Context) -> Result<Vec<(&'static str, String)>, StepError> {
    if let Origin::Flake(reference) = &cx.config.origin {
        let system = format!("{}#{}", origin::locked(cx, reference)?.reference, cx.config.attr);
        let build = |name: &str| format!("{system}.system.build.{name}");
        let mut wanted = vec![(FIRST, build("toplevel"))];
        if cx.config.installation.phases.disko {
            wanted.extend(scripts(cx)?.into_iter().map(|(fact, name)| (fact, build(&name))));
        }
        return Ok(wanted);
    }
    let revision = cx.fact(StepId::Hardware, "revision")?;
    let base = repo_at(&cx.config.repo, revision);
    let full = format!("{base}#{}", cx.config.attr);
    let first = match (&cx.config.installer, cx.staged()) {
        (Some(installer), true) => {
            format!("{}#{}", flake_in(&base, &installer.dir), installer.attr)
        }
        _ => full.clone(),
    };
    let build = |system: &str, name: &str| format!("{system}.config.system.build.{name}");
    let mut wanted = vec![(FIRST, build(&first, "toplevel"))];
    wanted.extend(scripts(cx)?.into_iter().map(|(fact, name)| (fact, build(&first, &name))));
    if cx.staged() {
        wanted.push((FULL, build(&full, "toplevel")));
    }
    Ok(wanted)
}

/// disko's scripts, as names of facts and of attributes.
fn scripts(cx: &Context) -> Result<Vec<(&'static str, String)>, StepError> {
    let Installation { disko_mode, disko_deps, .. } = cx.config.installation;
    let first = cx.facts()?.first();
    let (prepare, mount) =
        origin::disko_builds(first, disko_mode, disko_deps).ok_or_else(|| {
            StepError::new(
                "the configuration has no disko scripts",
                "config.system.build has none of diskoScript, destroyFormatMount and their kin",
                "Import disko's module (disko.nixosModules.disko) and give the host a layout.",
            )
            .exit(Exit::Usage)
        })?;
    // What nix is asked for twice it answers once.
    let prepare = (disko_mode != DiskoMode::Mount).then_some((FORMAT, prepare));
    Ok(prepare.into_iter().chain([(MOUNT, mount)]).collect())
}

/// The flake of the repository at a commit; a shallow clone must be named as one.
pub fn repo_at(repo: &Path, revision: &str) -> String {
    let shallow = if repo.join(".git/shallow").exists() { "&shallow=1" } else { "" };
    format!("git+file://{}?rev={revision}{shallow}", encode(repo))
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

/// A store path that the journal remembers.
pub fn parse(text: &str) -> Result<StorePath, StepError> {
    text.parse().map_err(|why: String| {
        StepError::new(
            "the journal holds no store path",
            why,
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

/// disko's script that prepares the disks, in the mode of this run; it erases unless that
/// is to mount them.
pub fn preparing_script(cx: &Context) -> Result<StorePath, StepError> {
    match cx.config.installation.disko_mode {
        DiskoMode::Mount => mounting_script(cx),
        DiskoMode::Disko | DiskoMode::Format => path(cx, FORMAT),
    }
}

/// disko's script that only mounts.
pub fn mounting_script(cx: &Context) -> Result<StorePath, StepError> {
    if let Origin::StorePaths { .. } = cx.config.origin {
        return Err(StepError::new(
            "the disks are formatted, but not mounted any more",
            "--store-paths names no script that mounts them",
            "Mount them at /mnt by hand and go on with --phases install,reboot, or begin anew: \
             landfall abandon HOST",
        ));
    }
    path(cx, MOUNT)
}
